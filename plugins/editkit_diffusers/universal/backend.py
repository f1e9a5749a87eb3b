"""Backend of any image pipeline of diffusers whose network :class:`NetworkCall` can call."""

from __future__ import annotations

import contextlib
import dataclasses as dc
from collections import defaultdict
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import diffusers
import numpy as np
import torch
from torch import Tensor

from editkit import (
    Adapter,
    Condition,
    ExecutionOptions,
    LoadingOptions,
    MissingCapability,
    ModelDisplay,
    Point,
    PointBatch,
    PromptReading,
    TimestepGrid,
    WeightsUnavailable,
    Word,
    latent_dtype,
    rows_on,
    select_rows,
    to_x0,
)

from ..adapters.pipelines import add_to_pipeline
from ..attention.support import AttentionSupport, attention_sites, find_attention_sites
from ..controlnets.pipelines import PIPELINES
from ..execution import speed_up
from ..not_copied import NotCopied
from ..offload import SequentialOffload, offload_layers, offload_sequentially
from ..pipeline.sharing import shared_weights
from .block_call import BlockCall
from .call_arguments import CallArguments
from .controlled_call import ChannelCall, takes_map
from .facts import facts_of
from .guided import GuidedPipeline
from .network_call import NetworkCall, Size, network_of
from .pipeline_call import PipelineCall
from .prompt_reading import cut_of_prompt
from .references import REFERENCES, ReferringPipeline
from .schedule import PipelineSchedule, curve_of
from .steering import SteeredPipeline
from .styling import LAYOUTS, StyledPipeline

_PROBED: Size = (512, 512)
"""Size at which the latents of a pipeline are looked at first."""
_PACKED_SIDE = 2
"""Side in latents of the squares that pipelines pack into tokens."""
_MULTIPLES = (1, 2, 4, 8, 16)
_NATIVE_LATENTS, _NATIVE_SIDE = 128, 1024
"""Latents and at most pixels along a side of the training images, for pipelines that do not say."""


def provided_by(pipe: Any) -> frozenset[str]:
    """Return the capabilities of a pipeline, by its class and the configuration of its network."""
    is_input = network_of(pipe).config.get("guidance_embeds")
    provides = {
        "distilled-guidance": is_input,
        "own-guidance": facts_of(type(pipe)).own_guidance and not is_input,
        "controlnet": type(pipe).__name__ in PIPELINES or takes_map(type(pipe)),
        "map-channels": takes_map(type(pipe)),
        "style": type(pipe).__name__ in LAYOUTS,
        "references": type(pipe).__name__ in REFERENCES,
    }
    return frozenset({"text", "attention", "adapters", *(name for name, provided in provides.items() if provided)})


def native_size(pipe: Any, reduction: int) -> int:
    """Return the side of the training images in pixels; a latent has ``reduction`` of them along a side."""
    if facts_of(type(pipe)).native_size:
        return facts_of(type(pipe)).native_size
    side = network_of(pipe).config.get("sample_size") or getattr(pipe, "default_sample_size", None)
    return int(np.max(side)) * reduction if side else min(_NATIVE_LATENTS * reduction, _NATIVE_SIDE)


def _call_of(pipe: Any) -> NetworkCall:
    """Return the calls of a pipeline, by what it is."""
    if isinstance(pipe, diffusers.ModularPipeline):
        return BlockCall(pipe)
    return ChannelCall(pipe) if takes_map(type(pipe)) else PipelineCall(pipe)


