"""Identity of a pipeline in memory: a hash of all its weights, its configuration and the state of its adapters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_COLUMNS = 1024
"""Columns of the table that the words of a tensor are summed in."""
_PRIVATE = (
    "_class_name",
    "_name_or_path",
    "_diffusers_version",
    "_commit_hash",
    "_use_default_values",
    "transformers_version",
    "dtype",
    "torch_dtype",
)
"""Settings of a configuration that do not change results, or that the part has itself."""
_PLAIN = (bool, int, float, str, type(None))
_MODULE = frozenset((*vars(nn.Module()), "_internal_dict", "_is_hf_initialized", "name_or_path"))
"""Attributes of modules that hold no setting of theirs."""


@torch.no_grad()
def identity_of_pipeline(pipe: Any) -> str:
    """Return a hash of a pipeline's class, settings, networks, tokenizers and schedulers.

    Every bit of every tensor counts. Sums of them are computed where the tensors are.
    """
    settings = {name: value for name, value in pipe.config.items() if name not in _PRIVATE}
    digest = hashlib.sha256(f"{type(pipe).__qualname__} {_text(settings)}".encode())
    for name, part in sorted(pipe.components.items()):
        if name == "safety_checker":  # looks at results and changes none
            continue
        digest.update(f"\n{name}: {type(part).__qualname__} {_text(_config_of(part))}\n".encode())
        lines = _network_lines(part) if isinstance(part, nn.Module) else _vocabulary_lines(part)
        for line in lines:
            digest.update(f"{line}\n".encode())
    return digest.hexdigest()[:16]


def _config_of(part: Any) -> Mapping[str, Any]:
    """Return the configuration of a part, without settings that do not change results."""
    config: Any = getattr(part, "config", None) or {}
    entries: Mapping[str, Any] = config.to_dict() if hasattr(config, "to_dict") else config
    return {name: value for name, value in entries.items() if name not in _PRIVATE}


def _network_lines(net: nn.Module) -> Iterator[str]:
    """Yield a line for each module of a network that has settings, and for each tensor."""
    for name, module in net.named_modules():
        own = {key: value for key, value in vars(module).items() if key not in _MODULE and _is_plain(value)}
        yield f"{name} {type(module).__qualname__} {_text(own)}"
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        yield f"{name} {_tensor_text(tensor)}"


def _vocabulary_lines(part: Any) -> Iterator[str]:
    """Yield the tokens of a tokenizer, added ones too; nothing for other parts."""
    if hasattr(part, "get_vocab"):
        yield from (f"{number} {token!r}" for token, number in sorted(part.get_vocab().items()))
        yield f"{part.model_max_length}"


def _is_plain(value: Any) -> bool:
    """Return whether a value is a number, a text, or a collection of them."""
    if isinstance(value, Mapping):
        return all(_is_plain(key) and _is_plain(one) for key, one in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN)


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, default=lambda one: sorted(one) if isinstance(one, set) else str(one))


def _tensor_text(tensor: Tensor) -> str:
    """Return type, shape and a hash of a tensor; of a quantised one, those of the tensors it consists of."""
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return " ".join(_tensor_text(getattr(tensor, name)) for name in names)
    digest = hashlib.sha256()
    for sums in _sums(tensor.detach()):
        digest.update(sums.cpu().numpy().tobytes())
    return f"{tensor.dtype} {tuple(tensor.shape)} {digest.hexdigest()[:16]}"


def _sums(tensor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sums of the rows and columns of a table of the tensor's bits, in words of 8 bytes, and the rest.

    A changed word changes two sums, and so do words that change places: a hash of the sums takes a tenth of the time of
    a hash of the tensor.
    """
    data = tensor.contiguous().reshape(-1).view(torch.uint8)
    whole = len(data) // (8 * _COLUMNS) * 8 * _COLUMNS
    aligned = data[:whole] if data.storage_offset() % 8 == 0 else data[:whole].clone()
    table = aligned.view(torch.int64).reshape(-1, _COLUMNS)
    return table.sum(0), table.sum(1), data[whole:]
