"""Base class of the backends of latent diffusion models, for any network."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from editkit import (
    MODULE_CAPABILITIES,
    Accelerator,
    Adapter,
    Backend,
    ExecutionOptions,
    InvalidParameter,
    LoadingOptions,
    Point,
    PointBatch,
    PromptReading,
    Schedule,
    WeightsUnavailable,
    full_name,
    is_finite,
    latent_dtype,
    part_failed,
    timestep_of,
)

from .adapters.adding import add
from .adapters.words import half_learned
from .assembly import Assembled
from .attention.support import AttentionSupport
from .autoencoder import Autoencoder
from .execution import speed_up
from .offload import offload_layers, offload_sequentially
from .pipeline.sharing import shared_weights
from .quantisation import is_quantised
from .scheduler_config import clipping_warnings, grid_of, prediction_of, schedule_of, usual_of, whole_timesteps_of
from .text_encoder import TextEncoder


class LatentModel(Assembled, AttentionSupport):
    """Base of backends: a network ``net`` on latents (B, C, h, w), with the scheduler configuration of its folder.

    ``texts`` are its text encoders by part of the folder. ``schedule`` replaces the schedule that the scheduler
    configuration gives.
    """

    execution = ExecutionOptions()
    loading_options = LoadingOptions()
    accelerator: str | None = None
    statistics: Sequence[str] = ()
    """Entries of the autoencoder's configuration by which the family's pipelines shift and scale latents, beside its
    ``scaling_factor``."""
    native_size: int
    provides: frozenset[str]

    def __init__(
        self,
        net: Any,
        autoencoder: Autoencoder,
        scheduler: dict[str, Any],
        *,
        name: str,
        identity: str,
        texts: Mapping[str, TextEncoder] = MappingProxyType({}),
        schedule: Schedule | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        self.net, self.autoencoder, self.texts = net, autoencoder.of_family(self.statistics), texts
        self.name, self.identity = name, identity
        self.device, self.dtype = net.device, net.dtype
        self.schedule: Schedule = schedule_of(scheduler) if schedule is None else schedule
        self.grid = grid_of(scheduler)
        self.prediction = prediction_of(scheduler)
        self.usual: Mapping[str, Any] = usual_of(scheduler)
        self._whole_timesteps = whole_timesteps_of(scheduler)
        self.adapters: tuple[str, ...] = ()
        self._learned: Sequence[Collection[str]] = ()
        """Words of each adapter that brings any."""
        self._warnings: tuple[str, ...] = (*warnings, *clipping_warnings(scheduler))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Notes for the report, one sentence each."""
        # A word may have a file for each text encoder: the last one settles the warnings of those before.
        return (*self._warnings, *half_learned(self.texts), *self.autoencoder.warnings)

    def add_adapter(self, adapter: Adapter) -> None:
        if self.accelerator is not None:
            raise InvalidParameter(
                f"the adapter {adapter} is not allowed after {self.accelerator} has taken the network: give it "
                "to load_model"
            )
        if self.lender is not None:
            raise shared_weights(adapter)
        part = "unet" if isinstance(self.net, UNet2DConditionModel) else "transformer"
        words, warnings = add(adapter, self.net, part, self.texts)
        self._warnings, self._learned = (*self._warnings, *warnings), [*self._learned, *([words] if words else [])]
        self.adapters, self.identity = (*self.adapters, str(adapter)), adapter.combined_identity(self.identity)

    def check_inputs(self, part: str, needed: int | None, given: int, source: str) -> None:
        """Raise WeightsUnavailable if a network takes another number of values than a part of the model gives."""
        if needed is not None and needed != given:
            raise WeightsUnavailable(
                f"model {self.name}: the {part} takes {needed} values of the {source}, which gives {given}: the parts "
                "belong to different models"
            )

    def set_execution(self, execution: ExecutionOptions, device: torch.device) -> None:
        if execution.tiling:
            self.autoencoder.tile(self.native_size)
        parts = [self.net, self.autoencoder.net, *(encoder.net for encoder in self.texts.values())]
        if execution.offload:
            self.offload = offload_sequentially(parts, device)
        elif execution.group_offload:
            offload_layers(parts, device)
        if execution.offload or execution.group_offload:
            self.device = device
            for encoder in self.texts.values():
                encoder.device = device
        speed_up(self.net, self.autoencoder.net, execution, device)
        self.execution = execution

    def accelerate(self, accelerator: Accelerator) -> None:
        if is_quantised(self.net):
            raise InvalidParameter(
                f"accelerate= is not allowed for the model {self.name!r}, whose weights are quantised: leave it out"
            )
        self.net.forward = accelerator.accelerate(self.net)
        self.provides = self.provides - MODULE_CAPABILITIES
        self.accelerator, self._warnings = accelerator.identity, (*self._warnings, *accelerator.warnings)

    def read_prompt(self, prompt: str) -> list[PromptReading]:
        return [PromptReading(part, encoder.length, encoder.read(prompt)[0]) for part, encoder in self.texts.items()]

    def unused_words(self, prompts: Sequence[str]) -> list[Collection[str]]:
        used = {word for encoder in self.texts.values() for prompt in prompts for word in encoder.words_in(prompt)}
        return [words for words in self._learned if used.isdisjoint(words)]

    def network_timestep(self, point: Point | PointBatch, x: Tensor) -> Tensor:
        """Return the timestep at which the network is evaluated for a point, (), or (B,) for several."""
        timestep = timestep_of(self.schedule, point, x)
        return timestep if self._whole_timesteps is None else self._whole_timesteps(timestep)

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        reduction = self.autoencoder.reduction
        return (self.autoencoder.channels, height // reduction, width // reduction)

    def encode(self, pixels: Tensor) -> Tensor:
        latents = self.autoencoder.encode(pixels).to(latent_dtype(self.dtype))
        if not is_finite(latents):
            raise part_failed("autoencoder", full_name(cast(Backend, self)))
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        return self.autoencoder.decode(latents)
