"""What an inverter is, and what it gives: a picture as noise, with all that is needed to draw it again."""

from __future__ import annotations

import dataclasses as dc
import json
import os
from pathlib import Path as FilePath
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
from ..report import Report
from .record import InversionRecord

SCHEMA = 2


KEPT = "kept."
"""Before the names of what an inverter kept, in a file."""


@dc.dataclass(frozen=True)
class Inversion:
    """An inverted picture: what its climb recorded, and the picture itself."""

    record: InversionRecord
    source: Image.Image
    method: str
    """The inverter, with its options after a colon."""
    prompt: str
    model: str
    """What the model was called."""
    identity: str
    """Which model it was: another one cannot replay this."""
    params: dict[str, Any]
    report: Report | None = None
    from_file: bool = False
    """Whether :meth:`load` made it: a path among its settings is then not used."""

    @property
    def trajectory(self) -> Tensor:
        """(N + 1, 1, C, h, w) from noise to clean on the N + 1 points of :attr:`path`."""
        return self.record.trajectory

    @property
    def path(self) -> SamplingPath:
        return self.record.path

    @property
    def noise(self) -> Tensor:
        """The recovered noise (1, C, h, w)."""
        return self.trajectory[0]

    def save(self, path: str | os.PathLike[str]) -> FilePath:
        """Write everything to one safetensors file, whole or not at all."""
        from safetensors.torch import save

        said = {
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
        tensors |= {f"{KEPT}{name}": tensor.contiguous().cpu() for name, tensor in self.record.extras.items()}
        target = FilePath(path)
        write_atomically(target, save(tensors, metadata={"editkit": json.dumps(said)}))
        return target

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Inversion:
        """Read what :meth:`save` wrote; raises BadFile where it is missing, damaged, or from a newer editkit."""
        said, tensors = read_safetensors(FilePath(path))
        if said.get("schema") != SCHEMA:
            raise BadFile(
                f"inversion {path} has schema {said.get('schema')!r}; this editkit reads {SCHEMA}: upgrade editkit"
            )
        try:
            trajectory, points = tensors["trajectory"], tensors["path"]
            kept = {name.removeprefix(KEPT): tensors[name] for name in tensors if name.startswith(KEPT)}
            source = Image.fromarray(tensors["source"].numpy(), said["mode"])
            report = TypeAdapter(Report | None).validate_python(said["report"])
            finite = all(bool(torch.isfinite(tensor).all()) for tensor in (trajectory, *kept.values()))
            whole = trajectory.ndim == 5 and len(trajectory) == len(points) and finite
            named = {key: said[key] for key in ("method", "prompt", "model", "identity", "params")}
        except (KeyError, TypeError, ValueError) as error:
            raise BadFile(f"inversion {path} is damaged ({error}): make it again with editkit invert") from error
        if not whole or not isinstance(said["params"], dict):
            raise BadFile(f"inversion {path} is damaged (a broken trajectory): make it again with editkit invert")
        climb = InversionRecord(trajectory, tuple(Point(*point) for point in points.tolist()), kept)
        return cls(climb, source, report=report, from_file=True, **named)


def read_safetensors(path: FilePath) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise BadFile(f"inversion {str(path)!r} is not a file: give what editkit invert wrote")
    try:
        with safe_open(path, framework="pt") as file:
            said = json.loads((file.metadata() or {})["editkit"])
            return said, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise BadFile(
            f"inversion {str(path)!r} is not a file that editkit invert wrote ({type(error).__name__})"
        ) from error
