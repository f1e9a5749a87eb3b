"""ControlNets as controls of a drawing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path as Folder
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from editkit import (
    Backend,
    Control,
    InvalidParameter,
    MissingCapability,
    SamplingPath,
    Session,
    SupportsControlNet,
    WeightsUnavailable,
    interval,
    open_image,
    require,
)

from . import ControlNetParams


class ControlNetControl(Control):
    """Steers a backend by one ControlNet while a walk lasts.

    ``hint`` (1, 3, H, W) in [0, 1] is the condition map on the padded canvas; between the sigmas ``low`` and ``high``
    the network is asked, elsewhere not.
    """

    def __init__(self, folder: Folder, hint: Tensor, scale: float, low: float, high: float) -> None:
        self.folder, self.hint, self.scale, self.low, self.high = folder, hint, scale, low, high

    @contextlib.contextmanager
    def attach(self, backend: Backend) -> Iterator[None]:
        steered = require(backend, SupportsControlNet)
        with steered.with_controlnet(self.folder, self.hint, scale=self.scale, low=self.low, high=self.high):
            yield


def controlnet(params: ControlNetParams) -> Callable[[Session, SamplingPath], Control]:
    """The control that ``attach`` names: its map is made of the session's own picture."""

    def control(session: Session, path: SamplingPath) -> Control:
        if "controlnet" not in session.model.provides:
            provided = ", ".join(sorted(session.model.provides)) or "nothing beyond pictures"
            raise MissingCapability(
                f"controlnet needs a model that takes ControlNets; the model {session.model.name!r} provides {provided}"
            )
        folder = find_weights(session, params.kind, params.weights)
        return make_control(
            session, path, folder, annotate_source(session, params.kind), params.scale, params.start, params.end
        )

    return control


def make_control(
    session: Session, path: SamplingPath, folder: Folder, hint: Tensor, scale: float, start: float, end: float
) -> Control:
    """A ControlNet between two fractions of a path; one of scale 0 is no control at all."""
    low, high = interval(path, start, end)
    return ControlNetControl(folder, hint, scale, low, high) if scale else Control()


def find_weights(session: Session, kind: str, given: str | None) -> Folder:
    """The folder of the ControlNet for a kind of map; raises WeightsUnavailable where there is none."""
    if given is not None:
        if not (Folder(given) / "config.json").is_file():
            raise WeightsUnavailable(f"controlnet {given!r} has no config.json: give the folder of a ControlNet")
        return Folder(given)
    name = kind.partition(":")[0]
    known = session.registry.specs["controlnets"]
    for spec in known.values():
        if session.model.name in spec.models and name in spec.annotators:
            folder: Folder = session.registry.load("controlnets", spec.name)
            return folder
    fitting = sorted({one for spec in known.values() if session.model.name in spec.models for one in spec.annotators})
    raise WeightsUnavailable(
        f"no ControlNet for {name!r} is registered for the model {session.model.name!r} "
        f"(registered for it: {', '.join(fitting) or 'none'}): give the folder of one with controlnet="
    )


def annotate_source(session: Session, kind: str) -> Tensor:
    """The condition map of the session's picture, (1, 3, H, W) on its padded canvas."""
    if not session.images:
        raise InvalidParameter(f"a condition map of kind {kind!r} needs a picture to be made of: use control IMAGE")
    # At the scale the model works at: the thin lines of a large picture would fade on the way down.
    small = session.images[0].resize(session.canvas.work, Image.Resampling.LANCZOS)
    return to_hint(session, session.registry.build("annotators", kind)(open_image(small)))


def to_hint(session: Session, levels: Any) -> Tensor:
    """A map (H, W) in [0, 1] as a ControlNet takes it, all three channels alike."""
    grey = torch.as_tensor(levels, dtype=torch.float32)[None, None].expand(1, 3, -1, -1)
    return session.canvas.to_model(grey)
