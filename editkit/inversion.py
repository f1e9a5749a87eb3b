"""What an inverter is, and what it gives: a picture as noise, with all that is needed to draw it again."""

from __future__ import annotations

import dataclasses as dc
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from PIL import Image
from pydantic import TypeAdapter
from torch import Tensor

from .controls import Control
from .errors import BadFile
from .files import write_atomically
from .guidance import Condition
from .loop import Denoiser, Noise, Stepper
from .paths import Path
from .points import Point
from .registry import installed
from .report import Report

if TYPE_CHECKING:
    from .session import Session

SCHEMA = 2
KEPT = "kept."
"""Before the names of what an inverter kept, in a file."""


@dc.dataclass(frozen=True)
class Climb:
    """What the inversion of S sources recorded."""

    trajectory: Tensor
    """(N + 1, S, C, h, w) from noise to clean."""
    path: Path
    """Its N + 1 points, which fall."""
    kept: Mapping[str, Tensor] = dc.field(default_factory=dict)
    """What else the inverter wants to remember, sources on the first axis."""
    condition: Condition | None = None
    """What the network was told of the sources, of S rows; None where that is not known, as in a file."""

    def to(self, device: torch.device, dtype: torch.dtype) -> Climb:
        kept = {name: tensor.to(device, dtype) for name, tensor in self.kept.items()}
        return Climb(self.trajectory.to(device, dtype), self.path, kept)


class Said(NamedTuple):
    """What the network said of some of a climb's latents, unguided."""

    condition: Condition
    """What it was told of the S sources."""
    estimates: Tensor
    """Its answers (S, M, C, h, w) about M latents of the trajectory."""
    begin: int
    """The place in the trajectory of the first of these."""


def laid_out(tensor: Tensor) -> Tensor:
    """A copy in the one memory layout that a file gives back: how sums are rounded depends on the layout."""
    return tensor.clone(memory_format=torch.contiguous_format)


class Inverter:
    """Base of all inverters: a way from clean latents up a path to noise, and what a replay from there needs.

    All but :meth:`climb` does nothing unless an inverter says otherwise. Rows of a batch do not know of each other. An
    inverter holds its options alone, as plain values: what it records goes into the climb, which a cache may keep.
    """

    guided: ClassVar[bool] = False
    """Whether the climb is guided as its replay will be, as where each step up undoes one down."""

    def uses(self) -> Sequence[Callable[..., Any]]:
        """Classes and functions of other packages than its own that a climb is made by, such as a sampler's.

        A cache of inversions knows an inverter by the code of its own package and of theirs.
        """
        return ()

    def climb(self, denoise: Denoiser, x0: Tensor, path: Path, noise: Noise | None = None) -> Iterator[Tensor]:
        """Yield the latents (S, C, h, w) after each step of ``path``, which rises from clean to noise.

        Stochastic inverters draw from ``noise``. What a generator returns, by name with the sources on the first axis,
        is kept beside the trajectory.
        """
        raise NotImplementedError

    def fit(self, session: Session, climb: Climb, condition: Condition) -> Mapping[str, Tensor]:
        """Work out what is kept beside the trajectory, (S, ...) each, once that is known.

        ``condition`` is that of the S sources; the session's parameters say how a replay would be guided. A cache of
        inversions knows of the session what :class:`DrawingParams` declares, the model and the sources: nothing else
        of it may change what is kept.
        """
        return {}

    def said(self, climb: Climb, conditions: Sequence[Condition]) -> Sequence[Said]:
        """What the network said of the sources on the way up, where a replay can use it.

        ``conditions`` are those that the replay's guidance asks under, of the S sources; the climb's own is known here
        too. A replay asks the network for none of it again: what holds the source branch to the trajectory makes that
        cost nothing.
        """
        return ()

    def controls(self, climb: Climb, shares: Tensor) -> Sequence[Control]:
        """What steers a replay; ``shares`` (B, S) says how much of each source's corrections a row of it takes."""
        return ()

    def stepper(self, climb: Climb, shares: Tensor) -> Stepper | None:
        """The way down that belongs to this way up, where not every sampler will do."""
        return None


@dc.dataclass(frozen=True)
class Inversion:
    """An inverted picture: what its climb recorded, and the picture itself."""

    climb: Climb
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
        return self.climb.trajectory

    @property
    def path(self) -> Path:
        return self.climb.path

    @property
    def noise(self) -> Tensor:
        """The recovered noise (1, C, h, w)."""
        return self.trajectory[0]

    @property
    def controls(self) -> Sequence[Control]:
        """What a replay of this one picture needs beside the noise."""
        inverter: Inverter = installed().make("inverters", self.method)
        return inverter.controls(self.climb, torch.ones(1, 1).to(self.trajectory))

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
        tensors |= {f"{KEPT}{name}": tensor.contiguous().cpu() for name, tensor in self.climb.kept.items()}
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
        climb = Climb(trajectory, tuple(Point(*point) for point in points.tolist()), kept)
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
