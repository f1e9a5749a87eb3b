"""One network estimate by one call of a pipeline: any image pipeline of diffusers as a function of latents.

A pipeline reads prompts, packs latents, scales them for its autoencoder, and chooses timesteps and signs in code of its
own. None of that is repeated here. For an estimate its ``__call__`` runs with a scheduler in place of its own, which
gives the loop one timestep and keeps the network's output in ``step``, and with the caller's latents in place of the
noise that it prepares.
"""

from __future__ import annotations

import functools
import inspect
import math
import types
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .facts import UNCHANGED_INPUTS
from .layout import LatentLayout
from .memory import remember
from .network_call import NetworkCall, Size, as_timesteps
from .references import READERS as IMAGE_READERS
from .references import REFERENCES, call_function, neutral_arguments, processors_of
from .silence import silence
from .stand_in import StandIn
from .usual import scale_argument

_READERS = ("encode_prompt", "generate_prior_tokens")
"""Methods that read a prompt."""
_SMALL: Size = (512, 512)
"""Size of the image of a call that ends when the prompt is encoded."""
_GUIDERS = ("guider", "ocr_guider")
"""Parts that guide if they are there."""


class _End(Exception):
    """Ends a pipeline's call when its result is known."""


class PipelineCall(NetworkCall):
    """Calls of a pipeline's own ``__call__``."""

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline)
        self.parameters = inspect.signature(self.kind.__call__).parameters
        self._latents: Tensor | None = None
        self._timesteps: Tensor | None = None
        self._output: Tensor | None = None
        self._row = torch.Size()
        self._size: Size = _SMALL
        self._replace_parts(pipeline)

    @property
    def scale_argument(self) -> str:
        return scale_argument(self.parameters, is_input=self.takes_scale)

    @property
    def takes_negative_prompt(self) -> bool:
        return "negative_prompt" in self.parameters

    def _replace_parts(self, pipeline: Any) -> None:
        """Put stand-ins for the scheduler and the autoencoder, and methods that keep their results, into the copy."""
        self.pipeline.set_progress_bar_config(disable=True)
        self._put("scheduler", self._scheduler(type(pipeline.scheduler)))
        self._put(self._decoder, StandIn(self.autoencoder, encode=remember(self._encode_mean)))
        self._put("_all_hooks", [])  # they would be attached to stand-ins at the end of a call
        for part in set(_GUIDERS) & set(pipeline.components):
            self._put(part, None)
        self._observe_tokenizers()
        self.forget_prompts()
        self._reference_facts = REFERENCES.get(self.kind.__name__)
        if self._reference_facts is not None:
            for name, processor in processors_of(self.pipeline, self._reference_facts, lambda: self._size):
                self._put(name, processor)
        self._prepares = hasattr(self.kind, "prepare_latents")
        if self._prepares:
            method = types.MethodType(self.kind.prepare_latents, self.pipeline)  # type: ignore[attr-defined]
            self._own_latents = remember(method, leave_out=("generator", "latents"))
            self._put("prepare_latents", self._prepare_latents)

    def forget_prompts(self) -> None:
        with self._lock:
            for name in {*_READERS, *IMAGE_READERS} & set(dir(self.kind)):
                self._put(name, remember(types.MethodType(getattr(self.kind, name), self.pipeline)))

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
        self._prompt, self._size = prompts[0], size
        width, height = size
        wraps = self._reference_facts.wraps if self._reference_facts else str
        general: dict[str, Any] = {
            "guidance_scale": self.facts.unguided,
            "true_cfg_scale": 1.0,
            "num_inference_steps": 1,
            "output_type": "pt",
            "width": width,
            "height": height,
            "max_area": width * height,
            "prompt": list(map(wraps, prompts)),
        }
        if not self.takes_scale and "true_cfg_scale" in self.parameters:
            del general["guidance_scale"]  # it is an input of the network, which this one does not have
        neutral = neutral_arguments(self._reference_facts)
        arguments = {**UNCHANGED_INPUTS, **general, **self.facts.arguments, **neutral, **more}
        if not self._prepares and self._latents is not None:
            arguments["latents"] = self._latents
        if isinstance(arguments.get("negative_prompt"), str):  # Kandinsky 3 refuses a text beside a list
            arguments["negative_prompt"] = [arguments["negative_prompt"]] * len(prompts)
        self._allow_size(size)
        # Some pipelines write into lists that they are called with.
        passed = {
            name: list(value) if isinstance(value, list) else value
            for name, value in arguments.items()
            if name in self.parameters
        }
        with silence():
            try:
                return call_function(self.kind, self._reference_facts, size)(self.pipeline, **passed)
            except _End:
                return None

    def _allow_size(self, size: Size) -> None:
        """Make a pipeline of a fixed area, or of a list of sizes, sample at ``size``."""
        if self.facts.fixed_sizes:
            self._put(self.facts.fixed_sizes, [size])
        if self.facts.fixed_area:
            # A little more, since it is rounded down.
            self._put(self.facts.fixed_area, 1.001 * math.sqrt(math.prod(size)) / self.pipeline.vae_scale_factor)

    def _probe_layout(self, size: Size) -> LatentLayout | None:
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
        return LatentLayout.of_probes(sampled, decoded) if len(decoded) == 3 else None

    def _encode_prompt(self, prompt: str) -> None:
        self._latents, self._timesteps = None, torch.zeros(1)
        self._run([prompt], _SMALL)

    def estimate(
        self, x: Tensor, timestep: float, prompts: list[str], size: Size, arguments: Mapping[str, Any]
    ) -> Tensor:
        with self._lock:
            layout, shown = self.layout(size), self._network_timestep(timestep, size)
            self._latents, self._timesteps = layout.pack(x), as_timesteps(shown, x.device)
            self._put("known_device", x.device)
            try:
                self._run(prompts, size, **arguments)
                assert self._output is not None
                return layout.unpack(self._own_part(self._output.reshape(len(x), -1), x[0].numel()))
            finally:
                self._latents = self._output = None
                self._put("known_device", None)

    def _own_part(self, output: Tensor, count: int) -> Tensor:
        """Return the ``count`` values of each row of an output that belong to the result, not to the references."""
        last = self._reference_facts is not None and self._reference_facts.output_last
        return output[:, -count:] if last else output[:, :count]

    def decode(self, x: Tensor, size: Size) -> Tensor:
        """Return the pixels (B, 3, H, W) in [0, 1] of latents, by the rest of the call after no step."""
        with self._lock:
            self._latents, self._timesteps = self.layout(size).pack(x), torch.zeros(0)
            pixels: Tensor = self._run([""] * len(x), size)[0]
            pixels = pixels[:, :3]
            return (pixels / 2 + 0.5).clamp(0, 1) if self.facts.raw_pixels else pixels

    def _set_timesteps(self, steps: int, size: Size) -> None:
        self._latents, self._timesteps = torch.zeros(1, *self.layout(size).sampled), None
        self._run([""], size, num_inference_steps=steps)
