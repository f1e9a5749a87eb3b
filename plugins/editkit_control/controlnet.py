"""ControlNets as controls of sampling (Zhang et al., arXiv 2302.05543)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from editkit import (
    Backend,
    Control,
    InvalidParameter,
    MissingCapability,
    PluginFailure,
    SamplingPath,
    Session,
    SupportsControlNet,
    WeightsUnavailable,
    interval,
    map_note,
    model_folder,
    no_step_between,
    open_image,
    read_map,
    read_mask,
    require,
)

from . import ControlNetParams, takes_mode


class Strength(NamedTuple):
    """How strongly a condition map acts, and between which fractions of a path."""

    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0


class ControlNetControl(Control):
    """Control that attaches one ControlNet to a backend while a path is sampled.

    ``hint`` (1, 3, H, W) in [0, 1] is the condition map on the padded canvas. The ControlNet is evaluated between the
    sigmas ``low`` and ``high`` only. ``mode`` is what the map shows, for networks of several kinds; ``mask``
    (1, 1, H, W) in [0, 1] is where it acts.
    """

    def __init__(
        self,
        folder: Path | None,
        hint: Tensor,
        scale: float,
        low: float,
        high: float,
        mode: str | None = None,
        mask: Tensor | None = None,
    ) -> None:
        self.folder, self.hint, self.mode = folder, hint, mode
        self.options: dict[str, Any] = {"scale": scale, "low": low, "high": high}
        if mask is not None:
            self.options["mask"] = mask

    @contextlib.contextmanager
    def attach(self, backend: Backend) -> Iterator[None]:
        supporting = require(backend, SupportsControlNet)
        with supporting.with_controlnet(self.folder, self.hint, mode=self.mode, **self.options):
            yield


class MapInChannels(ControlNetControl):
    """Control that gives its condition map to a network that takes one in every call, as channels."""

    acts_on_inversion = True


def controlnet(params: ControlNetParams) -> Callable[[Session, SamplingPath], Control]:
    """Return the factory of the ``controlnet`` control; without a file its map is computed from the session's image."""

    def control(session: Session, path: SamplingPath) -> Control:
        if "controlnet" not in session.model.provides:
            provided = ", ".join(sorted(session.model.provides)) or "nothing beyond images"
            raise MissingCapability(
                f"controlnet needs a model that takes ControlNets; the model {session.model.name!r} provides {provided}"
            )
        strength = Strength(params.scale, params.start, params.end)
        folder = find_weights(session, params.kind, params.weights)
        check_use(session.model, folder, params.mode, "controlnet:mode", strength, params.mask)
        mode = params.mode or mode_of_kind(params.kind)
        if params.image is None:
            hint = annotate_source(session, params.kind)
        else:
            levels = read_map(params.image, argument="controlnet:image=", colour=True)
            label = f"controlnet:image={params.image!r}"
            if note := map_note(levels, label, invert=params.invert, option="invert"):
                session.usage.warn(note)
            warn_of_colours(session, levels, label, params.kind, params.weights)
            hint = to_hint(session, part_of_file(session, label, 1 - levels if params.invert else levels))
        mask = None if params.mask is None else place_mask(session, params.mask, "controlnet:mask=")
        return make_control(session, path, folder, hint, strength, mode, mask)

    return control


def place_mask(session: Session, path: str, argument: str) -> Tensor:
    """Return the mask of a file on the padded canvas, (1, 1, H, W) in [0, 1]; raises InvalidParameter for its size."""
    images = (session.whole or session).images
    levels, notes = read_mask(path, argument=argument, image=images[0] if images else None)
    for note in notes:
        session.usage.warn(note)
    return to_hint(session, part_of_file(session, f"{argument}{path!r}", levels))[:, :1]


def part_of_file(session: Session, label: str, levels: NDArray[Any]) -> NDArray[Any]:
    """Return the part of a map or a mask of the image, in messages ``label``, that a session works on.

    Raises InvalidParameter unless the file has the size of the image, and for a session that shows no part of it.
    """
    whole = session.whole or session
    if session.whole is not None and session.crop is None:
        raise InvalidParameter(f"{label} fits no part of this edit, which samples margins: leave it out")
    width, height = whole.canvas.size
    if levels.shape[:2] != (height, width):
        raise InvalidParameter(
            f"{label} has {levels.shape[1]} x {levels.shape[0]} pixels, and the image has {width} x {height}: resize it"
        )
    if session.crop is None:
        return levels
    channels = torch.as_tensor(levels).reshape(height, width, -1).permute(2, 0, 1)[None]
    return session.crop(channels)[0].permute(1, 2, 0).reshape(*session.canvas.size[::-1], *levels.shape[2:]).numpy()


def make_control(
    session: Session,
    path: SamplingPath,
    folder: Path | None,
    hint: Tensor,
    strength: Strength,
    mode: str | None,
    mask: Tensor | None = None,
) -> Control:
    """ControlNet in its interval of a path; a control without effect if its scale is 0."""
    scale, start, end = strength
    low, high = interval(path, start, end, whole=True)  # as in diffusers
    if scale and low > high:
        session.usage.warn(no_step_between("the ControlNet", path, start, end))
    kind = MapInChannels if folder is None else ControlNetControl
    return kind(folder, hint, scale, low, high, mode, mask) if scale else Control()


