"""Controls that take queries, keys, values or features of the source."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch.nn.functional as F
from torch import Tensor

from editkit import (
    AttentionControl,
    AttentionInputs,
    Backend,
    Control,
    MissingCapability,
    SamplingPath,
    Session,
    SupportsAttention,
    current_rows,
    require,
)

from . import ConsistEditParams, MutualAttentionParams, PlugAndPlayParams
from .interval import warn_if_idle, warn_if_zero

_BLOCKS = (("up_blocks.1.resnets.1", "up_blocks.2"), ("up_blocks.0.resnets.1", "up_blocks.1"))
"""Residual blocks whose features are taken, that of the paper and that of networks of two levels, and the block behind
each: features of the last level are nearly the result, and would leave no edit."""
_DECODER = ("up", "flat")
"""Parts of a network that decode: a transformer has one part only."""


def plug_and_play(params: PlugAndPlayParams) -> Callable[[Session, SamplingPath], Control]:
    """Return the factory of the control ``plug-and-play``."""

    def control(session: Session, path: SamplingPath) -> Control:
        made = PlugAndPlay(params)
        asked = any(call.startswith("plug-and-play") for call in session.drawing.attach)  # not by keep
        if asked and params.features and "features" in params.model_fields_set and not made.block_of(session.model):
            session.usage.warn(
                f"plug-and-play:features={params.features:g} has no effect: the network has no residual block to take "
                "them from"
            )
        warn_if_zero(session, "plug-and-play", features=params.features, queries=params.queries)
        return made

    return control


def mutual_attention(params: MutualAttentionParams) -> Callable[[Session, SamplingPath], Control]:
    """Return the factory of the control ``mutual-attention``."""

    def control(session: Session, path: SamplingPath) -> Control:
        warn_if_idle(session, "mutual-attention", path, params.start, params.end)
        return MutualAttention(params)

    return control


def consist_edit(params: ConsistEditParams) -> Callable[[Session, SamplingPath], Control]:
    """Return the factory of the control ``consist-edit``."""

    def control(session: Session, path: SamplingPath) -> Control:
        if session.latent_mask is None and "content" in params.model_fields_set:
            session.usage.warn(f"consist-edit:content={str(params.content).lower()} has no effect: there is no mask")
        if session.latent_mask is None or not params.content:
            warn_if_zero(session, "consist-edit", structure=params.structure)
        return ConsistEdit(params, session.latent_mask if params.content else None)

    return control


class PlugAndPlay(AttentionControl):
    """Queries and keys of the source in the decoder, and the features of one residual block (arXiv 2211.12572).

    Transformers have no residual blocks: of them queries and keys alone are taken. Unlike in the authors' code, the
    first attention of the decoder is not left out, and the features are the block's output with its shortcut.
    """

    def __init__(self, params: PlugAndPlayParams) -> None:
        super().__init__()
        self.params = params

    @contextlib.contextmanager
    def attach(self, backend: Backend) -> Iterator[None]:
        with super().attach(backend), self._taking_features(backend):
            yield

    def _taking_features(self, backend: Backend) -> contextlib.AbstractContextManager[None]:
        """Return a context in which features are replaced; raises MissingCapability if the named block is not there."""
        block = self.block_of(backend) if self.params.features or self.params.block else None
        if block is None:
            return contextlib.nullcontext()
        return require(backend, SupportsAttention).replacing(block, self.take_features)

    def block_of(self, backend: Backend) -> str | None:
        """Return the block whose features are taken: the named one, else the first one of known networks, if any.

        It has a further block behind it.
        """
        if self.params.block is not None:
            return self.params.block
        supporting = require(backend, SupportsAttention)
        for block, behind in _BLOCKS:
            with contextlib.suppress(MissingCapability):
                for name in (behind, block):
                    supporting.replacing(name, self.take_features)  # has no effect before it is entered
                return block
        return None

    def take_features(self, features: Tensor) -> Tensor:
        """Return the features (B, C, h, w) of each row's source."""
        rows = current_rows()
        if len(rows) != len(features) or self.share(rows[0]) >= self.params.features:
            return features
        return self.rows_of_sources(features, rows, "features")

    def edit(self, inputs: AttentionInputs) -> Tensor:
        site = inputs.site
        if (
            site.kind == "cross"
            or site.depth not in _DECODER
            or self.share(self.rows(inputs)[0]) >= self.params.queries
        ):
            return inputs.unchanged()
        return inputs.attend(*_structure_of_source(self, inputs), inputs.value, inputs.bias)


class MutualAttention(AttentionControl):
    """Keys and values of the source, in place of those of the image or beside them (arXiv 2304.08465).

    Unlike in the authors' code, which starts at the decoder's fourth attention, all of the decoder is meant.
    """

    def __init__(self, params: MutualAttentionParams) -> None:
        super().__init__()
        self.params = params

    def edit(self, inputs: AttentionInputs) -> Tensor:
        site, share = inputs.site, self.share(self.rows(inputs)[0])
        active = self.params.start <= share < self.params.end or (share >= self.params.start and self.params.end == 1)
        if site.kind == "cross" or site.depth not in _DECODER or not active:
            return inputs.unchanged()
        key, value = self.from_source(inputs, "key", "image"), self.from_source(inputs, "value", "image")
        if not self.params.beside:
            keys, values = inputs.key.clone(), inputs.value.clone()
            keys[:, :, site.image_keys], values[:, :, site.image_keys] = key, value
            return inputs.attend(inputs.query, keys, values, inputs.bias)
        return inputs.attend_beside(key, value)


class ConsistEdit(AttentionControl):
    """Queries and keys of the source's image tokens, and its values outside a mask (arXiv 2510.17803).

    ``change`` (1, 1, h, w) in [0, 1] is the mask at the size of the latents; None leaves all values to the edit.
    """

    def __init__(self, params: ConsistEditParams, change: Tensor | None) -> None:
        super().__init__()
        self.params, self.change = params, change

    def edit(self, inputs: AttentionInputs) -> Tensor:
        if inputs.site.kind == "cross":
            return inputs.unchanged()
        query, key, value = inputs.query, inputs.key, inputs.value
        if self.share(self.rows(inputs)[0]) < self.params.structure or self.params.structure == 1:
            query, key = _structure_of_source(self, inputs)
        if self.change is not None:
            value = self._content_of_source(inputs, self.change)
        return inputs.attend(query, key, value, inputs.bias)

    def _content_of_source(self, inputs: AttentionInputs, change: Tensor) -> Tensor:
        """Return the values with those of the source where nothing is to change."""
        site = inputs.site
        share = F.interpolate(change.to(inputs.value), site.grid, mode="area").view(1, 1, -1, 1)
        source = self.from_source(inputs, "value", "image")
        own = inputs.value[:, :, site.image_keys]
        value = inputs.value.clone()
        value[:, :, site.image_keys] = source + share * (own - source)
        return value


def _structure_of_source(control: AttentionControl, inputs: AttentionInputs) -> tuple[Tensor, Tensor]:
    """Return queries and keys with those of the source at the places of the image."""
    query, key = inputs.query.clone(), inputs.key.clone()
    query[:, :, inputs.site.image] = control.from_source(inputs, "query", "image")
    key[:, :, inputs.site.image_keys] = control.from_source(inputs, "key", "image")
    return query, key