class UniversalBackend(
    ReferringPipeline, StyledPipeline, SteeredPipeline, GuidedPipeline, AttentionSupport, ModelDisplay, NotCopied
):
    """Backend of a pipeline ``pipe``, whatever its family. Conditions are those of :class:`CallArguments`."""

    offload: SequentialOffload | None = None
    lender: Any = None
    """Pipeline in memory whose weights are shared; None for a model with weights of its own."""
    execution = ExecutionOptions()
    loading_options = LoadingOptions()
    texts = MappingProxyType({})
    divides_calls = True

    def __init__(self, pipe: Any, *, name: str, identity: str, warnings: Sequence[str] = ()) -> None:
        self.pipe, self.name, self.identity, self.warnings = pipe, name, identity, tuple(warnings)
        self.adapters: tuple[str, ...] = ()
        self.arguments = CallArguments()
        self.call = _call_of(pipe)
        self.net = self.call.network
        self.device, self.dtype, self.prediction = self.net.device, self.net.dtype, self.call.prediction
        self.provides = provided_by(pipe)
        super().__init__()
        layout = self.call.layout(_PROBED)
        self.reduction = _PROBED[0] // layout.shape[-1]
        patch = self.net.config.get("patch_size") or 1
        self.multiple = self._find_multiple(_PACKED_SIDE if len(layout.sampled) == 2 else int(np.max(patch)))
        self.native_size = native_size(pipe, self.reduction)
        is_flow = self.call.is_flow
        curve = curve_of(pipe.scheduler, is_flow=is_flow)
        self.schedule = PipelineSchedule(curve, self.call, self.reduction, _PROBED)
        ends_clean = is_flow or bool(self.call.config.get("set_alpha_to_one"))
        self.grid = TimestepGrid("linspace", ends_clean=ends_clean)

    def _find_multiple(self, patch: int) -> int:
        """Return the least number of pixels whose every multiple is a side that the pipeline keeps.

        Raises WeightsUnavailable if there is none.
        """
        for times in _MULTIPLES:
            latents = patch * times
            side = self.reduction * latents
            with contextlib.suppress(ValueError, RuntimeError):
                sizes = ((3, 5), (9, 4))
                if all(self.latent_shape(w * side, h * side)[1:] == (h * latents, w * latents) for w, h in sizes):
                    return side
        raise WeightsUnavailable(f"{self.call.kind.__name__} samples at sizes of its own choice: it is not supported")

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        return self.call.layout((width, height)).shape

    def encode(self, pixels: Tensor) -> Tensor:
        return self.call.encode(pixels).to(latent_dtype(self.dtype))

    def decode(self, latents: Tensor) -> Tensor:
        # Some pipelines do not clamp tensors, which their images need.
        return self.call.decode(latents.to(self.dtype), self._size_of(latents)).clamp(0, 1)

    def _size_of(self, latents: Tensor) -> Size:
        """Return the size of the image of latents (B, C, h, w)."""
        return latents.shape[-1] * self.reduction, latents.shape[-2] * self.reduction

    def embed(self, prompts: Sequence[str]) -> Condition:
        """Return the condition ``call`` (B,) of prompts, which the pipeline reads when it is called."""
        rows: list[dict[str, Any]] = [{"prompt": prompt} for prompt in prompts]
        if "distilled-guidance" in self.provides:
            rows = [{**row, self.call.scale_argument: 1.0} for row in rows]
        return self.arguments.condition(rows)

    def read_prompt(self, prompt: str) -> list[PromptReading]:
        cuts = [(text, cut_of_prompt(prompt, text.cut)) for text in self.call.read_prompt(prompt)]
        return [PromptReading(text.encoder, text.limit, cut) for text, cut in cuts if cut]

    def words(self, prompt: str) -> list[Word]:
        """Return the tokens of a prompt; those of a pipeline's template are among them.

        A pipeline may leave out the beginning of its template, so that the number of words that its network attends to
        shows the place of each. Raises MissingCapability if no text encoder fits that number.
        """
        side = 2 * self.multiple
        x = torch.zeros(1, *self.latent_shape(side, side), device=self.device, dtype=self.dtype)
        middle = self.schedule.point((self.schedule.first + self.schedule.last) / 2)
        sites = attention_sites(self, type(self)._denoise_equal_rows, x, middle, self.embed([prompt]))
        count = max((site.words.stop - site.words.start for site in sites.values()), default=0)
        texts = {text.encoder: text.places(count) for text in self.call.read_prompt(prompt)}
        fitting = [words for words in texts.values() if words]
        if len(fitting) != 1:
            raise MissingCapability(
                f"the words of a prompt are not known in the attention of {self.call.kind.__name__}: leave out the "
                "control, or its words"
            )
        return fitting[0]

    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        """Return the x0 estimate; one call of the pipeline evaluates the rows of equal timestep and arguments.

        Rows of other prompts are evaluated apart: in some pipelines they would depend on each other by their padding.
        """
        points = point.rows(len(x))
        timesteps = [self._timestep(one) for one in points]
        groups: dict[tuple[float, int, int, int], list[int]] = defaultdict(list)
        alone = range(len(x)) if self.reads_one_prompt else [0] * len(x)
        for row, key in enumerate(
            zip(timesteps, condition["call"].tolist(), self.roles(condition), alone, strict=True)
        ):
            groups[key].append(row)
        if len(groups) == 1:
            return self._denoise_equal_rows(x, points[0], condition)
        x0 = torch.empty_like(x)
        for rows in groups.values():
            part = {name: tensor[rows_on(rows, tensor.device)] for name, tensor in condition.items()}
            index = rows_on(rows, x.device)
            with select_rows(rows):
                x0.index_copy_(0, index, self._denoise_equal_rows(x[index], points[rows[0]], part))
        return x0

    def _timestep(self, point: Point) -> float:
        """Return the timestep of a point in the precision in which a network gets it."""
        return float(np.float32(self.schedule.timestep(point)))

    @find_attention_sites
    def _denoise_equal_rows(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        """Return the x0 estimate of rows of one point and equal arguments, by one call of the pipeline."""
        arguments = self.with_images(self.arguments.rows(condition)[0])
        prompts = [arguments.pop("prompt")] * len(x)
        size, place = self._size_of(x), point.rows(len(x))[0]
        timestep = self._timestep(place)
        styled = self.styled_call(place, self.roles(condition)[0])
        call, more = styled or (self.call_at(place, size), {})
        output = call.estimate(x.to(self.dtype), timestep, prompts, size, arguments | more)
        return to_x0(self.prediction, output, x, point)

    def add_adapter(self, adapter: Adapter) -> None:
        if self.lender is not None:
            raise shared_weights(adapter)
        self.warnings += add_to_pipeline(adapter, self.pipe)
        self.adapters, self.identity = (*self.adapters, str(adapter)), adapter.combined_identity(self.identity)
        self.call.forget_prompts()

    def _tile(self) -> None:
        """Let the autoencoder work in tiles; raises MissingCapability if it cannot."""
        net = self.call.autoencoder
        if not hasattr(net, "use_tiling"):
            raise MissingCapability(
                f"tiling=True needs an autoencoder that works in tiles; the model {self.name!r} has an "
                f"{type(net).__name__}, which does not: leave it out"
            )
        net.enable_tiling()
        if hasattr(net, "use_slicing"):
            net.enable_slicing()

    def free_device(self) -> None:
        if self.offload is not None:
            self.offload.release()
        if hasattr(type(self.lender), "maybe_free_model_hooks"):  # modular pipelines have no such method
            self.lender.maybe_free_model_hooks()

    def set_execution(self, execution: ExecutionOptions, device: torch.device) -> None:
        if execution.tiling:
            self._tile()
        parts = [part for part in self.pipe.components.values() if isinstance(part, torch.nn.Module)]
        if execution.offload:
            self.offload = offload_sequentially(parts, device)
        elif execution.group_offload:
            offload_layers(parts, device)
        if execution.offload or execution.group_offload:
            self.device = device
        speed_up(self.net, self.call.autoencoder, execution, device)
        self.execution = dc.replace(execution)