_MODES = {
    "edge": "edge",
    "relief": "depth",
    "depth": "depth",
    "OpenposeDetector": "pose",
    "DWposeDetector": "pose",
    "HEDdetector": "scribble",
    "PidiNetDetector": "scribble",
    "NormalBaeDetector": "normal",
    "SamDetector": "segment",
}
"""Kinds of the maps of annotators, and of the detectors that they may be computed by."""


def mode_of_kind(kind: str) -> str:
    """Return what the maps of an annotator show, to a ControlNet of several kinds; by default its name."""
    name, _, options = kind.partition(":")
    detectors = [mode for detector, mode in _MODES.items() if f"detector={detector}" in options.split(",")]
    return detectors[0] if detectors else _MODES.get(name, name)


_GREY_MODES = ("edge", "depth")
"""Kinds of maps whose registered ControlNets know no colours."""


def warn_of_colours(session: Session, levels: NDArray[Any], label: str, kind: str, weights: str | None) -> None:
    """Warn if a ready-made map, in messages ``label``, has colours for a registered ControlNet of grey maps."""
    # A ControlNet of the caller's may be one for colours, and so may a model that takes the map itself.
    if levels.ndim == 2 or weights is not None or "map-channels" in session.model.provides:
        return
    if mode_of_kind(kind) in _GREY_MODES:
        session.usage.warn(
            f"{label} has colours, and the ControlNet for {kind} knows grey maps: save it in grey, not in false "
            "colours, or give a ControlNet of such maps"
        )


def check_use(
    model: Backend, folder: Path | None, mode: str | None, option: str, strength: Strength, mask: str | None = None
) -> None:
    """Raise InvalidParameter for options that the ControlNet in a folder, or a model without one, does not have.

    A mode, which the user gave as ``option``, is for ControlNets of several kinds; a strength and a mask are for those
    that stand beside the network.
    """
    if mode is not None and (folder is None or not takes_mode(folder)):
        named = "model" if folder is None else f"ControlNet {folder}"
        raise InvalidParameter(f"{option}={mode!r} is not allowed: the {named} takes maps of one kind; leave it out")
    if folder is None and (strength != Strength() or mask is not None):
        raise InvalidParameter(
            f"a scale, an interval and a mask of the map are not possible with the model {model.name!r}, whose network "
            "takes the map itself: leave them out"
        )


def find_weights(session: Session, kind: str, weights: str | None) -> Path | None:
    """Return the folder or file of the ControlNet for a kind of map, None for a model that takes the map itself.

    Raises WeightsUnavailable if there is none, InvalidParameter for weights that the model does not need.
    """
    if "map-channels" in session.model.provides:
        if weights is not None:
            raise InvalidParameter(
                f"controlnet={weights!r} is not allowed: the network of the model {session.model.name!r} takes the map "
                "itself; leave it out"
            )
        return None
    if weights is not None:
        location = Path(os.path.expanduser(weights))  # noqa: PTH111 (Path's raises for unknown users)
        if not os.path.exists(location):  # noqa: PTH110 (Path's raises for names that are too long)
            return model_folder(weights, called="controlnet", advice="give the folder of a ControlNet")
        if location.is_file() and location.suffix != ".safetensors":
            raise WeightsUnavailable(
                f"controlnet {weights!r} is no .safetensors file: others can run code when loaded; convert it first"
            )
        return location
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
    levels = session.registry.build("annotators", kind)(open_image(small))
    problem = _map_violation(levels, small.size)
    if problem:
        raise PluginFailure(f"{session.registry.title('annotators', kind)} returned {problem}")
    return to_hint(session, levels)


_ROUNDING = 1e-3
"""By which levels of a map may be out of range."""


def _map_violation(levels: Any, size: tuple[int, int]) -> str | None:
    """Return how a map of an annotator breaks its contract, for an image of ``size`` (width, height); None if not."""
    if not isinstance(levels, np.ndarray):
        return f"a {type(levels).__name__}, not an array"
    if not np.issubdtype(levels.dtype, np.floating):
        return f"levels of {levels.dtype}, not of floating-point numbers in [0, 1]"
    if levels.shape not in (size[::-1], (*size[::-1], 1), (*size[::-1], 3)):
        return f"levels of shape {levels.shape} for an image of {size[0]} x {size[1]} pixels"
    if not (levels.min() > -_ROUNDING and levels.max() < 1 + _ROUNDING):  # NaN too
        return f"levels in [{levels.min():.3g}, {levels.max():.3g}], not in [0, 1]"
    return None


def to_hint(session: Session, levels: Any) -> Tensor:
    """Map (H, W) or (H, W, 3) in [0, 1] as the input of a ControlNet, which has three channels."""
    channels = torch.as_tensor(levels, dtype=torch.float32).reshape(*levels.shape[:2], -1).permute(2, 0, 1)
    return session.canvas.to_model(channels[None].expand(1, 3, -1, -1))
