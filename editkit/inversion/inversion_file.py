"""Inversion files: safetensors with a header in JSON and a checksum of everything in them."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from ..diffusion.denoiser import latent_dtype
from ..diffusion.points import Point
from ..errors import BadFile, InvalidParameter
from ..files.read_errors import read_reason
from ..images.sources import MAX_PIXELS
from ..images.stored.colour import read_profile
from ..images.stored.image import StoredImage
from ..registry.params import shorten
from ..report import Report
from .cache_key import digest, to_cpu
from .record import InversionRecord

SCHEMA = 3
OLD_SCHEMA = 2
"""Schema of files without a checksum."""

LEVELS, PROFILE = "source.levels", "source.profile"
"""Names of the tensors of a source of more than 8 bits, or with a colour profile."""

RANDOM = "random"
"""Name of the state of the generator after a stochastic inversion."""

KEPT = "kept."
"""Prefix of the names of an inverter's extra tensors in a file."""

MAX_BYTES = 2**32
LARGEST_LATENT = 1e6
"""Magnitude that no latent of a working model reaches, and from which float32 loses the image."""


class Header(BaseModel):
    """Settings of an inversion as stored in its file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    mode: Literal["RGB", "RGBA"]
    method: str
    prompt: str
    model: str
    identity: str
    params: dict[str, Any]
    report: Report | None


def encode_inversion(
    header: Mapping[str, Any], record: InversionRecord, source: Image.Image, random: Tensor | None = None
) -> bytes:
    """Return the bytes of a file: the fields of :class:`Header`, the record of one image, that image, and the state of
    the generator after a stochastic inversion.
    """
    from safetensors.torch import save

    tensors = {
        "trajectory": record.trajectory,
        "path": torch.tensor(record.path, dtype=torch.float64),
        "source": torch.from_numpy(np.array(source)),
        **_stored_tensors(source),
        **{f"{KEPT}{name}": tensor for name, tensor in record.extras.items()},
        **({} if random is None else {RANDOM: random}),
    }
    values = json.loads(json.dumps({"schema": SCHEMA, **header}))
    return save(to_cpu(tensors), {"editkit": json.dumps({**values, "sha256": digest(values, tensors)})})


def read_inversion(file: str | os.PathLike[str] | bytes) -> tuple[Header, InversionRecord, Image.Image, Tensor | None]:
    """Return header, record, source and state of the generator in a file or its bytes, None if it has none.

    Raises BadFile, in one line, if it is missing, damaged or changed.
    """
    if not isinstance(file, (str, os.PathLike, bytes)):
        raise InvalidParameter(f"an inversion cannot be read from {type(file).__name__}: give the path of a file")
    name = _name_of(file)
    values, tensors = _read_safetensors(file, name)
    schema = values.get("schema")
    if schema not in (SCHEMA, OLD_SCHEMA):
        raise BadFile(
            f"{name} has schema {shorten(schema)}; this editkit reads {OLD_SCHEMA} and {SCHEMA}: upgrade editkit"
        )
    checksum = values.pop("sha256", None)
    if schema == SCHEMA and checksum != digest(values, tensors):
        raise _damaged(name, "its content does not match its checksum")
    try:
        header = Header.model_validate(values)
        return header, _record(tensors, header), _source(tensors, header.mode), _random_state(tensors)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise _damaged(name, f"{place}={shorten(problem['input'])}: {problem['msg'].lower()}") from None
    except KeyError as error:
        raise _damaged(name, f"the tensor {error} is missing") from None
    except (TypeError, ValueError) as error:
        raise _damaged(name, str(error)) from None


def _damaged(name: str, reason: str) -> BadFile:
    return BadFile(f"{name} is damaged ({' '.join(reason.split())}): make it again with editkit invert")


def _name_of(file: str | os.PathLike[str] | bytes) -> str:
    return "the inversion" if isinstance(file, bytes) else f"inversion {shorten(os.fspath(file))}"


def read_header(file: str | os.PathLike[str] | bytes) -> dict[str, Any]:
    """Return the settings in an inversion file, unchecked, without its tensors; raises BadFile if it is none."""
    return _read_safetensors(file, _name_of(file), with_tensors=False)[0]


def _read_safetensors(
    file: str | os.PathLike[str] | bytes, name: str, *, with_tensors: bool = True
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the header and the tensors of an inversion file or its bytes; raises BadFile if it is none."""
    from safetensors import SafetensorError

    try:
        if isinstance(file, bytes):
            metadata, tensors = _read_bytes(file, with_tensors)
        else:
            metadata, tensors = _read_path(Path(file), name, with_tensors)
        values = json.loads(metadata["editkit"])
        if not isinstance(values, dict):
            raise _damaged(name, f"its header is {type(values).__name__}, not an object")
    except OSError as error:
        raise BadFile(f"{name} cannot be read: {read_reason(error)}") from error
    except SafetensorError as error:
        raise BadFile(
            f"{name} is damaged, cut short, or not a file that editkit invert wrote: get a whole copy, or make it again"
        ) from error
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise BadFile(
            f"{name} is not a file that editkit invert wrote: its header holds no settings of editkit; make it again"
        ) from error
    return values, tensors


