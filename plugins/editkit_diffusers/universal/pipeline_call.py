"""One network estimate by one call of a pipeline: any image pipeline of diffusers as a function of latents.

A pipeline reads prompts, packs latents, scales them for its autoencoder, and chooses timesteps and signs in code of its
own. None of that is repeated here. For an estimate its ``__call__`` runs with a scheduler in place of its own, which
gives the loop one timestep and keeps the network's output in ``step``, and with the caller's latents in place of the
noise that it prepares.
"""

from __future__ import annotations

import copy
import functools
import inspect
import math
import threading
import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from editkit import InvalidParameter, Prediction, PromptReading, WeightsUnavailable, reason_of

from .facts import UNCHANGED_INPUTS, facts_of
from .layout import LatentLayout
from .memory import remember
from .prompt_reading import ObservedTokenizer, cut_of_prompt
from .silence import silence
from .stand_in import StandIn

Size = tuple[int, int]
"""Width and height of an image in pixels."""
_READERS = ("encode_prompt", "generate_prior_tokens")
"""Methods that read a prompt."""
_SMALL: Size = (512, 512)
"""Size of the image of calls that end before latents are needed."""
_READINGS = 1024
"""Prompts whose readings are kept."""
_GUIDERS = ("guider", "ocr_guider")
"""Parts that guide if they are there."""


class _End(Exception):
    """Ends a pipeline's call when its result is known."""


class OwnPath(NamedTuple):
    """Timesteps that a pipeline chooses for a number of steps, and their sigmas with the one at the end of a flow."""

    sigmas: Tensor | None
    timesteps: Tensor


