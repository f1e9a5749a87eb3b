"""An inverted image as a value and as a safetensors file."""

from __future__ import annotations

import dataclasses as dc
import os
import re
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ..diffusion.paths import SamplingPath
from ..display import mime_bundle
from ..errors import InvalidParameter
from ..files.writing import write_encoded
from ..images.sources import format_size
from ..registry.params import Params, shorten
from ..registry.paths import without_folder, without_folders
from ..registry.registry import installed
from ..registry.specs import OperationSpec
from ..report import Report
from .inversion_file import encode_inversion, read_inversion
from .record import InversionRecord


@dc.dataclass(frozen=True, eq=False)
class Inversion:
    """An inverted image: the record of its inversion, the image and all settings."""

    record: InversionRecord
    """Latents of all steps and further tensors of the inverter."""
    source: Image.Image
    """The image that was inverted."""
    method: str
    """Inverter by name, with options after a colon."""
    prompt: str
    """Prompt under which the image was inverted."""
    model: str
    """Name of the model."""
    identity: str
    """Identity of the model: only the same model can replay the inversion."""
    params: dict[str, Any]
    """Parameters of ``invert`` as used."""
    random: Tensor | None = None
    """State of the generator of noise after a stochastic inversion, from which an edit goes on; None for others."""
    report: Report | None = None
    """Cost and quality figures of the inversion."""
    from_file: bool = False
    """Whether :meth:`load` read it from a file: a path among its settings is then not used."""

    def __repr__(self) -> str:
        return (
            f"<Inversion by {self.method}: {len(self.path) - 1} steps, {format_size(self.source.size)} pixels, prompt "
            f"{shorten(self.prompt)}, model {self.model!r}>"
        )

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Return the display of a notebook: the image with one line about its inversion."""
        line = f"inverted by {self.method} in {len(self.path) - 1} steps"
        return mime_bundle(repr(self), [(line, self.source)])

    @property
    def trajectory(self) -> Tensor:
        """Latents (N + 1, 1, C, h, w) from noise to clean, at the N + 1 points of :attr:`path`."""
        return self.record.trajectory

    @property
    def dtype(self) -> str:
        """Dtype of the network that made the inversion; latents are in float32 where that is half precision."""
        return str(self.trajectory.dtype).removeprefix("torch.") if self.report is None else self.report.dtype

    @property
    def path(self) -> SamplingPath:
        """Sampling path of the replay, from noise to clean."""
        return self.record.path

    @property
    def noise(self) -> Tensor:
        """Recovered noise (1, C, h, w)."""
        return self.trajectory[0]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write :meth:`encoded` to a safetensors file, whole or not at all, and return its path.

        Raises InvalidParameter for the name of another kind of file, such as that of the image.
        """
        if not isinstance(path, (str, os.PathLike)):
            raise InvalidParameter(f"an inversion cannot be saved to {type(path).__name__}: give the path of a file")
        suffix = Path(path).suffix.lower()
        if suffix not in ("", ".safetensors"):
            raise InvalidParameter(f"an inversion is no {suffix} file: give a path that ends in .safetensors")
        return write_encoded(path, lambda _: self.encoded())

    def encoded(self) -> bytes:
        """Return the bytes of the safetensors file: what :meth:`save` writes, for standard output or a network."""
        params = without_folders(installed(), _params_of(self.report), self.params)
        header = {
            "mode": self.source.mode,
            "method": self.method,
            "prompt": self.prompt,
            "model": without_folder(self.model),
            "identity": self.identity,
            "params": params,
            "report": self.report and _report_to_store(self.report, params).as_dict(),
        }
        return encode_inversion(header, self.record, self.source, self.random)

    @classmethod
    def load(cls, path: str | os.PathLike[str] | bytes) -> Inversion:
        """Read a file of :meth:`save`, or its bytes.

        Raises BadFile if it is missing, damaged, changed or of another schema.
        """
        header, record, source, random = read_inversion(path)
        return cls(
            record,
            source,
            method=header.method,
            prompt=header.prompt,
            model=header.model,
            identity=header.identity,
            params=header.params,
            random=random,
            report=header.report,
            from_file=True,
        )


def _params_of(report: Report | None) -> type[Params]:
    """Return the parameters of the operation that made an inversion."""
    operation = "invert" if report is None else report.operation
    spec: OperationSpec | None = installed().specs["operations"].get(operation)
    return Params if spec is None else spec.params


def _report_to_store(report: Report, params: dict[str, Any]) -> Report:
    """Return a report without the paths of this machine, some of which stand in warnings."""
    return dc.replace(
        report,
        model=without_folder(report.model),
        params=params,
        output=None,
        warnings=tuple(text for text in report.warnings if not re.search(r"[/\\]", text)),
    )
