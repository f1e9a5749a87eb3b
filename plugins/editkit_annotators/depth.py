"""Depth maps: the choice between a depth model and a detector, each imported when it is used."""

from __future__ import annotations

from editkit import Annotator, InvalidParameter, hide_broken_torchvision

from . import DepthParams

_NO_SOURCE = (
    "depth needs a model or a detector: name a model (depth:model=FOLDER or a hub id) or a detector "
    "(depth:detector=MidasDetector,weights=FOLDER), give a ready-made map as control image, or use the kind 'relief' "
    "for an object on a plain background"
)


def depth_annotator(params: DepthParams) -> Annotator:
    """Return the annotator that ``params`` name; raises InvalidParameter if they name neither model nor detector."""
    if params.detector is not None:
        from .detectors import detector_annotator

        return detector_annotator(params.detector, params.weights)
    if params.model is None:
        raise InvalidParameter(_NO_SOURCE)
    hide_broken_torchvision()
    from .depth_model import depth_model_annotator

    return depth_model_annotator(params.model, params.metric)
