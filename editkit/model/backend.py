"""What a model family provides: encode, decode, embed, and one network signature."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar, cast

import torch
from torch import Tensor

from ..diffusion.denoiser import Condition
from ..diffusion.paths import TimestepGrid
from ..diffusion.points import Point, PointBatch
from ..diffusion.schedules import Schedule
from ..errors import MissingCapability
from ..literals import Prediction
from .adapters import Adapter
from .execution import ExecutionOptions

T = TypeVar("T")


def require(model: Backend, capability: type[T]) -> T:
    """Return the model typed as ``capability``, one of the protocols below.

    Raises MissingCapability, naming both sides, if the model does not provide it.
    """
    needed = _CAPABILITIES[capability]
    if needed not in model.provides:
        provided = ", ".join(sorted(model.provides)) or "nothing beyond images"
        raise MissingCapability(f"this needs {needed}; the model {model.name!r} provides {provided}")
    return cast(T, model)


def adapters_of(model: Backend) -> tuple[str, ...]:
    """What was added to a model, as ``file:scale``."""
    return cast("SupportsAdapters", model).adapters if "adapters" in model.provides else ()


def full_name(model: Backend) -> str:
    """What a model was called, with what was added to it, for a message."""
    added = ", ".join(adapters_of(model))
    return f"{model.name} with {added}" if added else model.name


class Backend(Protocol):
    """A loaded model. Latents are (B, C, h, w); pixels (B, 3, H, W) in [0, 1]."""

    name: str
    """What the user called it by."""
    identity: str
    """Hash of what it is made of: two models of one identity answer alike."""
    device: torch.device
    dtype: torch.dtype
    schedule: Schedule
    grid: TimestepGrid
    provides: frozenset[str]
    """Capabilities: ``text`` where prompts are understood, and those of the protocols below."""
    native_size: int
    """Longest side in pixels of the pictures it was trained on."""
    multiple: int
    """Pixels that both sides of a picture must be a multiple of."""

    @property
    def prediction(self) -> Prediction:
        """What its network predicts; :meth:`denoise` has turned that into x0."""

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, h, w) of a picture whose sides are multiples of :attr:`multiple`."""

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels to latents, without drawing noise: the mean where the encoder gives a distribution."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to pixels, clamped to [0, 1]."""

    def embed(self, prompts: Sequence[str]) -> Condition:
        """Prompts to the condition of as many rows; a backend without ``text`` gives an empty condition."""

    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        """The network's clean estimate x0, of the shape of noisy latents ``x``, at ``point`` or at each row's own."""


class SupportsInstructions(Backend, Protocol):
    """A model that provides ``instructions``: its network sees the picture beside the noisy latents."""

    def image_condition(self, latents: Tensor) -> Condition:
        """What the network sees of pictures by their latents (B, C, h, w), to be merged with the prompts' condition."""


class SupportsDistilledGuidance(Backend, Protocol):
    """A model that provides ``distilled-guidance``: its network is told the guidance scale, and so is asked once."""

    def with_guidance_scale(self, condition: Condition, scale: float) -> Condition:
        """The condition with a guidance scale; of :meth:`embed` it has 1, which does not guide."""


class SupportsInpainting(Backend, Protocol):
    """A model that provides ``inpainting``: its network sees the mask, and the picture where it is not masked."""

    def inpainting_condition(self, pixels: Tensor, mask: Tensor) -> Condition:
        """What the network sees of pictures (B, 3, H, W) under a mask (B, 1, H, W), which counts from 0.5 on."""


class SupportsUpscaling(Backend, Protocol):
    """A model that provides ``upscaling``: its network sees a smaller picture, noised a little, beside the latents."""

    factor: int
    """Times larger a picture is than what the network sees of it, and so than its latents."""

    def upscaling_condition(self, pixels: Tensor, noise_level: int, noise: Tensor) -> Condition:
        """What the network sees of smaller pictures (B, 3, h, w) in [0, 1], to be merged with their prompts' condition.

        They are noised with ``noise`` (B, 3, h, w) to the timestep ``noise_level`` of a schedule of their own; more of
        it leaves the network more freedom. Raises InvalidParameter for a level the network was not trained for.
        """


class SupportsAdapters(Backend, Protocol):
    """A model that provides ``adapters``: LoRA and learned words can be added to it."""

    adapters: tuple[str, ...]
    """Those that were added, as ``file:scale``, in this order; its identity is with them."""

    def add_adapter(self, adapter: Adapter) -> None:
        """Add one for good; raises BadFile or InvalidParameter, and stays as it is, for one that does not fit."""


class SupportsExecutionOptions(Backend, Protocol):
    """A model of a family that ``runs`` in more ways than one."""

    execution: ExecutionOptions
    """How it runs."""

    def set_execution(self, how: ExecutionOptions, device: torch.device) -> None:
        """Run so from now on; asked once, after adapters were added.

        One that is to be offloaded was loaded to the CPU: its parts are to be on ``device`` while they work.
        """


class SupportsControlNet(Backend, Protocol):
    """A model that provides ``controlnet``."""

    def with_controlnet(
        self, folder: Path, hint: Tensor, *, scale: float, low: float, high: float
    ) -> AbstractContextManager[None]:
        """Steer the network by a ControlNet for a while.

        ``folder`` holds its weights, ``hint`` (1, 3, H, W) in [0, 1] is its condition map on the padded canvas, and
        between the sigmas ``low`` and ``high`` it is asked, elsewhere not.
        """


_CAPABILITIES: dict[type, str] = {
    SupportsInstructions: "instructions",
    SupportsDistilledGuidance: "distilled-guidance",
    SupportsInpainting: "inpainting",
    SupportsUpscaling: "upscaling",
    SupportsAdapters: "adapters",
    SupportsControlNet: "controlnet",
}


def execution_of(model: Backend) -> ExecutionOptions:
    """How a model runs: one of a family that can be told is asked."""
    return cast("SupportsExecutionOptions", model).execution if hasattr(model, "execution") else ExecutionOptions()
