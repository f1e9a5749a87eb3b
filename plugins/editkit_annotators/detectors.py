"""The detectors of controlnet-aux, an optional package: https://github.com/huggingface/controlnet_aux."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import os
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from editkit import Annotator, InvalidParameter, PluginFailure, WeightsUnavailable, on_white, reason_of

INSTALL = "pip install 'editkit[detectors]'"
MULTIPLE = 64
"""Pixels by which the sizes that detectors work at are apart."""
LARGEST = 1024
"""Pixels of the shorter side beyond which detectors lose their sense of scale, and take long."""
BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
DECLARED: list[torch.library.Library] = []
"""What was declared in torchvision's place; a declaration lasts as long as its object."""


def detector(name: str, weights: str | None) -> Annotator:
    """The detector of a class of controlnet-aux; its map is brought to the picture's size.

    Weights that are pickled, as those of ``lllyasviel/Annotators`` are, may hold tensors and nothing else. Raises
    WeightsUnavailable where a package or weights are missing, and InvalidParameter for a class that is not there.
    """
    made = build(name, detector_class(name), weights)

    def annotate(picture: Image.Image) -> NDArray[np.float32]:
        try:
            with undisturbed():
                found = made(on_white(picture), **resolutions(made, picture.size))
        except Exception as error:  # a detector may raise anything
            raise PluginFailure(f"the detector {name} of controlnet-aux failed: {reason_of(error)}") from error
        return to_map(name, found, picture.size)

    return annotate


def detector_class(name: str) -> Any:
    package = import_package()
    known = sorted(one for one in vars(package) if one.lower().endswith("detector"))
    if name not in known:
        raise InvalidParameter(f"controlnet-aux has no detector {name!r}; known: {', '.join(known)}")
    return getattr(package, name)


def build(name: str, kind: Any, weights: str | None) -> Any:
    from_pretrained = getattr(kind, "from_pretrained", None)
    if from_pretrained is None and weights is not None:
        raise InvalidParameter(f"the detector {name} has no weights: leave out weights={weights!r}")
    if from_pretrained is not None and weights is None:
        raise InvalidParameter(f"the detector {name} needs weights=, a folder or a hub id: lllyasviel/Annotators")
    try:
        with undisturbed(), tensors_only():
            if from_pretrained is None:
                return kind()
            return from_pretrained(weights).to("cuda" if torch.cuda.is_available() else "cpu")
    except Exception as error:  # of the hub's client, of pickle, or of a package that only this detector needs
        raise WeightsUnavailable(
            f"the detector {name} of controlnet-aux cannot be loaded ({reason_of(error)}): check weights={weights!r} "
            "and what its class needs"
        ) from error


def resolutions(made: Any, size: tuple[int, int]) -> dict[str, int]:
    """What a detector is told so that it works at a picture's own size (width, height), within bounds.

    Left alone it brings every picture to 512 pixels, and lines one pixel wide fade on the way back.
    """
    side = min(max(round(min(size) / MULTIPLE) * MULTIPLE, MULTIPLE), LARGEST)
    asked = inspect.signature(type(made).__call__).parameters
    return {name: side for name in ("detect_resolution", "image_resolution") if name in asked}


def to_map(name: str, found: Any, size: tuple[int, int]) -> NDArray[np.float32]:
    """A grey picture as a map (H, W) in [0, 1] of a size (width, height)."""
    levels = np.asarray(found)
    if levels.dtype != np.uint8 or levels.ndim not in (2, 3):
        raise PluginFailure(f"the detector {name} of controlnet-aux gave {type(found).__name__} and no picture")
    if levels.ndim == 3:
        if np.ptp(levels, axis=2).any():
            raise InvalidParameter(f"the detector {name} draws in colours, which are no map of edges or depth")
        levels = levels[..., 0]
    way = cv2.INTER_AREA if levels.shape[0] > size[1] else cv2.INTER_LINEAR
    resized: NDArray[np.float32] = cv2.resize(levels.astype(np.float32) / 255, size, interpolation=way)
    return resized


def import_package() -> ModuleType:
    """controlnet-aux, which imports torchvision and timm whatever is asked of it."""
    if importlib.util.find_spec("controlnet_aux") is None:
        raise WeightsUnavailable(f"detectors need the package controlnet-aux, which is not installed: {INSTALL}")
    with undisturbed():
        import_torchvision()
        try:
            return importlib.import_module("controlnet_aux")
        except Exception as error:  # of any package below it
            raise WeightsUnavailable(f"controlnet-aux cannot be imported ({reason_of(error)}): {INSTALL}") from error


def import_torchvision() -> None:
    """Import torchvision, declaring its operators where it was built for another torch than the one at hand.

    Then its compiled part does not load, and it fails where it describes two operators that do not exist. Detectors
    do not use them, with the exception of SamDetector, which then fails when it runs.
    """
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        raise WeightsUnavailable(f"detectors need {error.name}, which is not installed: {INSTALL}") from error
    except Exception as first:
        declare_operators()
        try:
            importlib.import_module("torchvision")
        except Exception as second:
            DECLARED.clear()
            raise WeightsUnavailable(
                f"torchvision does not fit torch {torch.__version__} ({reason_of(first)}): install the one that was "
                "made for it, see https://pytorch.org/get-started"
            ) from second


def declare_operators() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            library.define(operator + BOXES)  # type: ignore[no-untyped-call]
    DECLARED.append(library)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Keep what the package prints off standard output, and its remarks on other packages off the terminal."""
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def tensors_only() -> Iterator[None]:
    """Let torch.load read tensors and nothing that could run, whatever its caller asked for."""
    switch = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(switch)
    os.environ[switch] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[switch]
        else:
            os.environ[switch] = before
