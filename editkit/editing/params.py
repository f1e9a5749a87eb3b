"""Parameter declarations shared by operations."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ..literals import AutoMask, MaskFrom, ModelPrediction, Quantisation
from ..registry.params import EffectIf, ImageParam, ImagesParam, Params, RegisteredName
from ..sampling.params import DEFAULT_STEPS, IfGuided, SamplingParams

PROMPTS = ("prompt", "negative_prompt", "source", "target", "instruction")
"""Parameters that a text encoder reads."""


def prompts_of(params: Any) -> list[str]:
    """Return the prompts among parameters; one that they do not have is empty."""
    return [getattr(params, name, None) or "" for name in PROMPTS]


class ImageInputParams(SamplingParams):
    """Parameters of every operation that takes images."""

    resolution: int | None = Field(
        None,
        ge=8,
        le=16384,
        description="Longest side in pixels at which the model works; the model's own when not given, and for images "
        "longer than 4:1 windows of that size.",
    )


IfMasked = EffectIf(lambda params, model: params.mask is not None, "there is no mask")
"""Condition of a parameter that concerns how the mask is read."""
IfFound = EffectIf(lambda params, model: False, "the mask is an image, or there is none")
"""Condition of the segmenter, which is not kept once it has found the mask."""
IfLimited = EffectIf(
    lambda params, model: params.mask is not None or getattr(params, "auto_mask", None) is not None, "there is no mask"
)
"""Condition of a parameter that concerns a mask of any origin."""
IfAutoMasked = EffectIf(lambda params, model: params.auto_mask is not None, "auto_mask is not given")
"""Condition of a parameter of automatic masks."""


class EditParams(ImageInputParams):
    """Parameters of every operation that edits an image."""

    mask: Any = ImageParam(
        "mask",
        "Mask of the image's size: white is changed, black is kept bit for bit. words:the hat and points:X,Y+X,Y-X,Y "
        "let a segmenter find it, and strokes:SIZE@X,Y+X,Y paints it.",
    )
    segmenter: Annotated[str | None, IfFound] = RegisteredName(
        "segmenters", None, "Segmenter that finds a mask of words or points by name, with options after a colon."
    )
    mask_from: Annotated[MaskFrom, IfMasked] = Field(
        "auto",
        description="Mark by luminance, opacity or transparency of the mask; auto decides by its pixels.",
    )
    invert_mask: Annotated[bool, IfMasked] = Field(False, description="Exchange marked and kept pixels of the mask.")
    feather: Annotated[float, IfLimited] = Field(
        0.0, ge=0.0, le=4096.0, description="Width in pixels over which the mask's edge fades inward."
    )


class AutoMaskParams(EditParams):
    """Parameters of every operation that can find its mask by the change that its prompts ask for."""

    auto_mask: AutoMask | None = Field(
        None,
        description="Find the mask: by the difference of the estimates under both prompts (DiffEdit), by the attention "
        "to the words that change (prompt-to-prompt), or by both (LEDITS++). Beside a mask, only their common part "
        "changes.",
    )
    mask_threshold: Annotated[float | None, IfAutoMasked] = Field(
        None,
        gt=0.0,
        lt=1.0,
        description="Value from which a place counts as changed; the published one when not given: 0.5 of the clipped "
        "difference, 0.3 of the largest attention, and the quantile 0.9 for both.",
    )

    @property
    def prompts_of_change(self) -> tuple[str, str] | None:
        """Prompts before and after the edit; None for an operation that finds the mask itself."""
        return None


class ReferenceParams(EditParams):
    """Parameters of every operation whose model may read further images beside the edited one."""

    reference: Any = ImagesParam(
        "Further image for the instruction to refer to, at its own size; for models that read several images."
    )


class GatedParams(EditParams):
    """Parameters of every operation whose edit keeps the source's detail, and may leave faint changes out."""

    from_model: ClassVar[frozenset[str]] = EditParams.from_model | {"gate"}
    gate: float = Field(
        0.0,
        ge=0.0,
        le=1 / 3,
        description="Change of colour, as a share of the edit's largest one, up to which a pixel stays that of the "
        "source; from three times as much it changes in full. 0 leaves nothing out.",
    )


