"""Read an adapter file: its tensors, checked for NaN, and what its header states about them."""

from __future__ import annotations

import dataclasses as dc
import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from editkit import Adapter, BadFile, InvalidParameter, check_download

_LONGEST_NAME = 1000
"""Letters of the longest tensor name: reading a name can take time that grows with its square."""
DIFFUSERS_HEADER = "lora_adapter_metadata"
"""Header entry in which diffusers stores the PEFT configuration of each part, as JSON."""


@dc.dataclass(frozen=True)
class AdapterFile:
    """Tensors of an adapter by name, and the settings of its training.

    ``configuration`` holds PEFT's settings, with the name of a part and a point before them where they are those of
    one part; ``header`` the other entries of the file's header, as text.
    """

    tensors: Mapping[str, Tensor]
    configuration: Mapping[str, Any]
    header: Mapping[str, str]


def read_adapter(adapter: Adapter) -> AdapterFile:
    """Read an adapter; raises BadFile if it is damaged, InvalidParameter if a weight is NaN or infinite."""
    name = f"adapter {str(adapter.file)!r}"
    try:
        check_download(adapter.file)
        with safe_open(adapter.file, framework="pt") as file:
            header = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
        configuration = _json_object(header.pop(DIFFUSERS_HEADER, "{}"))
        if adapter.configuration is not None:
            configuration = _json_object(adapter.configuration.read_text(encoding="utf-8")) | configuration
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise BadFile(f"{name} cannot be read ({reason}): download it again") from error
    longest = max(map(len, tensors), default=0)
    if longest > _LONGEST_NAME:
        raise InvalidParameter(f"{name} holds a tensor whose name has {longest} letters: it is no adapter")
    _check_finite(tensors, name)
    return AdapterFile(tensors, configuration, header)


def _json_object(text: str) -> dict[str, Any]:
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError(f"{type(content).__name__} in place of a JSON object of settings")  # noqa: TRY004 (as JSON errors)
    return content


def _check_finite(tensors: Mapping[str, Tensor], name: str) -> None:
    for key, tensor in tensors.items():
        values = tensor.float() if tensor.is_floating_point() and tensor.element_size() == 1 else tensor
        if not torch.isfinite(values).all():
            raise InvalidParameter(f"{name} holds NaN or infinity in {key!r}: it is damaged, download it again")
