"""KV-Edit (Zhu et al., arXiv 2502.17363): tokens outside a mask are not computed again.

The authors offer two changes for the removal of an object, which ``fresh`` joins: the tokens in the mask restart from
the noised source, and in the inversion no other image token attends to them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from editkit import (
    AttentionControl,
    AttentionInputs,
    Backend,
    Control,
    InvalidParameter,
    Point,
    SamplingPath,
    Session,
    SupportsAttention,
    add_noise,
    marked_tokens,
    require,
)

from . import KvEditParams

_INVERTERS = ("pinned", "aligned")
"""Inverters that evaluate the source once at each level and record its estimates there."""


def kv_edit(params: KvEditParams) -> Callable[[Session, SamplingPath], Control]:
    """Return the factory of the control, which needs the mask of the edit and an inverter with recorded estimates."""

    def control(session: Session, path: SamplingPath) -> Control:
        inverter = str(getattr(session.params, "inverter", ""))
        if inverter.partition(":")[0] not in _INVERTERS:
            raise InvalidParameter(
                f"attach='kv-edit' is not allowed with inverter={inverter!r}, which records no estimates to keep the "
                f"source by: use {' or '.join(_INVERTERS)}"
            )
        if len(session.drawing.controls) > 1:
            raise InvalidParameter(
                "attach='kv-edit' is not allowed beside other controls, which act on tokens that it leaves out: attach "
                "it alone"
            )
        if session.latent_mask is None:
            raise InvalidParameter("attach='kv-edit' is not allowed without a mask: give one, or leave it out")
        if not params.fresh:
            return KvEdit(session.latent_mask)
        if inverter.partition(":")[0] != "pinned":
            raise InvalidParameter(
                f"attach='kv-edit:fresh=true' is not allowed with inverter={inverter!r}, which moves the edit by the "
                "source's steps inside the mask, and those are not computed: use pinned"
            )
        return FreshKvEdit(session.latent_mask, lambda: add_noise(session.latents, session.noise(), path[0]))

    return control


class KvEdit(AttentionControl):
    """Queries of the tokens in a mask, and keys and values of all: those outside it are the source's.

    The inversion records them on the CPU. The replay takes those at the same noise level; at the noisiest one, where
    the inversion evaluates nothing, those of the level below. The authors take those of the level below in all steps,
    since Euler's inversion evaluates there. Keys and values of all conditions are those of the source prompt.

    ``change`` (1, 1, h, w) in [0, 1] is the mask at the size of the latents.
    """

    acts_on_inversion = True
    keeps_estimates = True

    def __init__(self, change: Tensor) -> None:
        super().__init__()
        self.change = change
        self.inverted: Tensor | None = None
        """Map (1, 1, h, w) of the tokens that the inversion computes, None for all."""
        self.cache: dict[tuple[str, int, float], tuple[Tensor, Tensor]] = {}
        self.rises = False

    def begin(self, path: SamplingPath, sources: Sequence[int | None]) -> None:
        super().begin(path, sources)
        self.rises = path[0].angle < path[-1].angle
        if self.rises:
            self.cache.clear()
        elif not self.cache:
            raise InvalidParameter(
                "attach='kv-edit' is not allowed with a saved inversion, which holds no keys and values: edit the image"
            )

    @contextlib.contextmanager
    def attach(self, backend: Backend) -> Iterator[None]:
        model = require(backend, SupportsAttention)
        if self.rises:
            with model.attending(self.record, only=self.inverted):
                yield
            return
        try:
            with model.attending(self.edit, only=self.change):
                yield
        finally:
            self.cache.clear()

    def record(self, inputs: AttentionInputs) -> Tensor:
        """Record the keys and values of the tokens outside the mask."""
        site = inputs.site
        if site.kind != "cross":
            is_outside = ~marked_tokens(self.change, site.grid)
            part = self.inverted
            computed = is_outside if part is None else is_outside[marked_tokens(part, site.grid)]
            outside = computed.nonzero().flatten()
            pair = [tensor[:, :, site.image_keys].index_select(2, outside) for tensor in (inputs.key, inputs.value)]
            for place, row in enumerate(self.rows(inputs)):
                key, value = (tensor[place].cpu() for tensor in pair)
                self.cache[site.name, row.row, row.point.sigma] = key, value
        return inputs.unchanged()

    def edit(self, inputs: AttentionInputs) -> Tensor:
        if inputs.site.kind == "cross":
            return inputs.unchanged()
        rows = self.rows(inputs)
        pairs = [self.cache[inputs.site.name, self.sources[row.row] or 0, self._level(row.point)] for row in rows]
        key, value = (torch.stack(outside).to(inputs.key) for outside in zip(*pairs, strict=True))
        return inputs.attend_beside(key, value)

    def _level(self, point: Point) -> float:
        """Return the recorded noise level next to that of a point, from below."""
        levels = {sigma for _, _, sigma in self.cache}
        return max((sigma for sigma in levels if sigma <= point.sigma), default=min(levels))


class FreshKvEdit(KvEdit):
    """The same without the source's content in the mask, for another object there or none.

    Sampling starts there from the noised source, which is noise alone at full strength. Tokens whose whole place is
    marked are left out of the inversion too: neither the words nor the image outside attend to them. The authors let
    the words attend to them, and compute them. ``noised`` returns the noised source (1, C, h, w).
    """

    def __init__(self, change: Tensor, noised: Callable[[], Tensor]) -> None:
        super().__init__(change)
        self.noised = noised
        # Tokens with a place outside the mask: their latents there are those of the inversion.
        outside = (change < 1).to(change)
        self.inverted = outside if bool(outside.any()) else None

    def start(self, x: Tensor) -> Tensor:
        fresh = torch.where(self.change > 0, self.noised(), x)
        is_source = torch.tensor([source == row for row, source in enumerate(self.sources)], device=x.device)
        return torch.where(is_source.view(-1, 1, 1, 1), x, fresh)
