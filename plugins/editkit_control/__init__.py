"""``control``: sample under condition maps; controls that map, style and shorten the sampling of any operation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from editkit import (
    FROM_MODEL,
    ControlSpec,
    EditParams,
    EffectIf,
    Fraction,
    ImageParam,
    InvalidParameter,
    OperationSpec,
    Paper,
    Params,
    PathParam,
    RegisteredName,
    WeightsUnavailable,
    by_name,
    check_interval,
    hookimpl,
    read_json,
    read_tensor_header,
)

Mode = Literal[
    "pose", "depth", "scribble", "edge", "normal", "segment", "tile", "repaint", "blur", "grey", "low-quality"
]
"""Kinds of condition maps that a ControlNet of several kinds may take."""


def takes_mode(location: Path) -> bool:
    """Return whether it matters to the ControlNet in a folder or file what its map shows.

    It does to those of several kinds (Union), and to the large ones of Stable Diffusion 3.5, which are trained on edges
    in other levels.
    """
    folder = location.parent if location.is_file() else location
    if not (folder / "config.json").is_file():
        return location.is_file() and _has_modes(location)
    config = read_json(folder / "config.json")
    kind = config.get("_class_name")
    without_text = "joint_attention_dim" in config and config["joint_attention_dim"] is None
    return (
        kind == "ControlNetUnionModel"
        or (kind == "FluxControlNetModel" and config.get("num_mode") is not None)
        or (kind == "SD3ControlNetModel" and without_text)
    )


def _has_modes(file: Path) -> bool:
    """Return whether a file holds a ControlNet of FLUX of several kinds."""
    try:
        return "controlnet_mode_embedder.weight" in read_tensor_header(file).shapes
    except WeightsUnavailable:  # loading names the fault
        return False


class ControlNetParams(Params):
    """A ControlNet and its condition map."""

    kind: str = RegisteredName("annotators", "edge", "Annotator that computes the condition map of the image.")
    scale: float = Field(1.0, ge=0.0, le=10.0, description="Strength of the condition map.")
    start: Fraction = Field(0.0, description="Fraction of the path before which the map is off.")
    end: Fraction = Field(
        1.0, description="Fraction of the path after which the map is off; no step with it ends behind that."
    )
    mode: Mode | None = Field(
        None,
        description="What the map shows, for ControlNets that need it (Union, 3.5 large); by default by the annotator.",
    )
    weights: str | None = PathParam(
        None, "Folder or file of the ControlNet; the one registered for the model and the kind when not given."
    )
    image: str | None = PathParam(None, "File of a ready-made map instead of the annotator's, of the image's size.")
    invert: Annotated[bool, EffectIf(lambda params, model: params.image is not None, "there is no image to invert")] = (
        Field(False, description="Invert the ready-made map, if black stands for near and edges.")
    )
    mask: str | None = PathParam(None, "File of a mask of the image's size: the ControlNet acts where it is white.")

    @model_validator(mode="after")
    def check_fractions(self) -> Self:
        return check_interval(self, "start", "end")


_IfStyled = EffectIf(lambda params, model: params.scale > 0, "scale is 0")


class StyleParams(Params):
    """An image whose style the result takes, and the adapter that conditions the model on it."""

    image: str = PathParam(..., "File of the image whose style is taken, of any size.")
    model: str = PathParam(
        ..., "File or folder of the style adapter: an IP-Adapter for the model's family, or FLUX.1 Redux."
    )
    scale: float = Field(1.0, ge=0.0, le=2.0, description="Strength of the style.")
    encoder: Annotated[str | None, _IfStyled] = PathParam(
        None, "Folder of the adapter's image encoder; the folder image_encoder beside the adapter when not given."
    )
    start: Annotated[Fraction, _IfStyled] = Field(
        0.0, description="Fraction of the path before which the style is off."
    )
    end: Annotated[Fraction, _IfStyled] = Field(1.0, description="Fraction of the path after which the style is off.")
    mask: Annotated[str | None, _IfStyled] = PathParam(
        None, "File of a mask of the edited image's size: the style acts where it is white."
    )

    @model_validator(mode="after")
    def check_fractions(self) -> Self:
        return check_interval(self, "start", "end")


def check_style_files(params: StyleParams) -> None:
    """Raise InvalidParameter, naming the option, if a file of a style is not here."""
    for name in ("image", "model", "encoder", "mask"):
        path = getattr(params, name)
        if path is not None and not os.path.exists(os.path.expanduser(path)):  # noqa: PTH110, PTH111 (Path's may raise)
            raise InvalidParameter(f"style:{name}={path!r} is not allowed: there is no such file here; check the path")


class DeepCacheParams(Params):
    """Reuse of deep features between steps."""

    every: int = Field(
        3, ge=1, le=100, description="Network calls, most often one a step, of which one is whole; 1 for all of them."
    )


class FirstBlockCacheParams(Params):
    """Reuse of the later blocks of a transformer."""

    threshold: float = Field(
        0.05,
        ge=0.0,
        le=1.0,
        description="Largest change of the first block's output, as a share of its mean, at which later blocks are "
        "left out; 0 for none.",
    )


_IfActive = EffectIf(lambda params, model: params.control_scale > 0, "control_scale is 0")
_IfGiven = EffectIf(lambda params, model: params.control_image is not None, "there is no control_image to invert")
_IfAnnotated = EffectIf(
    lambda params, model: (
        params.control_image is None
        or (params.controlnet is None and ":" not in params.kind)
        or (params.controlnet is not None and params.control_mode is None and takes_mode(Path(params.controlnet)))
    ),
    "the ready-made map replaces the annotator's; leave it out",
)


class ControlParams(EditParams):
    from_model: ClassVar[frozenset[str]] = FROM_MODEL
    kind: Annotated[str, _IfAnnotated] = RegisteredName(
        "annotators", "edge", "Annotator that computes the condition map, with options after a colon."
    )
    prompt: str = Field("", description="Description of the result.")
    strength: Fraction = Field(
        1.0, description="Noise level to start from: 1 starts from noise, less from the noised image."
    )
    control_scale: float = Field(1.0, ge=0.0, le=10.0, description="Strength of the condition map.")
    control_start: Annotated[Fraction, _IfActive] = Field(
        0.0, description="Fraction of the path before which the map is off."
    )
    control_end: Annotated[Fraction, _IfActive] = Field(
        1.0, description="Fraction of the path after which the map is off; no step with it ends behind that."
    )
    control_image: Annotated[Any, _IfActive] = ImageParam(
        "map", "Ready-made condition map instead of the annotator's, in grey (near and edges white) or in colour."
    )
    control_invert: Annotated[bool, _IfGiven] = Field(
        False, description="Invert the ready-made map, if black stands for near and edges."
    )
    control_mode: Annotated[Mode | None, _IfActive] = Field(
        None,
        description="What the map shows, for ControlNets that need it (Union, 3.5 large); by default by the annotator.",
    )
    controlnet: str | None = PathParam(
        None, "Folder or file of the ControlNet; the one registered for the model and the kind when not given."
    )
    guidance: float = Field(3.0, ge=0.0, le=100.0, description="Guidance scale; 1 evaluates the prompt alone.")

    @model_validator(mode="after")
    def check_fractions(self) -> Self:
        return check_interval(self, "control_start", "control_end")


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="control",
            summary="Sample under a condition map of an image: its edges, its depth.",
            usage='red-apple.png --kind edge --prompt "noto green apple" -o edges.png',
            load=by_name("editkit_control.operation:control"),
            params=ControlParams,
            needs=frozenset({"controlnet"}),
            source="https://arxiv.org/abs/2302.05543",
            paper=Paper(
                "Adding Conditional Control to Text-to-Image Diffusion Models",
                "Lvmin Zhang and Anyi Rao and Maneesh Agrawala",
                2023,
            ),
        )
    ]


@hookimpl
def register_controls() -> list[ControlSpec]:
    return [
        ControlSpec(
            name="controlnet",
            summary="Follow a condition map of the image.",
            load=by_name("editkit_control.controlnet:controlnet"),
            params=ControlNetParams,
            source="https://arxiv.org/abs/2302.05543",
        ),
        ControlSpec(
            name="style",
            summary="Take the style of an image, by an IP-Adapter or FLUX.1 Redux.",
            load=by_name("editkit_control.style:style"),
            params=StyleParams,
            needs=frozenset({"style"}),
            check=check_style_files,
            source="https://arxiv.org/abs/2308.06721",
            paper=Paper(
                "IP-Adapter: Text Compatible Image Prompt Adapter for Text-to-Image Diffusion Models",
                "Hu Ye and Jun Zhang and Sibo Liu and Xiao Han and Wei Yang",
                2023,
            ),
        ),
        ControlSpec(
            name="deep-cache",
            summary="Reuse the deep features of a U-Net in several steps: faster, and less exact.",
            load=by_name("editkit_control.deep_cache:deep_cache"),
            params=DeepCacheParams,
            needs=frozenset({"feature-reuse"}),
            approximates=True,
            source="https://arxiv.org/abs/2312.00858",
            paper=Paper(
                "DeepCache: Accelerating Diffusion Models for Free",
                "Xinyin Ma and Gongfan Fang and Xinchao Wang",
                2023,
            ),
        ),
        ControlSpec(
            name="first-block-cache",
            summary="Leave out the later blocks of a transformer where the first changes little: faster, less exact.",
            load=by_name("editkit_control.first_block_cache:first_block_cache"),
            params=FirstBlockCacheParams,
            needs=frozenset({"block-cache"}),
            approximates=True,
            source="https://arxiv.org/abs/2411.19108",
            paper=Paper(
                "Timestep Embedding Tells: It's Time to Cache for Video Diffusion Model",
                "Feng Liu and Shiwei Zhang and Xiaofeng Wang and Yujie Wei and Haonan Qiu and others",
                2024,
            ),
        ),
    ]
