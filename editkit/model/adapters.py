"""Adapters: files that are added to a model, such as LoRA and textual inversion, with their scale."""

from __future__ import annotations

import dataclasses as dc
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InvalidParameter
from ..files.paths import exists, is_file, is_folder
from ..registry.calls import entries_of, scalar_of
from ..registry.params import shorten
from .files.hub import HUB_ID, ON_TOP, from_hub
from .files.weights import PICKLES

PEFT_FILE, PEFT_CONFIGURATION = "adapter_model.safetensors", "adapter_config.json"
"""Files that PEFT writes: weights, and the settings that their strength depends on."""
_FIRST_CHOICE = ("pytorch_lora_weights.safetensors", PEFT_FILE)
"""Adapter files of diffusers and of PEFT in a folder that holds others too."""
_AS_SAFETENSORS = (
    "convert it once in Python: tensors = torch.load(FILE, weights_only=True), for a word then "
    "safetensors.torch.save_file({WORD: tensors['string_to_param']['*']}, 'WORD.safetensors')"
)


@dc.dataclass(frozen=True)
class Adapter:
    """Safetensors file whose content, times a scale, is added to a model."""

    file: Path
    scale: float = 1.0

    @classmethod
    def parse(cls, call: str | os.PathLike[str]) -> Adapter:
        """Parse ``FILE`` or ``FILE:SCALE``, where FILE may be a folder or a hub id that holds one adapter.

        Raises InvalidParameter if it is no safetensors file.
        """
        text = os.fspath(call)
        name, scale = text, 1.0
        if not exists(text):
            name, scale = _split_scale(text)
        file = Path(os.path.expanduser(name))  # noqa: PTH111 (Path's raises for unknown users)
        if not exists(file) and not file.suffix and HUB_ID.fullmatch(name):
            file = from_hub(name, "adapter", ON_TOP)
        if name and is_folder(file):
            file = _only_adapter(file)
        if not is_file(file):
            raise InvalidParameter(f"adapter {name!r} is no file here: give a .safetensors file, as FILE or FILE:SCALE")
        if file.suffix != ".safetensors":
            advice = _AS_SAFETENSORS if file.suffix in PICKLES else "convert it to safetensors"
            raise InvalidParameter(
                f"adapter {name!r} is no .safetensors file: others can run code when loaded; {advice}"
            )
        return cls(file, scale)

    @property
    def configuration(self) -> Path | None:
        """PEFT's configuration beside a file of PEFT, which holds its alpha; None if there is none."""
        config = self.file.with_name(PEFT_CONFIGURATION)
        return config if self.file.name == PEFT_FILE and config.is_file() else None

    def __str__(self) -> str:
        return f"{self.file.name}:{self.scale:g}"

    def combined_identity(self, identity: str) -> str:
        """Return the identity of a model of ``identity`` with this adapter."""
        digest = hashlib.sha256(f"{identity}:{self.scale!r}:".encode())
        for file in (self.file, self.configuration):
            if file is not None:
                with file.open("rb") as stream:
                    while part := stream.read(2**20):
                        digest.update(part)
        return digest.hexdigest()[:16]


AdapterCall = str | os.PathLike[str] | Adapter | Mapping[str, Any]
"""An adapter as Python calls take it: ``FILE``, ``FILE:SCALE``, ``{"file": FILE, "scale": SCALE}``, an Adapter."""


def adapter_calls(adapters: object) -> tuple[str, ...]:
    """Return adapters as texts; raises InvalidParameter for one file in place of a sequence, and for other types."""
    if isinstance(adapters, Sequence) and not isinstance(adapters, (str, bytes)):
        calls = [text for call in adapters if (text := _text_of(call)) is not None]
        if len(calls) == len(adapters):
            return tuple(calls)
    raise InvalidParameter(
        "adapters is a sequence of files, as ['style.safetensors:0.8'], or of mappings with file and scale, and not "
        f"{type(adapters).__name__} {shorten(adapters)}"
    )


def _text_of(call: object) -> str | None:
    """Return an adapter of any form as ``FILE`` or ``FILE:SCALE``; None for other values."""
    if isinstance(call, Mapping):
        entries = entries_of(call)
        if "file" not in entries or not entries.keys() <= {"file", "scale"}:
            return None
        file, scale = entries["file"], scalar_of(entries.get("scale", 1.0))
    elif isinstance(call, Adapter):
        file, scale = call.file, call.scale
    else:
        return os.fspath(call) if isinstance(call, (str, os.PathLike)) else None
    is_number = isinstance(scale, (int, float)) and not isinstance(scale, bool)
    return f"{os.fspath(file)}:{scale}" if isinstance(file, (str, os.PathLike)) and is_number else None


def _only_adapter(folder: Path) -> Path:
    """Return the adapter file in a folder; raises InvalidParameter if there is none or more than one."""
    if (folder / "model_index.json").is_file():
        raise InvalidParameter(f"adapter {str(folder)!r} is a whole model: give it with -m, or as the model")
    files = sorted(folder.glob("*.safetensors"))
    chosen = [file for file in files if file.name in _FIRST_CHOICE] or files
    if len(chosen) != 1:
        held = ", ".join(file.name for file in chosen[:4]) or "no .safetensors file"
        raise InvalidParameter(f"adapter {str(folder)!r} is a folder with {held}: give one .safetensors file of it")
    return chosen[0]


def _split_scale(text: str) -> tuple[str, float]:
    """Split a name from the number after its last colon; 1 if there is none."""
    name, _, tail = text.rpartition(":")
    try:
        scale = float(tail)
    except ValueError:
        return text, 1.0
    if not math.isfinite(scale):
        raise InvalidParameter(f"adapter {name!r} has the scale {tail}: give a finite number")
    return name, scale
