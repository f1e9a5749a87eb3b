"""Condition maps of pictures: edges, reliefs and depth."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from editkit import AnnotatorSpec, Params, PathParam, by_name, hookimpl


class DetectorParams(Params):
    detector: str | None = Field(None, description="Class of controlnet-aux that finds it instead: HEDdetector.")
    weights: str | None = PathParam(None, "Folder or hub id of the detector's weights, such as lllyasviel/Annotators.")

    @model_validator(mode="after")
    def weights_need_a_detector(self) -> Self:
        if self.weights is not None and self.detector is None:
            raise ValueError("weights belong to a detector: name it with detector=")
        return self


class EdgeParams(DetectorParams):
    method: Literal["opencv", "skimage"] = Field(
        "opencv", description="Whose Canny: opencv looks at every colour, skimage at grey."
    )
    low: float | None = Field(
        None, ge=0, description="Gradient from which an edge goes on, 4 a level; from the picture when not given."
    )
    high: float | None = Field(
        None, ge=0, description="Gradient from which an edge begins, 4 a level; from the picture when not given."
    )
    sigma: float | None = Field(
        None, ge=0, le=64, description="Smoothing before, in pixels; grows with the picture when not given."
    )

    @model_validator(mode="after")
    def settings_fit_each_other(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low must be at most high, not {self.low:g} and {self.high:g}")
        settings = sorted(self.model_fields_set & {"method", "low", "high", "sigma"})
        if self.detector is not None and settings:
            raise ValueError(f"{', '.join(settings)} belong to Canny and not to a detector: leave out one of the two")
        return self


class DepthParams(DetectorParams):
    model: str | None = PathParam(None, "Folder or hub id of a depth-estimation model of transformers.")
    metric: bool | None = Field(
        None, description="Whether the model gives distances; else what is near is large. Known of common models."
    )

    @model_validator(mode="after")
    def one_way_is_chosen(self) -> Self:
        if self.detector is not None and self.model is not None:
            raise ValueError("model and detector are two ways to the same map: leave out one of them")
        if self.metric is not None and self.model is None:
            raise ValueError("metric describes a model: name it with model=")
        return self


@hookimpl
def register_annotators() -> list[AnnotatorSpec]:
    return [
        AnnotatorSpec(
            name="edge",
            summary="Edges by Canny's method, 1 on black.",
            load=by_name("editkit_annotators.edges:edge_annotator"),
            params=EdgeParams,
            source="https://doi.org/10.1109/TPAMI.1986.4767851",
        ),
        AnnotatorSpec(
            name="relief",
            summary="The inflated silhouette of a thing on a plain ground, which is 0.",
            load=by_name("editkit_annotators.relief:relief_annotator"),
            source="https://doi.org/10.1109/TPAMI.2006.253",
        ),
        AnnotatorSpec(
            name="depth",
            summary="Nearness found by a model or a detector, the nearest 1.",
            load=by_name("editkit_annotators.depth:depth_annotator"),
            params=DepthParams,
        ),
    ]
