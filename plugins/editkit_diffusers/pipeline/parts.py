"""The parts of a pipeline in memory, for a backend."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import diffusers
import torch
from accelerate.hooks import remove_hook_from_module

from editkit import InvalidParameter, WeightsUnavailable, quiet

from ..autoencoder import KINDS, Autoencoder, check_scaling, safe_dtype
from ..scheduler_config import complete_config
from ..text_encoder import TextEncoder
from .identity import identity_of_pipeline
from .sharing import shared_network

_IMAGE_PROJECTIONS = ("encoder_hid_proj", "image_proj")
"""Attributes of a network that hold the projection of an IP-Adapter."""


class PipelineParts:
    """The parts of a pipeline of diffusers in memory, whose weights are shared; see :class:`Checkpoint`."""

    warnings: tuple[str, ...] = ()

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        missing = {name: (None, None) for name, part in pipe.components.items() if part is None}
        self.index: dict[str, Any] = {**pipe.config, **missing, "_class_name": type(pipe).__name__}
        if hasattr(pipe, "labels"):
            self.index["id2label"] = _names_of_classes(pipe.labels)
        self.device: torch.device = pipe._execution_device  # that of an offloaded pipeline has no public name

    @property
    def identity(self) -> str:
        return identity_of_pipeline(self.pipe)

    def network(self, kind: Any, part: str, *, changed: bool = False) -> Any:
        """Return a part, which shares its weights; with ``changed`` its modules are the backend's own.

        Raises WeightsUnavailable if it is missing or of another class, InvalidParameter for state that the backend
        would not reproduce.
        """
        net = shared_network(self._part(part, kind), part, changed=changed)
        for name in _IMAGE_PROJECTIONS:
            if type(getattr(net, name, None)).__name__.startswith(("IPAdapter", "MultiIPAdapter")):
                raise InvalidParameter(
                    f"the {part} of this pipeline has an IP-Adapter, whose image is an argument of each call: call "
                    "unload_ip_adapter() first"
                )
        return net

    def _part(self, name: str, *kinds: Any) -> Any:
        """Return a part; raises WeightsUnavailable if the pipeline has none or one of another class."""
        part = getattr(self.pipe, name, None)
        if part is None:
            raise WeightsUnavailable(f"this {type(self.pipe).__name__} has no {name}: load it with one")
        inner = getattr(part, "_orig_mod", part)
        if not isinstance(inner, kinds):
            needed = " or ".join(kind.__name__ for kind in kinds)
            raise WeightsUnavailable(
                f"the {name} of this {type(self.pipe).__name__} is a {type(inner).__name__}, which is not supported: "
                f"it must be a {needed}"
            )
        return part

    def autoencoder(self) -> Autoencoder:
        """Return the autoencoder; one that would overflow in float16 is copied in float32, as a loaded one is."""
        net = self._part("vae", *KINDS.values())
        check_scaling(net.config, f"the vae of this {type(self.pipe).__name__}")
        dtype = safe_dtype({"_class_name": type(net).__name__, **net.config}, net.dtype)
        if dtype is not net.dtype:
            with quiet():
                net = remove_hook_from_module(copy.deepcopy(net), recurse=True).to(self.device, dtype)
        return Autoencoder(shared_network(net, "vae"))

    def text_encoder(self, part: str, kind: Any, length: int | None = None, left_out: int = 0) -> TextEncoder:
        """Return a text encoder with a copy of its tokenizer; see :meth:`Checkpoint.text_encoder`."""
        net = self.network(kind, part)
        name = part.replace("text_encoder", "tokenizer")
        if getattr(self.pipe, name, None) is None:
            raise WeightsUnavailable(f"this {type(self.pipe).__name__} has no {name}: load it with one")
        encoder = TextEncoder(net, copy.deepcopy(getattr(self.pipe, name)), length)
        encoder.device = self.device
        encoder.words = _words_of_several_tokens(encoder.tokenizer)
        return encoder

    def scheduler(self, part: str = "scheduler", *, fixed: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
        """Return the configuration of a scheduler as it is; the pipeline has set the values in ``fixed`` before."""
        scheduler = self._part(part, object)
        _check_scheduler(scheduler, part)
        config = {**scheduler.config, "_class_name": type(scheduler).__name__}
        if "shift" in config and hasattr(scheduler, "shift"):
            config["shift"] = scheduler.shift  # set_shift leaves the configuration alone
        return complete_config(config, f"the {part} of this {type(self.pipe).__name__}")


def _check_scheduler(scheduler: Any, part: str) -> None:
    """Raise InvalidParameter for a scheduler whose configuration does not describe it."""
    kind = type(scheduler)
    if getattr(diffusers, kind.__name__, kind) is not kind:
        raise InvalidParameter(
            f"the {part} of this pipeline is a {kind.__name__} of {kind.__module__}, and not that of diffusers: its "
            "steps are not known"
        )
    table = getattr(scheduler, "alphas_cumprod", None)
    if table is not None and not torch.allclose(table.cpu(), kind.from_config(scheduler.config).alphas_cumprod):
        raise InvalidParameter(
            f"the alphas_cumprod of the {part} of this pipeline are not those of its configuration: set "
            "trained_betas, or rescale_betas_zero_snr, in its configuration"
        )


def _names_of_classes(numbers: Mapping[str, int]) -> dict[str, str]:
    """Return the names of each class, separated by commas, as in the index of a folder."""
    names: dict[str, str] = {}
    for name, number in numbers.items():
        names[str(number)] = f"{names[str(number)]}, {name}" if str(number) in names else name
    return names


def _words_of_several_tokens(tokenizer: Any) -> dict[str, str]:
    """Return the token sequences of words that were added to a tokenizer with several embeddings."""
    added = tokenizer.get_added_vocab()
    words = {}
    for word in added:
        count = 1
        while f"{word}_{count}" in added:
            count += 1
        if count > 1:
            words[word] = " ".join([word, *(f"{word}_{number}" for number in range(1, count))])
    return words
