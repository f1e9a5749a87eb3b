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

from editkit import Annotator, InvalidParameter, PluginFailure, WeightsUnavailable, loading, on_white, reason_of

INSTALL = "pip install 'editkit[detectors]'"
MULTIPLE = 64
"""Detectors run at multiples of so many pixels."""
MAX_SIDE = 1024
"""Maximum of the shorter side in pixels: detectors are inaccurate and slow at larger scales."""
NMS_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
DECLARATIONS: list[torch.library.Library] = []
"""Operators declared in place of torchvision; a declaration lasts as long as its object."""


def detector_annotator(name: str, weights: str | None) -> Annotator:
    """Load a detector class of controlnet-aux; its maps are resized to the image.

    Pickled weights, such as those of ``lllyasviel/Annotators``, may hold only tensors. Raises WeightsUnavailable if a
    package or weights are missing, and InvalidParameter for an unknown class.
    """
    detector = _load(name, _detector_class(name), weights)

    def annotate(image: Image.Image) -> NDArray[np.float32]:
        try:
            with _silenced():
                output = detector(on_white(image), **_resolutions(detector, image.size))
        except Exception as error:  # a detector may raise anything
            raise PluginFailure(f"the detector {name} of controlnet-aux failed: {reason_of(error)}") from error
        return _to_map(name, output, image.size)

    return annotate


def _detector_class(name: str) -> Any:
    package = import_package()
    names = sorted(one for one in vars(package) if one.lower().endswith("detector"))
    if name not in names:
        raise InvalidParameter(f"controlnet-aux has no detector {name!r}; known: {', '.join(names)}")
    return getattr(package, name)


def _load(name: str, kind: Any, weights: str | None) -> Any:
    from_pretrained = getattr(kind, "from_pretrained", None)
    if from_pretrained is None and weights is not None:
        raise InvalidParameter(f"the detector {name} has no weights: leave out weights={weights!r}")
    if from_pretrained is not None and weights is None:
        raise InvalidParameter(f"the detector {name} needs weights=, a folder or a hub id: lllyasviel/Annotators")
    try:
        with loading(), _silenced(), _tensors_only():
            if from_pretrained is None:
                return kind()
            return from_pretrained(weights).to("cuda" if torch.cuda.is_available() else "cpu")
    except Exception as error:  # from the hub's client, pickle, or a package that only this detector needs
        raise WeightsUnavailable(
            f"the detector {name} of controlnet-aux cannot be loaded ({reason_of(error)}): check weights={weights!r} "
            "and the packages that its class needs"
        ) from error


def _resolutions(detector: Any, size: tuple[int, int]) -> dict[str, int]:
    """Return the arguments with which a detector runs at the image's own size (width, height), within bounds.

    By default it resizes every image to 512 pixels, and lines one pixel wide fade when its map is resized back.
    """
    side = min(max(round(min(size) / MULTIPLE) * MULTIPLE, MULTIPLE), MAX_SIDE)
    parameters = inspect.signature(type(detector).__call__).parameters
    return {name: side for name in ("detect_resolution", "image_resolution") if name in parameters}


def _to_map(name: str, output: Any, size: tuple[int, int]) -> NDArray[np.float32]:
    """Convert a grey image to a map (H, W) in [0, 1] of a size (width, height)."""
    levels = np.asarray(output)
    if levels.dtype != np.uint8 or levels.ndim not in (2, 3):
        raise PluginFailure(f"the detector {name} of controlnet-aux returned {type(output).__name__}, not an image")
    if levels.ndim == 3:
        if np.ptp(levels, axis=2).any():
            raise InvalidParameter(
                f"the detector {name} returns colours, which are no map of edges or depth: choose another detector"
            )
        levels = levels[..., 0]
    interpolation = cv2.INTER_AREA if levels.shape[0] > size[1] else cv2.INTER_LINEAR
    resized: NDArray[np.float32] = cv2.resize(levels.astype(np.float32) / 255, size, interpolation=interpolation)
    return resized


def import_package() -> ModuleType:
    """Import controlnet-aux, which always imports torchvision and timm."""
    if importlib.util.find_spec("controlnet_aux") is None:
        raise WeightsUnavailable(f"detectors need the package controlnet-aux, which is not installed: {INSTALL}")
    with _silenced():
        _import_torchvision()
        try:
            return importlib.import_module("controlnet_aux")
        except Exception as error:  # from any package that it imports
            raise WeightsUnavailable(f"controlnet-aux cannot be imported ({reason_of(error)}): {INSTALL}") from error


def _import_torchvision() -> None:
    """Import torchvision, and declare its operators if it was built for another version of torch.

    In that case its compiled part does not load, and the import fails for two operators that do not exist. Of the
    detectors, only SamDetector uses them, and then fails when it runs.
    """
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        raise WeightsUnavailable(f"detectors need {error.name}, which is not installed: {INSTALL}") from error
    except Exception as first:
        _declare_operators()
        try:
            importlib.import_module("torchvision")
        except Exception as second:
            DECLARATIONS.clear()
            raise WeightsUnavailable(
                f"torchvision does not fit torch {torch.__version__} ({reason_of(first)}): install the one "
                "built for it, see https://pytorch.org/get-started"
            ) from second


def _declare_operators() -> None:
    """Declare the two operators that torchvision registers kernels for."""
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            library.define(operator + NMS_SIGNATURE)  # type: ignore[no-untyped-call]
    DECLARATIONS.append(library)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Redirect output of the package to standard error, and ignore its warnings about other packages."""
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _tensors_only() -> Iterator[None]:
    """Let torch.load read only tensors and nothing that runs code, whatever its caller passes."""
    variable = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(variable)
    os.environ[variable] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
