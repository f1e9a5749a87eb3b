"""Capabilities of models beyond :class:`Backend`: their protocols, and look-ups of those that a model has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import torch
from torch import Tensor

from ..diffusion.attention import AttentionEdit, Word
from ..diffusion.denoiser import Condition
from ..errors import MissingCapability
from .adapters import Adapter
from .backend import Backend
from .execution import ExecutionOptions
from .options import LoadingOptions, described_model

if TYPE_CHECKING:
    from PIL import Image

    from .prompt_text import PromptReading

T = TypeVar("T")


def require(model: Backend, capability: type[T]) -> T:
    """Return the model typed as ``capability``, one of the protocols below.

    Raises MissingCapability, naming both sides, if the model does not provide it.
    """
    needed = CAPABILITIES[capability]
    if needed not in model.provides:
        provided = ", ".join(sorted(model.provides)) or "nothing beyond images"
        raise MissingCapability(f"this needs {needed}; the model {model.name!r} provides {provided}")
    return cast(T, model)


def adapters_of(model: Backend) -> tuple[str, ...]:
    """Return the adapters of a model as ``file:scale``."""
    return cast("SupportsAdapters", model).adapters if "adapters" in model.provides else ()


def warnings_of(model: Backend) -> tuple[str, ...]:
    """Return the warnings of loading a model, which every report of its edits repeats; a backend may have none."""
    return tuple(getattr(model, "warnings", ()))


def full_name(model: Backend) -> str:
    """Return the name of a model, its adapters and its loading options, for a message."""
    return described_model(model.name, adapters_of(model), loading_options_of(model).recorded)


class SupportsInstructions(Backend, Protocol):
    """Model that provides ``instructions``: its network takes the latents of the image beside the noisy ones."""

    def image_condition(self, latents: Tensor) -> Condition:
        """Return the condition of images by their latents (B, C, h, w), to be merged with the prompts' condition."""


class SupportsDistilledGuidance(Backend, Protocol):
    """Model that provides ``distilled-guidance``: the guidance scale is an input of the network.

    One evaluation per step is enough.
    """

    def with_guidance_scale(self, condition: Condition, scale: float) -> Condition:
        """Return the condition with a guidance scale; :meth:`embed` sets 1, which does not guide."""


class SupportsOwnGuidance(Backend, Protocol):
    """Model that provides ``own-guidance``: one evaluation computes guidance by scale and negative prompt itself.

    It serves families whose guidance is no combination of estimates under two prompts: a second network (Ideogram 4),
    prompts that are read differently in the negative one (Sana), guiders. :meth:`denoise` under the
    condition of :meth:`with_guidance` returns the guided x0.
    """

    takes_negative_prompt: bool
    """Whether :meth:`with_guidance` uses ``negative``; else a given negative prompt is refused."""

    def with_guidance(self, condition: Condition, negative: Condition, scale: float) -> Condition:
        """Return the condition (B rows) of an evaluation that is guided from ``negative`` (B rows) to ``condition``.

        Both are conditions of :meth:`embed`, which a session has merged with those of images. ``scale`` follows the
        convention of editkit, ``negative + scale * (positive - negative)``: a family whose own scale is off at 0 adds
        the difference here. At 1 the result does not guide, ``negative`` has no effect, and the result equals
        ``condition``: names, shapes of rows and dtypes are those of every scale, so that rows of several scales can be
        stacked, and :meth:`embed` returns them for 1. A condition that is guided already gets the new scale and
        negative. Outside an interval of guidance :meth:`denoise` gets the condition without guidance. Raises
        InvalidParameter for a scale that the family does not compute, such as one below 1.
        """


class SupportsInpainting(Backend, Protocol):
    """Model that provides ``inpainting``: its network is conditioned on the mask and the unmasked pixels."""

    def inpainting_condition(self, pixels: Tensor, mask: Tensor) -> Condition:
        """Return the condition of images (B, 3, H, W) under a mask (B, 1, H, W), which is 1 from 0.5 on."""


class SupportsUpscaling(Backend, Protocol):
    """Model that provides ``upscaling``: its network is conditioned on a smaller, slightly noised image."""

    factor: int
    """Size of the image divided by the size of the smaller image, which equals the size of the latents."""

    def upscaling_condition(self, pixels: Tensor, noise_level: int, noise: Tensor) -> Condition:
        """Return the condition of smaller images (B, 3, h, w) in [0, 1], to be merged with the prompts' condition.

        They are noised with ``noise`` (B, 3, h, w) to the timestep ``noise_level`` of their own schedule; a higher
        level gives the network more freedom. Raises InvalidParameter for a level outside the training range.
        """


class SupportsPromptLimits(Backend, Protocol):
    """Model whose text encoders read a limited number of tokens; a model that reads prompts of any length is none."""

    def read_prompt(self, prompt: str) -> Sequence[PromptReading]:
        """Return which part of a prompt each text encoder reads."""


class SupportsLongPrompts(Backend, Protocol):
    """Model whose network takes the embeddings of several chunks of a prompt, for ``long_prompts``."""

    def count_chunks(self, prompt: str) -> int:
        """Return the number of chunks of a prompt, at least 1."""

    def embed(self, prompts: Sequence[str], chunks: int = 1) -> Condition:
        """Return the condition of prompts in ``chunks`` chunks each, of which those of a shorter prompt are empty.

        With one chunk it is that of a model without long prompts.
        """


