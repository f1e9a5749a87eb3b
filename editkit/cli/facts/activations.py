"""Memory of decoding an image: the autoencoder runs on tensors that have shapes and no storage."""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ...errors import EditkitError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class PeakOfTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Context that measures the largest sum of bytes of the tensors that live at one time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.peak = 0
        self._live: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._add(leaf.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._live:
            self._live.add(key)
            self.bytes += size
            self.peak = max(self.peak, self.bytes)
            weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._live.discard(key)
        self.bytes -= size


def decoding_memory(folder: Path, size: tuple[int, int]) -> Mapping[str, int]:
    """Return the bytes beside the weights that decoding one image of a size (width, height) needs, by dtype.

    ``folder`` is that of a model in the layout of diffusers. Raises EditkitError if it has no autoencoder of images
    with three axes of latents.
    """
    file = folder / "vae" / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if not {"latent_channels", "block_out_channels"} <= set(config):
        raise EditkitError(f"model {folder}: the memory of decoding is known of autoencoders like AutoencoderKL alone")
    import diffusers

    with torch.device("meta"):
        net = getattr(diffusers, config["_class_name"]).from_config(config).eval().requires_grad_(False)
    factor = 2 ** (len(config["block_out_channels"]) - 1)
    shape = (1, config["latent_channels"], -(-size[1] // factor), -(-size[0] // factor))
    peaks = {}
    for name, dtype in _DTYPES.items():
        net.to(dtype)
        latents = torch.empty(shape, dtype=dtype, device="meta")
        with torch.no_grad(), PeakOfTensors() as tensors:
            net.decode(latents)
        peaks[name] = tensors.peak
    return peaks