class PipelineCall:
    """A loaded pipeline as a function from latents (B, C, h, w) and a timestep to the network's output.

    Latents and the size of the image are the caller's; the pipeline is not changed, but shares its parts. Calls of
    several threads take turns. Raises WeightsUnavailable for a pipeline whose calls cannot be used so.
    """

    def __init__(self, pipeline: Any) -> None:
        self.kind: type = type(pipeline)
        self.facts = facts_of(self.kind)
        self.config = pipeline.scheduler.config
        self.parameters = inspect.signature(self.kind.__call__).parameters
        self.pipeline = copy.copy(pipeline)  # a call sets attributes of the pipeline
        self._decoder, self.autoencoder = self._find_autoencoder()
        self._latents: Tensor | None = None
        self._timesteps: Tensor | None = None
        self._output: Tensor | None = None
        self._row = torch.Size()
        self._layouts: dict[Size, LatentLayout] = {}
        self._paths: dict[tuple[int, Size], OwnPath] = {}
        self._lock = threading.RLock()
        self._readings: list[PromptReading] = []
        self._cuts: dict[str, tuple[PromptReading, ...]] = {}
        self._replace_parts(pipeline)

    def _find_autoencoder(self) -> tuple[str, Any]:
        """Return the name of the part that decodes latents, and the part."""
        for name, part in self.pipeline.components.items():
            if isinstance(part, torch.nn.Module) and hasattr(part, "decode"):
                return name, part
        raise WeightsUnavailable(f"{self.kind.__name__} decodes no latents: it is not supported")

    def _replace_parts(self, pipeline: Any) -> None:
        """Put stand-ins for the scheduler and the autoencoder, and methods that keep their results, into the copy."""
        self.pipeline.set_progress_bar_config(disable=True)
        self._put("scheduler", self._scheduler(type(pipeline.scheduler)))
        self._put(self._decoder, StandIn(self.autoencoder, encode=remember(self._encode_mean)))
        for part in set(_GUIDERS) & set(pipeline.components):
            self._put(part, None)
        for name, part in pipeline.components.items():
            if isinstance(part, PreTrainedTokenizerBase):
                self._put(
                    name,
                    ObservedTokenizer(name.replace("tokenizer", "text_encoder"), part, self._readings.append),
                )
        for name in set(_READERS) & set(dir(self.kind)):
            self._put(name, remember(types.MethodType(getattr(self.kind, name), self.pipeline)))
        self._prepares = hasattr(self.kind, "prepare_latents")
        if self._prepares:
            method = types.MethodType(self.kind.prepare_latents, self.pipeline)  # type: ignore[attr-defined]
            self._own_latents = remember(method, leave_out=("generator", "latents"))
            self._put("prepare_latents", self._prepare_latents)

    def _put(self, name: str, value: Any) -> None:
        # The pipeline's own assignment would also write into the configuration, which the copy shares.
        self.pipeline.__dict__[name] = value

    @property
    def prediction(self) -> Prediction:
        """Prediction of the network, as the scheduler takes it."""
        kind: Prediction = self.config.get("prediction_type", "epsilon")
        return "flow_prediction" if self.is_flow else kind

    @property
    def is_flow(self) -> bool:
        """Whether the model is a rectified flow."""
        kind = type(self.pipeline.scheduler).__mro__[1].__name__
        return "FlowMatch" in kind or self.config.get("prediction_type") == "flow_prediction"

    @property
    def takes_scale(self) -> bool:
        """Whether the guidance scale is an input of the network."""
        return bool(self.network.config.get("guidance_embeds"))

    @property
    def network(self) -> Any:
        """The network that predicts."""
        return self.pipeline.transformer if hasattr(self.pipeline, "transformer") else self.pipeline.unet

    def _scheduler(self, kind: Any) -> Any:
        """Return a scheduler of a class that has the timesteps of this object, and ends the call instead of a step."""
        call = self

        class OneEstimate(kind):  # type: ignore[misc]
            init_noise_sigma = 1.0

            @functools.wraps(kind.set_timesteps)  # pipelines inspect its parameters
            def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
                if call._timesteps is None:
                    super().set_timesteps(*args, **kwargs)
                    raise _End
                self.timesteps, self.num_inference_steps = call._timesteps, len(call._timesteps)

            def set_begin_index(self, begin_index: int = 0) -> None:
                """Set nothing: there is no index of steps."""

            def scale_model_input(self, sample: Tensor, *args: Any, **kwargs: Any) -> Tensor:
                return sample

            @functools.wraps(kind.step)
            def step(self, model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
                call._output, call._row = model_output, sample.shape[1:]
                raise _End

        return OneEstimate.from_config(self.config)

    def _prepare_latents(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the pipeline's own method does, with the caller's latents in place of the noise."""
        own = self._own_latents(*args, **kwargs)
        noise, *rest = own if isinstance(own, tuple) else (own,)
        self._row = noise.shape[1:]
        if self._latents is None:
            raise _End
        # Probes are in float64, which keeps them from being rounded to the dtype of the model.
        probes = self._latents.dtype == torch.float64
        latents = self._latents.to(noise.device) if probes else self._latents.to(noise)
        return (latents, *rest) if rest else latents

    def _encode_mean(self, pixels: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Encode an image that the pipeline is conditioned on; of a distribution every sample is its mean."""
        encoded = self.autoencoder.encode(pixels.to(self.autoencoder.dtype), *args, **kwargs)
        distribution = getattr(encoded, "latent_dist", encoded[0])
        if hasattr(distribution, "mode"):
            distribution.sample = lambda *_, **__: distribution.mode()
        return encoded

    def _run(self, prompts: list[str], size: Size, **more: Any) -> Any:
        """Call the pipeline up to its end or an :class:`_End`; gradients are computed if they are enabled."""
        width, height = size
        general: dict[str, Any] = {
            "guidance_scale": self.facts.unguided,
            "true_cfg_scale": 1.0,
            "num_inference_steps": 1,
            "output_type": "pt",
            "width": width,
            "height": height,
            "max_area": width * height,
            "prompt": prompts,
        }
        if not self.takes_scale and "true_cfg_scale" in self.parameters:
            del general["guidance_scale"]  # it is an input of the network, which this one does not have
        arguments = {**UNCHANGED_INPUTS, **general, **self.facts.arguments, **more}
        if not self._prepares and self._latents is not None:
            arguments["latents"] = self._latents
        self._allow_size(size)
        # Some pipelines write into lists that they are called with.
        passed = {
            name: list(value) if isinstance(value, list) else value
            for name, value in arguments.items()
            if name in self.parameters
        }
        with silence():
            try:
                return inspect.unwrap(self.kind.__call__)(self.pipeline, **passed)
            except _End:
                return None

    def _allow_size(self, size: Size) -> None:
        """Make a pipeline of a fixed area, or of a list of sizes, sample at ``size``."""
        if self.facts.fixed_sizes:
            self._put(self.facts.fixed_sizes, [size])
        if self.facts.fixed_area:
            # A little more, since it is rounded down.
            self._put(self.facts.fixed_area, 1.001 * math.sqrt(math.prod(size)) / self.pipeline.vae_scale_factor)

    def layout(self, size: Size) -> LatentLayout:
        """Return the layout of the latents of an image; raises WeightsUnavailable if they have none."""
        with self._lock, torch.no_grad():
            if size not in self._layouts:
                self._layouts[size] = self._probe_layout(size)
            return self._layouts[size]

    def _probe_layout(self, size: Size) -> LatentLayout:
        """Find the layout from latents of zeros, of ones and of the numbers of places, all but decoded."""
        self._latents, self._timesteps = None, torch.zeros(1)
        self._run([""], size)
        sampled, decoded = self._row, []

        def decode(z: Tensor, *args: Any, **kwargs: Any) -> None:
            decoded.append(z[0])
            raise _End

        part, count = self.pipeline.__dict__[self._decoder], sampled.numel()
        self._put(self._decoder, StandIn(part, decode=decode, dtype=torch.float64))
        self._timesteps = torch.zeros(0)  # the loop takes no step
        try:
            for values in (torch.zeros(count), torch.ones(count), torch.arange(count)):
                self._latents = values.view(1, *sampled).double()
                self._run([""], size)
        finally:
            self._put(self._decoder, part)
        layout = LatentLayout.of_probes(sampled, decoded) if len(decoded) == 3 else None
        if layout is None:
            raise WeightsUnavailable(
                f"{self.kind.__name__} does more to its latents than to order, scale and shift them: it is not "
                "supported"
            )
        return layout

    def read_prompt(self, prompt: str) -> tuple[PromptReading, ...]:
        """Return the readings of a prompt by text encoders that do not read its end, from one call of them."""
        with self._lock, torch.no_grad():
            if prompt not in self._cuts:
                self._latents, self._timesteps = None, torch.zeros(1)
                self._readings.clear()
                try:
                    self._run([prompt], _SMALL)
                except ValueError as error:  # pipelines raise it for a prompt that is too long
                    raise InvalidParameter(
                        f"the prompt {prompt[:60]!r} is not allowed with {self.kind.__name__}: {reason_of(error)}"
                    ) from error
                cuts = [reading._replace(cut=cut_of_prompt(prompt, reading.cut)) for reading in self._readings]
                self._cuts[prompt] = tuple(dict.fromkeys(reading for reading in cuts if reading.cut))
                if len(self._cuts) > _READINGS:
                    del self._cuts[next(iter(self._cuts))]
            return self._cuts[prompt]

    def estimate(
        self, x: Tensor, timestep: float, prompts: list[str], size: Size, arguments: Mapping[str, Any]
    ) -> Tensor:
        """Return the output of the network (B, C, h, w), as :attr:`prediction`, for latents ``x`` (B, C, h, w).

        ``arguments`` are further arguments of the call.
        """
        with self._lock:
            layout, shown = self.layout(size), self._network_timestep(timestep, size)
            self._latents, self._timesteps = layout.pack(x), torch.tensor([shown], device=x.device)
            try:
                self._run(prompts, size, **arguments)
                assert self._output is not None
                # Tokens of references follow those of the image.
                return layout.unpack(self._output.reshape(len(x), -1)[:, : x[0].numel()])
            finally:
                self._latents = self._output = None

    def decode(self, x: Tensor, size: Size) -> Tensor:
        """Return the pixels (B, 3, H, W) in [0, 1] of latents, by the rest of the call after no step."""
        with self._lock:
            self._latents, self._timesteps = self.layout(size).pack(x), torch.zeros(0)
            pixels: Tensor = self._run([""] * len(x), size)[0]
            return pixels[:, :3]

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the latents (B, C, h, w) of pixels (B, 3, H, W) in [0, 1]: the mean, scaled as the pipeline does."""
        height, width = pixels.shape[-2:]
        layout = self.layout((width, height))
        pixels = (pixels * 2 - 1).to(self.autoencoder.dtype)
        if self.autoencoder.config.get("in_channels") == 4:  # the fourth is opacity
            pixels = torch.cat([pixels, torch.ones_like(pixels[:, :1])], 1)
        of_videos = len(layout.decoded) == 4
        encoded = self.autoencoder.encode(pixels[:, :, None] if of_videos else pixels)
        z = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded[0]
        return layout.normalise(z)

    def own_path(self, steps: int, size: Size) -> OwnPath:
        """Return the timesteps of the pipeline's own loop of a number of steps."""
        with self._lock, torch.no_grad():
            if (steps, size) not in self._paths:
                self._latents, self._timesteps = torch.zeros(1, *self.layout(size).sampled), None
                self._run([""], size, num_inference_steps=steps)
                scheduler = self.pipeline.scheduler
                sigmas = scheduler.sigmas.cpu().clone() if self.is_flow else None
                self._paths[steps, size] = OwnPath(sigmas, scheduler.timesteps.cpu().clone())
            return self._paths[steps, size]

    def _network_timestep(self, timestep: float, size: Size) -> float | int:
        """Return the pipeline's timestep at a timestep of the schedule.

        They differ for pipelines that shift their sigmas but not the timesteps of their network.
        """
        sigmas, timesteps = self.own_path(self.config.num_train_timesteps, size)
        if sigmas is not None:
            shown = sigmas[: len(timesteps)] * self.config.num_train_timesteps
            if not torch.allclose(shown, timesteps.to(shown), atol=1.0):
                timestep = float(np.interp(timestep, shown.flip(0).numpy(), timesteps.flip(0).numpy()))
            return timestep if timesteps.is_floating_point() else int(timestep)
        return timestep if timesteps.is_floating_point() else round(timestep)
