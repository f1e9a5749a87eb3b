"""Layout of a pipeline's latents: their order, scale and shift beside those that its autoencoder decodes."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Sequence

import torch
from torch import Tensor


@dc.dataclass(frozen=True)
class LatentLayout:
    """Places of the values that a pipeline samples among the latents of its autoencoder: ``z = scale * x + shift``.

    Pipelines sample tokens (B, h w / 4, 4 C), lists, squares of latents or latents with an axis of time; each of them
    is a permutation of the values of (C, h, w).
    """

    sampled: torch.Size
    """Shape of one row that the pipeline samples."""
    decoded: torch.Size
    """Shape of one row that the autoencoder decodes: (C, h, w), or (C, 1, h, w) of an autoencoder of videos."""
    index: Tensor
    """Place in the sampled row of each decoded value."""
    scale: Tensor
    shift: Tensor

    @classmethod
    def of_probes(cls, sampled: torch.Size, decoded: Sequence[Tensor]) -> LatentLayout | None:
        """Return the layout by the decoded rows of all zeros, of all ones and of the numbers of places.

        None if a pipeline does more to its latents than to order, scale and shift them.
        """
        shift, one, places = decoded
        index = ((places - shift) / (one - shift)).round().flatten()
        count = sampled.numel()
        if not torch.equal(index.sort().values, torch.arange(count, dtype=index.dtype, device=index.device)):
            return None
        return cls(sampled, shift.shape, index.long(), (one - shift).float(), shift.float())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, h, w) of one row."""
        channels, *_, height, width = self.decoded
        return channels, height, width

    def pack(self, x: Tensor) -> Tensor:
        """Return latents (B, C, h, w) in the order of the pipeline."""
        flat = torch.empty_like(x.flatten(1))
        flat[:, self.index.to(x.device)] = x.flatten(1)
        return flat.view(len(x), *self.sampled)

    def unpack(self, packed: Tensor) -> Tensor:
        """Return latents (B, C, h, w) of those in the order of the pipeline; further values are ignored."""
        return packed.flatten(1)[:, self.index.to(packed.device)].view(len(packed), *self.shape)

    def normalise(self, z: Tensor) -> Tensor:
        """Return latents (B, C, h, w) of the autoencoder's ``z``: the inverse of the scale and the shift."""
        return ((z.float() - self.shift.to(z.device)) / self.scale.to(z.device)).reshape(len(z), *self.shape)
