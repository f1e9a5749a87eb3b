"""Execution options of a model, which change its time and memory but not its results."""

from __future__ import annotations

import dataclasses as dc
import functools
from typing import TYPE_CHECKING

from ..errors import InvalidParameter
from ..libraries import reason_of
from ..registry.arguments import FLAG

if TYPE_CHECKING:
    import torch


def _option(text: str) -> bool:
    """Declare an option that is off by default; ``text`` is its help."""
    return dc.field(default=False, metadata={"help": text})


@dc.dataclass(frozen=True)
class ExecutionOptions:
    """Options of executing a model; a family lists the ones it supports by these names."""

    compile: bool = _option("Compile the network on first use: takes minutes and pays off over many edits.")
    offload: bool = _option("Keep only the active part of the model on the GPU, the others in main memory.")
    tiling: bool = _option(
        "Let the autoencoder work in tiles if an image is larger than the model's own size and 512 pixels."
    )

    def __post_init__(self) -> None:
        for name, value in dc.asdict(self).items():
            FLAG.check(name, value)

    @property
    def requested(self) -> tuple[str, ...]:
        """Names of the options that are on."""
        return tuple(name for name, on in dc.asdict(self).items() if on)

    def check(self, device: torch.device) -> None:
        """Raise InvalidParameter for an option that has no use on a device."""
        if self.offload and device.type == "cpu":
            raise InvalidParameter(
                "offload=True is not allowed on the device cpu, which keeps all parts of a model in main memory "
                "anyway: leave it out"
            )


@functools.cache
def check_compiler(kind: str) -> None:
    """Compile a sum for a kind of device; raises InvalidParameter if torch cannot, as without a C++ compiler."""
    import torch

    try:
        torch.compile(lambda x: x + 1)(torch.ones(2, device=kind))
    except Exception as error:  # the cause varies: a compiler, headers, Triton, the version of Python
        raise InvalidParameter(
            f"compile=True cannot be used here for the device {kind} ({reason_of(error)}): leave it out, or install "
            "the requirements of torch.compile"
        ) from error
