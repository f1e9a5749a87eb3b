"""ControlNets as controls of sampling (Zhang et al., arXiv 2302.05543)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
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
    no_step_between,
    open_image,
    require,
)

from . import ControlNetParams


class ControlNetControl(Control):
    """Control that attaches one ControlNet to a backend while a path is sampled.

    ``hint`` (1, 3, H, W) in [0, 1] is the condition map on the padded canvas. The ControlNet is evaluated between the
    sigmas ``low`` and ``high`` only.
    """

    def __init__(self, folder: Path, hint: Tensor, scale: float, low: float, high: float) -> None:
        self.folder, self.hint, self.scale, self.low, self.high = folder, hint, scale, low, high

    @contextlib.contextmanager
    def attach(self, backend: Backend) -> Iterator[None]:
        supporting = require(backend, SupportsControlNet)
        with supporting.with_controlnet(self.folder, self.hint, scale=self.scale, low=self.low, high=self.high):
            yield


def controlnet(params: ControlNetParams) -> Callable[[Session, SamplingPath], Control]:
    """Return the factory of the ``controlnet`` control, whose map is computed from the session's image."""

    def control(session: Session, path: SamplingPath) -> Control:
        if "controlnet" not in session.model.provides:
            provided = ", ".join(sorted(session.model.provides)) or "nothing beyond images"
            raise MissingCapability(
                f"controlnet needs a model that takes ControlNets; the model {session.model.name!r} provides {provided}"
            )
        folder = find_weights(session, params.kind, params.weights)
        return make_control(
            session, path, folder, annotate_source(session, params.kind), params.scale, params.start, params.end
        )

    return control


def make_control(
    session: Session, path: SamplingPath, folder: Path, hint: Tensor, scale: float, start: float, end: float
) -> Control:
    """ControlNet that is active between two fractions of a path; a control without effect if ``scale`` is 0."""
    low, high = interval(path, start, end)
    if scale and low > high:
        session.usage.warn(no_step_between("the ControlNet", path, start, end))
    return ControlNetControl(folder, hint, scale, low, high) if scale else Control()


def find_weights(session: Session, kind: str, weights: str | None) -> Path:
    """Return the folder of the ControlNet for a kind of map; raises WeightsUnavailable if there is none."""
    if weights is not None:
        if not (Path(weights) / "config.json").is_file():
            raise WeightsUnavailable(f"controlnet {weights!r} has no config.json: give the folder of a ControlNet")
        return Path(weights)
    name = kind.partition(":")[0]
    specs = session.registry.specs["controlnets"]
    for spec in specs.values():
        if session.model.name in spec.models and name in spec.annotators:
            folder: Path = session.registry.load("controlnets", spec.name)
            return folder
    kinds = sorted({name for spec in specs.values() if session.model.name in spec.models for name in spec.annotators})
    raise WeightsUnavailable(
        f"no ControlNet for {name!r} is registered for the model {session.model.name!r} "
        f"(registered for it: {', '.join(kinds) or 'none'}): give the folder of one with controlnet="
    )


def annotate_source(session: Session, kind: str) -> Tensor:
    """Condition map of the session's image, (1, 3, H, W) on its padded canvas.

    Raises InvalidParameter if the session has no image.
    """
    if not session.images:
        raise InvalidParameter(
            f"a condition map of kind {kind!r} needs an image to be computed from: use control IMAGE"
        )
    # Annotate at the model's scale: the thin lines of a large image would fade when its map is reduced.
    small = session.images[0].resize(session.canvas.work, Image.Resampling.LANCZOS)
    return to_hint(session, session.registry.build("annotators", kind)(open_image(small)))


def to_hint(session: Session, levels: Any) -> Tensor:
    """Map (H, W) or (H, W, 3) in [0, 1] as the input of a ControlNet, which has three channels."""
    channels = torch.as_tensor(levels, dtype=torch.float32).reshape(*levels.shape[:2], -1).permute(2, 0, 1)
    return session.canvas.to_model(channels[None].expand(1, 3, -1, -1))