IfDifferent = EffectIf(
    lambda params, model: params.target != params.source or bool(params.controls),
    "it equals the source prompt, so the edit asks for no change",
)
"""Condition of a target prompt."""


class FrameParams(EditParams):
    """Parameters of every operation that may know a prompt of its source."""

    frame: Literal["auto", "off"] = Field(
        "auto",
        description="auto edits the subject in the place and size that a model of single subjects expects; off leaves "
        "it where it stands.",
    )

    @field_validator("frame", mode="before")
    @classmethod
    def read_yaml_off(cls, value: Any) -> Any:
        """Read False as off: YAML 1.1 means that by the word."""
        return "off" if value is False else value

    @property
    def source_prompt(self) -> str:
        """Prompt that describes the image; empty if there is none."""
        raise NotImplementedError(f"{type(self).__name__} must define source_prompt")


class RepromptParams(GatedParams, FrameParams, AutoMaskParams):
    """Parameters of every operation that edits from a source prompt to a target prompt."""

    source: str = Field(description="Prompt that describes the image.")
    target: Annotated[str, IfDifferent] = Field(description="Prompt that describes the edited image.")
    negative_prompt: Annotated[str, IfGuided] = Field(
        "", description="Content to steer away from; the source prompt when not given."
    )

    @property
    def source_prompt(self) -> str:
        """Prompt that describes the image."""
        return self.source

    @property
    def prompts_of_change(self) -> tuple[str, str] | None:
        return self.source, self.target

    @model_validator(mode="before")
    @classmethod
    def default_to_source_prompt(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Use the source prompt as negative prompt: guidance then cancels on the source branch (arXiv 2305.16807)."""
        return {"negative_prompt": values["source"], **values} if "source" in values else values


def ModelDefaultSteps() -> Any:  # noqa: N802
    """Declare a number of steps that defaults to the model's; see :meth:`editkit.Session.default_steps`."""
    return Field(
        None,
        ge=1,
        le=1000,
        description=f"Number of steps from noise to image; the model's default, or {DEFAULT_STEPS}, when not given.",
    )


class CanvasParams(SamplingParams):
    """Parameters of every operation that starts without an image."""

    width: int | None = Field(None, ge=1, le=16384, description="Pixels; the model's own size when not given.")
    height: int | None = Field(None, ge=1, le=16384, description="Pixels; the model's own size when not given.")


class ModelParams(Params):
    """Parameters of every command that loads a model."""

    model: str | None = Field(None, description="A registered name, a diffusers folder, or a hub id org/name.")
    device: str | None = Field(None, description="Such as cpu or cuda:1; cuda if available when not given.")
    dtype: str | None = Field(None, description="float32, float16, bfloat16, float64 or auto; float32 when not given.")
    prediction: ModelPrediction | None = Field(
        None, description="Prediction of the network, if the files lack it or have another."
    )
    variant: str | None = Field(None, description="Variant of the weights, such as fp16.")
    revision: str | None = Field(None, description="Branch, tag or commit of a hub model.")
    vae: str | None = Field(None, description="Folder or file of an autoencoder in place of the model's own.")
    transformer: str | None = Field(
        None, description="File or folder of a network (transformer or U-Net) in place of the model's own."
    )
    quantise: Quantisation | None = Field(None, description="Quantise the weights of the network while it is loaded.")
    accelerate: str | None = Field(
        None, description="Evaluate the network by another library than torch: openvino, on the CPU."
    )
    clip_skip: int | None = Field(
        None, ge=0, le=100, description="Number of last layers of the CLIP text encoders to leave out."
    )

    @property
    def loading(self) -> dict[str, Any]:
        """Arguments of :func:`editkit.load_model` besides the model's name."""
        return {name: getattr(self, name) for name in ModelParams.model_fields if name != "model"}
