"""Calls of a pipeline's network: the part that is equal for all ways to call it."""

from __future__ import annotations

import abc
import copy
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from editkit import InvalidParameter, Prediction, WeightsUnavailable, numbers_on, reason_of

from .facts import facts_of
from .layout import LatentLayout
from .prompt_reading import ObservedProcessor, ObservedTokenizer, ReadText

Size = tuple[int, int]
"""Width and height of an image in pixels."""
_READ = 1024
"""Prompts whose texts are kept."""


def network_of(pipeline: Any) -> Any:
    """Return the network of a pipeline that predicts."""
    return pipeline.transformer if hasattr(pipeline, "transformer") else pipeline.unet


def as_timesteps(timestep: float | int, device: torch.device) -> Tensor:
    """Return a timestep as the timesteps (1,) of a path of one step, in the dtype that a scheduler gives them."""
    return numbers_on([timestep], device, torch.float32 if isinstance(timestep, float) else torch.int64)


def _copy_on_known_device(pipeline: Any) -> Any:
    """Return a copy of a pipeline whose execution device is its attribute ``known_device`` where that is not None.

    diffusers walks through all modules of all parts to find the device, which a call of one estimate does not repay.
    """

    class OnKnownDevice(type(pipeline)):  # type: ignore[misc]
        known_device: torch.device | None = None

        @property
        def _execution_device(self) -> torch.device:
            return self.known_device or super()._execution_device

    OnKnownDevice.__name__ = type(pipeline).__name__  # pipelines read their name
    copied = copy.copy(pipeline)
    copied.__class__ = OnKnownDevice
    return copied


class OwnPath(NamedTuple):
    """Timesteps that a pipeline chooses for a number of steps, and their sigmas with the one at the end of a flow."""

    sigmas: Tensor | None
    timesteps: Tensor


class NetworkCall(abc.ABC):
    """A loaded pipeline as a function from latents (B, C, h, w) and a timestep to the network's output.

    Latents and the size of the image are the caller's; the pipeline is not changed, but shares its parts. Calls of
    several threads take turns. Raises WeightsUnavailable for a pipeline whose calls cannot be used so.
    """

    def __init__(self, pipeline: Any) -> None:
        self.kind: type = type(pipeline)
        self.facts = facts_of(self.kind)
        self.config = pipeline.scheduler.config
        self.pipeline = _copy_on_known_device(pipeline)  # a call sets attributes of the pipeline
        self._decoder, self.autoencoder = self._find_autoencoder()
        self._layouts: dict[Size, LatentLayout] = {}
        self._paths: dict[tuple[int, Size], OwnPath] = {}
        self._lock = threading.RLock()
        self._prompt = ""
        self._texts: dict[str, list[ReadText]] = {}

    def _find_autoencoder(self) -> tuple[str, Any]:
        """Return the name of the part that decodes latents, and the part."""
        for name, part in self.pipeline.components.items():
            if isinstance(part, torch.nn.Module) and hasattr(part, "decode"):
                return name, part
        raise WeightsUnavailable(f"{self.kind.__name__} decodes no latents: it is not supported")

    def _put(self, name: str, value: Any) -> None:
        # The pipeline's own assignment would also write into the configuration, which the copy shares.
        self.pipeline.__dict__[name] = value

    def _observe_tokenizers(self) -> None:
        """Put tokenizers that record the texts they read into the copy."""
        for name, part in self.pipeline.components.items():
            encoder = name.replace("tokenizer", "text_encoder")
            if isinstance(part, PreTrainedTokenizerBase):
                self._put(name, ObservedTokenizer(encoder, part, self._note_text))
            elif isinstance(getattr(part, "tokenizer", None), PreTrainedTokenizerBase):
                self._put(name, ObservedProcessor(encoder, part, self._note_text))

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
    def scale_argument(self) -> str:
        """Argument of an estimate that is the guidance scale."""
        return "guidance_scale"

    @property
    def takes_negative_prompt(self) -> bool:
        """Whether an estimate takes a negative prompt, for guidance of its own."""
        return False

    @property
    def network(self) -> Any:
        """The network that predicts."""
        return network_of(self.pipeline)

    @abc.abstractmethod
    def forget_prompts(self) -> None:
        """Forget the embeddings of prompts, because the weights of the text encoders have changed."""

    def layout(self, size: Size) -> LatentLayout:
        """Return the layout of the latents of an image; raises WeightsUnavailable if they have none."""
        with self._lock, torch.no_grad():
            if size not in self._layouts:
                layout = self._probe_layout(size)
                if layout is None:
                    raise WeightsUnavailable(
                        f"{self.kind.__name__} does more to its latents than to order, scale and shift them: it is not "
                        "supported"
                    )
                self._layouts[size] = layout
            return self._layouts[size]

    @abc.abstractmethod
    def _probe_layout(self, size: Size) -> LatentLayout | None:
        """Return the layout of the latents of an image by decoding probes; None if there is none."""

    def own_path(self, steps: int, size: Size) -> OwnPath:
        """Return the timesteps of the pipeline's own loop of a number of steps."""
        with self._lock, torch.no_grad():
            if (steps, size) not in self._paths:
                self._set_timesteps(steps, size)
                scheduler = self.pipeline.scheduler
                sigmas = scheduler.sigmas.cpu().clone() if self.is_flow else None
                self._paths[steps, size] = OwnPath(sigmas, scheduler.timesteps.cpu().clone())
            return self._paths[steps, size]

    @abc.abstractmethod
    def _set_timesteps(self, steps: int, size: Size) -> None:
        """Set the timesteps of the scheduler in the copy as the pipeline does for a number of steps."""

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

    def read_prompt(self, prompt: str) -> tuple[ReadText, ...]:
        """Return the texts that the tokenizers read of a prompt, the first one of each.

        Raises InvalidParameter for a prompt that the pipeline refuses.
        """
        with self._lock, torch.no_grad():
            if prompt not in self._texts:
                self._prompt = prompt
                try:
                    self._encode_prompt(prompt)
                except ValueError as error:  # pipelines raise it for a prompt that is too long
                    raise InvalidParameter(
                        f"the prompt {prompt[:60]!r} is not allowed with {self.kind.__name__}: {reason_of(error)}"
                    ) from error
            return tuple(self._texts.get(prompt, ()))

    def _note_text(self, text: ReadText) -> None:
        """Keep a text of the prompt that is encoded."""
        texts = self._texts.setdefault(self._prompt, [])
        if all(text.encoder != other.encoder for other in texts):
            texts.append(text)
        if len(self._texts) > _READ:
            del self._texts[next(iter(self._texts))]

    @abc.abstractmethod
    def _encode_prompt(self, prompt: str) -> None:
        """Encode a prompt as the pipeline does."""

    @abc.abstractmethod
    def estimate(
        self, x: Tensor, timestep: float, prompts: list[str], size: Size, arguments: Mapping[str, Any]
    ) -> Tensor:
        """Return the output of the network (B, C, h, w), as :attr:`prediction`, for latents ``x`` (B, C, h, w).

        ``arguments`` are further arguments of the call.
        """

    @abc.abstractmethod
    def decode(self, x: Tensor, size: Size) -> Tensor:
        """Return the pixels (B, 3, H, W) in [0, 1] of latents, decoded as the pipeline does."""

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
