"""Adapters: files that are added to a model, such as LoRA and textual inversion, with their scale."""

from __future__ import annotations

import dataclasses as dc
import hashlib
import math
import os
from pathlib import Path

from ..errors import InvalidParameter


@dc.dataclass(frozen=True)
class Adapter:
    """Safetensors file whose content, times a scale, is added to a model."""

    file: Path
    scale: float = 1.0

    @classmethod
    def parse(cls, call: str | os.PathLike[str]) -> Adapter:
        """Parse ``FILE`` or ``FILE:SCALE``; raises InvalidParameter if it is no safetensors file."""
        text = os.fspath(call)
        name, scale = text, 1.0
        if not Path(text).exists():
            name, scale = split_scale(text)
        file = Path(os.path.expanduser(name))  # noqa: PTH111 (Path's raises for unknown users)
        if not file.is_file():
            found = "a folder" if file.is_dir() else "no file here"
            raise InvalidParameter(f"adapter {name!r} is {found}: give a .safetensors file, as FILE or FILE:SCALE")
        if file.suffix != ".safetensors":
            raise InvalidParameter(f"adapter {name!r} is no .safetensors file: others can run code when loaded")
        return cls(file, scale)

    def __str__(self) -> str:
        return f"{self.file.name}:{self.scale:g}"

    def combined_identity(self, identity: str) -> str:
        """Return the identity of a model of ``identity`` with this adapter."""
        digest = hashlib.sha256(f"{identity}:{self.scale!r}:".encode())
        with self.file.open("rb") as stream:
            while part := stream.read(2**20):
                digest.update(part)
        return digest.hexdigest()[:16]


def split_scale(text: str) -> tuple[str, float]:
    """Split a name from the number after its last colon; 1 if there is none."""
    name, _, tail = text.rpartition(":")
    try:
        scale = float(tail)
    except ValueError:
        return text, 1.0
    if not math.isfinite(scale):
        raise InvalidParameter(f"adapter {name!r} has the scale {tail}: give a finite number")
    return name, scale
