"""An inverted image as a value and as a safetensors file."""

from __future__ import annotations

import dataclasses as dc
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pydantic import TypeAdapter
from torch import Tensor

from ..diffusion.paths import SamplingPath
from ..diffusion.points import Point
from ..errors import BadFile
from ..files import write_atomically
from ..images.stored.colour import read_profile
from ..images.stored.image import StoredImage
from ..report import Report
from .record import InversionRecord

SCHEMA = 2


LEVELS, PROFILE = "source.levels", "source.profile"
"""Names of the tensors of a source of more than 8 bits, or with a colour profile."""

KEPT = "kept."
"""Prefix of the names of an inverter's extra tensors in a file."""


@dc.dataclass(frozen=True)
class Inversion:
    """An inverted image: the record of its inversion, the image and all settings."""

    record: InversionRecord
    source: Image.Image
    method: str
    """Inverter by name, with options after a colon."""
    prompt: str
    model: str
    """Name of the model."""
    identity: str
    """Identity of the model: only the same model can replay the inversion."""
    params: dict[str, Any]
    report: Report | None = None
    from_file: bool = False
    """Whether :meth:`load` read it from a file: a path among its settings is then not used."""

    @property
    def trajectory(self) -> Tensor:
        """Latents (N + 1, 1, C, h, w) from noise to clean, at the N + 1 points of :attr:`path`."""
        return self.record.trajectory

    @property
    def path(self) -> SamplingPath:
        """Sampling path of the replay, from noise to clean."""
        return self.record.path

    @property
    def noise(self) -> Tensor:
        """Recovered noise (1, C, h, w)."""
        return self.trajectory[0]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the inversion to a safetensors file, whole or not at all, and return its path."""
        from safetensors.torch import save

        header = {
            "schema": SCHEMA,
            "mode": self.source.mode,
            "method": self.method,
            "prompt": self.prompt,
            "model": self.model,
            "identity": self.identity,
            "params": self.params,
            "report": self.report and self.report.as_dict(),
        }
        tensors = {
            "trajectory": self.trajectory.contiguous().cpu(),
            "path": torch.tensor(self.path, dtype=torch.float64),
            "source": torch.from_numpy(np.array(self.source)),
        }
        tensors |= stored_tensors(self.source)
        tensors |= {f"{KEPT}{name}": tensor.contiguous().cpu() for name, tensor in self.record.extras.items()}
        target = Path(path)
        write_atomically(target, save(tensors, metadata={"editkit": json.dumps(header)}))
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Inversion:
        """Read a file of :meth:`save`; raises BadFile if it is missing, damaged or of another schema."""
        header, tensors = read_safetensors(Path(path))
        if header.get("schema") != SCHEMA:
            raise BadFile(
                f"inversion {path} has schema {header.get('schema')!r}; this editkit reads {SCHEMA}: upgrade editkit"
            )
        try:
            trajectory, points = tensors["trajectory"], tensors["path"]
            extras = {name.removeprefix(KEPT): tensors[name] for name in tensors if name.startswith(KEPT)}
            source = source_from_tensors(tensors, header["mode"])
            report = TypeAdapter(Report | None).validate_python(header["report"])
            finite = all(bool(torch.isfinite(tensor).all()) for tensor in (trajectory, *extras.values()))
            is_complete = trajectory.ndim == 5 and len(trajectory) == len(points) and finite
            settings = {key: header[key] for key in ("method", "prompt", "model", "identity", "params")}
        except (KeyError, TypeError, ValueError) as error:
            raise BadFile(f"inversion {path} is damaged ({error}): make it again with editkit invert") from error
        if not is_complete or not isinstance(header["params"], dict):
            raise BadFile(f"inversion {path} is damaged (a broken trajectory): make it again with editkit invert")
        record = InversionRecord(trajectory, tuple(Point(*point) for point in points.tolist()), extras)
        return cls(record, source, report=report, from_file=True, **settings)


def stored_tensors(source: Image.Image) -> dict[str, Tensor]:
    """Return the levels and the colour profile of a source as tensors; none if it is plain 8-bit sRGB."""
    stored = StoredImage.of(source)
    tensors = {LEVELS: torch.from_numpy(np.array(stored.levels))} if stored.depth > 8 or stored.icc else {}
    if stored.icc is not None:
        tensors[PROFILE] = torch.frombuffer(bytearray(stored.icc), dtype=torch.uint8)
    return tensors


def source_from_tensors(tensors: dict[str, Tensor], mode: str) -> Image.Image:
    """Return the source in an inversion file; raises ValueError if its levels do not belong to its view."""
    view = Image.fromarray(tensors["source"].numpy(), mode)
    if LEVELS not in tensors:
        return view
    levels = tensors[LEVELS].numpy()
    profile = read_profile(tensors[PROFILE].numpy().tobytes()) if PROFILE in tensors else None
    if levels.shape != np.asarray(view).shape or levels.dtype not in (np.uint8, np.uint16):
        raise ValueError("the levels of the source do not fit it")
    return StoredImage(levels, profile).view()


def read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the header and the tensors of an inversion file; raises BadFile if it is none."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise BadFile(f"inversion {str(path)!r} is not a file: give a file that editkit invert wrote")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["editkit"])
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise BadFile(
            f"inversion {str(path)!r} is not a file that editkit invert wrote ({type(error).__name__})"
        ) from error
