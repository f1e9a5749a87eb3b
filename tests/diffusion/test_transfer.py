"""Law of transfers: what the host copies to a device is converted before, since a copy that converts makes it wait."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from editkit import to_device


class _ConvertingCopies(TorchDispatchMode):
    """Collects copies to another device whose result has another dtype."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[Any] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        source = args[0] if args else None
        if isinstance(source, Tensor) and source.device != result.device and source.dtype != result.dtype:
            self.found.append(function)
        return result


def test_a_tensor_is_converted_before_it_is_copied() -> None:
    numbers, device = torch.arange(5, dtype=torch.float64) / 3, torch.device("meta")
    with _ConvertingCopies() as copies:
        copied = to_device(numbers, device, torch.bfloat16)
    assert copied.device == device and copied.dtype is torch.bfloat16 and not copies.found
    with _ConvertingCopies() as copies:
        numbers.to(device, torch.bfloat16)
    assert copies.found, "torch's own copy converts on the way"


def test_a_converted_number_is_that_of_torch() -> None:
    numbers = torch.arange(5, dtype=torch.float64) / 3
    assert torch.equal(to_device(numbers, torch.device("cpu"), torch.bfloat16), numbers.to(torch.bfloat16))