class SupportsAdapters(Backend, Protocol):
    """Model that provides ``adapters``: LoRA and textual inversion can be added."""

    adapters: tuple[str, ...]
    """Added adapters as ``file:scale``, in order; the identity of the model includes them."""

    def add_adapter(self, adapter: Adapter) -> None:
        """Add an adapter permanently; raises BadFile or InvalidParameter and changes nothing if it does not fit."""


class SupportsExecutionOptions(Backend, Protocol):
    """Model whose family declares ``execution_options``."""

    execution: ExecutionOptions
    """Options in effect."""

    def free_device(self) -> None:
        """Move weights that are on the device only while they are active back to main memory: an edit has ended."""

    def set_execution(self, execution: ExecutionOptions, device: torch.device) -> None:
        """Apply options; called once, after adapters are added.

        A model to be offloaded is on the CPU: its parts move to ``device`` while they are active.
        """


class SupportsLoadingOptions(Backend, Protocol):
    """Model whose family declares ``loading_options``."""

    loading_options: LoadingOptions
    """Options the model is loaded with, set once; the identity of the model includes them."""


class SupportsControlNet(Backend, Protocol):
    """Model that provides ``controlnet``."""

    def with_controlnet(
        self,
        folder: Path | None,
        hint: Tensor,
        *,
        scale: float,
        low: float,
        high: float,
        mode: str | None = None,
        mask: Tensor | None = None,
    ) -> AbstractContextManager[None]:
        """Return a context in which a ControlNet steers the network.

        ``folder`` holds its weights, or is their file; it is None for a model that also provides ``map-channels``,
        whose network takes the map itself and estimates nothing without one. ``mode`` is what the map shows (``edge``,
        ``depth``, ``pose``), for networks of several kinds; ``hint`` (1, 3, H, W) in [0, 1] is its condition map on the
        padded canvas. It is evaluated between the sigmas ``low`` and ``high`` only. ``mask`` (1, 1, H, W) in [0, 1]
        weights its effect at each place; it is passed only if there is one.
        """


class SupportsAttention(Backend, Protocol):
    """Model that provides ``attention``: the attention of its network can be computed by a function in its place."""

    def attending(self, edit: AttentionEdit, *, only: Tensor | None = None) -> AbstractContextManager[None]:
        """Return a context in which ``edit`` computes every attention of image tokens in this thread.

        Rows are those of :func:`editkit.current_rows`. In the context a network call raises MissingCapability if one of
        its attentions cannot be edited, naming it. Nothing of it is left in the network afterwards.

        With a change map ``only`` (1, 1, h, w) the network computes no other image tokens than those that
        :func:`editkit.marked_tokens` returns for it: queries, keys and values have only those, in order, and ``edit``
        has to supply the other keys and values itself. The estimate of the other tokens has no meaning. Raises
        MissingCapability for a network whose tokens cannot be left out.
        """

    def replacing(self, module: str, edit: Callable[[Tensor], Tensor]) -> AbstractContextManager[None]:
        """Return a context in which ``edit`` replaces the output of a module of the network in this thread.

        ``module`` is its path, as that of a residual block. Raises MissingCapability for a network without it.
        """

    def words(self, prompt: str) -> Sequence[Word]:
        """Return the tokens of a prompt and their places among the words of a site.

        Raises MissingCapability for a model whose places are not known, and for a prompt without words.
        """


STYLE = "style"
"""Tensor of a condition, (B,) of integers on the CPU: 1 for a row to be styled, -1 for its negative, 0 for no style.

Backends without an attached style ignore it; without the tensor no row is styled.
"""


class SupportsStyle(Backend, Protocol):
    """Model that provides ``style``: an adapter conditions its network on an image beside the prompt."""

    def with_style(
        self,
        weights: Path,
        image: Image.Image,
        *,
        encoder: Path | None,
        scale: float,
        low: float,
        high: float,
        mask: Tensor | None = None,
    ) -> AbstractContextManager[None]:
        """Return a context in which rows with a :data:`STYLE` take the style of an image, in this thread alone.

        ``weights`` is the file or folder of an image adapter and ``encoder`` the folder of its image encoder, by
        default the one beside it. The adapter acts with the strength ``scale`` between the sigmas ``low`` and ``high``,
        and only where ``mask`` (1, 1, H, W) in [0, 1] is not 0. Rows of the negative prompt get the embedding of no
        image. Raises WeightsUnavailable or BadFile for weights that cannot be read, InvalidParameter for those of
        another model and for options that the adapter does not have.
        """


CAPABILITIES: dict[type, str] = {
    SupportsInstructions: "instructions",
    SupportsDistilledGuidance: "distilled-guidance",
    SupportsOwnGuidance: "own-guidance",
    SupportsInpainting: "inpainting",
    SupportsUpscaling: "upscaling",
    SupportsAdapters: "adapters",
    SupportsControlNet: "controlnet",
    SupportsAttention: "attention",
    SupportsStyle: "style",
}


def long_prompts_of(model: Backend) -> SupportsLongPrompts | None:
    """Return the model typed as one of long prompts, or None if its prompts have a limit."""
    return cast("SupportsLongPrompts", model) if hasattr(model, "count_chunks") else None


def execution_of(model: Backend) -> ExecutionOptions:
    """Return the execution options of a model; the defaults for a model that has none."""
    return cast("SupportsExecutionOptions", model).execution if hasattr(model, "execution") else ExecutionOptions()


def loading_options_of(model: Backend) -> LoadingOptions:
    """Return the options that a model is loaded with; none for a model that has none."""
    has = hasattr(model, "loading_options")
    return cast("SupportsLoadingOptions", model).loading_options if has else LoadingOptions()