def _read_path(path: Path, name: str, with_tensors: bool) -> tuple[Mapping[str, str], dict[str, Tensor]]:
    from safetensors import safe_open

    if path.stat() and not path.is_file():  # a missing one raises an OSError that says so
        raise BadFile(f"{name} is not a file: give a file that editkit invert wrote")
    if path.stat().st_size > MAX_BYTES:
        raise BadFile(f"{name} has more than {MAX_BYTES} bytes: give a file that editkit invert wrote")
    with safe_open(path, framework="pt") as opened:
        metadata = opened.metadata() or {}
        keys = opened.keys() if with_tensors and "editkit" in metadata else ()  # a model may have gigabytes
        return metadata, {key: opened.get_tensor(key) for key in keys}


def _read_bytes(data: bytes, with_tensors: bool) -> tuple[Mapping[str, str], dict[str, Tensor]]:
    from safetensors.torch import load

    tensors = load(data)  # checks the header too
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header.get("__metadata__", {}), tensors if with_tensors else {}


def _record(tensors: Mapping[str, Tensor], header: Header) -> InversionRecord:
    """Return the record in a file; raises ValueError if its tensors do not belong together, KeyError if one lacks."""
    trajectory, points = tensors["trajectory"], tensors["path"]
    if trajectory.ndim != 5 or trajectory.shape[1] != 1 or len(trajectory) < 2 or not trajectory.numel():
        raise ValueError(f"a trajectory of shape {tuple(trajectory.shape)}, not (steps + 1, 1, C, h, w)")
    if points.shape != (len(trajectory), 2) or points.dtype != torch.float64:
        raise ValueError(f"a path of shape {tuple(points.shape)} for {len(trajectory)} latents")
    extras = {name.removeprefix(KEPT): tensor for name, tensor in tensors.items() if name.startswith(KEPT)}
    for name, tensor in {"trajectory": trajectory, **extras}.items():
        _check_latents(name, tensor)
        if name in extras and len(tensor) != 1:
            raise ValueError(f"{KEPT}{name} of {len(tensor)} images, not of one")
    if header.report is not None and trajectory.dtype not in _dtypes_of(header.report.dtype):
        dtype = str(trajectory.dtype).removeprefix("torch.")
        raise ValueError(f"a trajectory in {dtype} of a model in {header.report.dtype}")
    path = tuple(Point(*point) for point in points.tolist())
    if not all(0 <= value <= 1e4 for point in path for value in point):
        raise ValueError("a path with negative or infinite coefficients")
    if any(one.angle < other.angle for one, other in itertools.pairwise(path)):
        raise ValueError("a path that does not lead from noise to clean")
    return InversionRecord(trajectory, path, extras)


def _dtypes_of(model: str) -> set[torch.dtype]:
    """Return the dtypes of latents of a model in a dtype: earlier versions had those of half precision in it too."""
    dtype = getattr(torch, model, None)
    return {dtype, latent_dtype(dtype)} if isinstance(dtype, torch.dtype) else set()


def _check_latents(name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point() or not tensor.ndim:
        raise ValueError(f"{name} in {tensor.dtype}, not in floating-point numbers")
    if not bool((tensor.abs() <= LARGEST_LATENT).all()):  # false for NaN
        raise ValueError(f"{name} with NaN, infinity or values above {LARGEST_LATENT:g}")


def _random_state(tensors: Mapping[str, Tensor]) -> Tensor | None:
    """Return the state of the generator in a file; raises ValueError if it is none."""
    state = tensors.get(RANDOM)
    try:
        if state is not None:
            torch.Generator().set_state(state)
    except (RuntimeError, TypeError):
        raise ValueError(f"{RANDOM} is no state of a generator") from None
    return state


def _stored_tensors(source: Image.Image) -> dict[str, Tensor]:
    """Return the levels and the colour profile of a source as tensors; none if it is plain 8-bit sRGB."""
    stored = StoredImage.of(source)
    tensors = {LEVELS: torch.from_numpy(np.array(stored.levels))} if stored.depth > 8 or stored.icc else {}
    if stored.icc is not None:
        tensors[PROFILE] = torch.frombuffer(bytearray(stored.icc), dtype=torch.uint8)
    return tensors


def _source(tensors: Mapping[str, Tensor], mode: str) -> Image.Image:
    """Return the source in an inversion file; raises ValueError if its levels do not belong to its view."""
    view = tensors["source"]
    if view.dtype != torch.uint8 or view.ndim != 3 or view.shape[2] != len(mode) or not view.numel():
        raise ValueError(f"a source of shape {tuple(view.shape)} in {view.dtype}, not an image in {mode}")
    if view.shape[0] * view.shape[1] > MAX_PIXELS:
        raise ValueError(f"a source of more than {MAX_PIXELS // 10**6} million pixels")
    image = Image.fromarray(view.numpy())
    if LEVELS not in tensors:
        return image
    levels = tensors[LEVELS].numpy()
    profile = read_profile(tensors[PROFILE].numpy().tobytes()) if PROFILE in tensors else None
    if levels.shape != view.shape or levels.dtype not in (np.uint8, np.uint16):
        raise ValueError("the levels of the source do not fit it")
    return StoredImage(levels, profile).view()
