"""Annotators, which make condition maps of images: edges, reliefs and depth; and segmenters, which find masks."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from editkit import AnnotatorSpec, Paper, Params, PathParam, SegmenterSpec, by_name, hookimpl


class DetectorParams(Params):
    detector: str | None = Field(None, description="Class of controlnet-aux to use instead, such as HEDdetector.")
    weights: str | None = PathParam(None, "Folder or hub id of the detector's weights, such as lllyasviel/Annotators.")

    @model_validator(mode="after")
    def check_weights(self) -> Self:
        if self.weights is not None and self.detector is None:
            raise ValueError("weights belong to a detector: name it with detector=")
        return self


class EdgeParams(DetectorParams):
    method: Literal["opencv", "skimage"] = Field(
        "opencv", description="Implementation of Canny: opencv uses every colour channel, skimage grey."
    )
    low: float | None = Field(
        None, ge=0, description="Gradient at which an edge continues, 4 per level; from the image if not given."
    )
    high: float | None = Field(
        None, ge=0, description="Gradient at which an edge starts, 4 per level; from the image if not given."
    )
    sigma: float | None = Field(
        None, ge=0, le=64, description="Smoothing before, in pixels; grows with the image if not given."
    )

    @model_validator(mode="after")
    def check_settings(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low must be at most high, not {self.low:g} and {self.high:g}")
        settings = sorted(self.model_fields_set & {"method", "low", "high", "sigma"})
        if self.detector is not None and settings:
            raise ValueError(f"{', '.join(settings)} belong to Canny and not to a detector: leave out one of the two")
        return self


class DepthParams(DetectorParams):
    model: str | None = PathParam(None, "Folder or hub id of a depth-estimation model of transformers.")
    metric: bool | None = Field(
        None, description="Whether the model gives distances, not nearness; by the model's family if not given."
    )

    @model_validator(mode="after")
    def check_source(self) -> Self:
        if self.detector is not None and self.model is not None:
            raise ValueError("model and detector are alternatives: leave out one of them")
        if self.metric is not None and self.model is None:
            raise ValueError("metric describes a model: name it with model=")
        return self


class ClipsegParams(Params):
    model: str = PathParam(..., "Folder or hub id of a CLIPSeg model, such as CIDAS/clipseg-rd64-refined.")
    threshold: float = Field(0.3, gt=0.0, lt=1.0, description="Probability from which a pixel is marked.")


class SamParams(Params):
    model: str = PathParam(..., "Folder or hub id of a SAM model, such as facebook/sam-vit-base.")


@hookimpl
def register_annotators() -> list[AnnotatorSpec]:
    return [
        AnnotatorSpec(
            name="edge",
            summary="Edges by Canny's method, 1 on black.",
            load=by_name("editkit_annotators.edges:edge_annotator"),
            params=EdgeParams,
            source="https://doi.org/10.1109/TPAMI.1986.4767851",
            paper=Paper(
                "A Computational Approach to Edge Detection",
                "John Canny",
                1986,
            ),
        ),
        AnnotatorSpec(
            name="relief",
            summary="The inflated silhouette of an object on a plain background, which is 0.",
            load=by_name("editkit_annotators.relief:relief_annotator"),
            source="https://doi.org/10.1109/TPAMI.2006.253",
            paper=Paper(
                "Shape Representation and Classification Using the Poisson Equation",
                "Lena Gorelick and Meirav Galun and Eitan Sharon and Ronen Basri and Achi Brandt",
                2006,
            ),
        ),
        AnnotatorSpec(
            name="depth",
            summary="Nearness by a model or a detector, the nearest 1.",
            load=by_name("editkit_annotators.depth:depth_annotator"),
            params=DepthParams,
        ),
    ]


@hookimpl
def register_segmenters() -> list[SegmenterSpec]:
    return [
        SegmenterSpec(
            name="clipseg",
            summary="The part of an image that words name, by CLIPSeg.",
            load=by_name("editkit_annotators.clipseg:clipseg_segmenter"),
            params=ClipsegParams,
            reads=frozenset({"words"}),
            source="https://arxiv.org/abs/2112.10003",
            paper=Paper(
                "Image Segmentation Using Text and Image Prompts",
                "Timo Lüddecke and Alexander S. Ecker",
                2021,
            ),
        ),
        SegmenterSpec(
            name="sam",
            summary="The part of an image that points lie in, by Segment Anything.",
            load=by_name("editkit_annotators.sam:sam_segmenter"),
            params=SamParams,
            reads=frozenset({"points"}),
            source="https://arxiv.org/abs/2304.02643",
            paper=Paper(
                "Segment Anything",
                "Alexander Kirillov and Eric Mintun and Nikhila Ravi and Hanzi Mao and others",
                2023,
            ),
        ),
    ]
