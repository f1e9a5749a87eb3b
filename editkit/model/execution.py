"""How a model runs, beside its device and precision: what it takes of time and memory, and not what it draws."""

from __future__ import annotations

import dataclasses as dc
import functools
from typing import TYPE_CHECKING

from ..errors import InvalidParameter
from ..libraries import reason_of

if TYPE_CHECKING:
    import torch


def _option(text: str) -> bool:
    """A field of :class:`Running`, which is off by default; ``text`` is the help of its option."""
    return dc.field(default=False, metadata={"help": text})


@dc.dataclass(frozen=True)
class ExecutionOptions:
    """The ways of running a model that may be asked for; what a family ``runs`` is named by these fields."""

    compile: bool = _option("Compile the network on first use: takes minutes, and pays off over many edits.")
    offload: bool = _option("Keep on the GPU only the part of the model that is at work, the others in main memory.")
    tiling: bool = _option(
        "Let the autoencoder work in tiles where a picture is larger than the model's own size and 512 pixels."
    )

    @property
    def requested(self) -> tuple[str, ...]:
        return tuple(name for name, on in dc.asdict(self).items() if on)

    def check(self, device: torch.device) -> None:
        """Raise InvalidParameter for what a device has no use for."""
        if self.offload and device.type == "cpu":
            raise InvalidParameter(
                "offload=True is not allowed on the device cpu, which keeps all parts of a model in main memory "
                "anyway: leave it out"
            )


@functools.cache
def check_compiler(kind: str) -> None:
    """Compile a sum for a kind of device; raises InvalidParameter where torch cannot, as without a C++ compiler."""
    import torch

    try:
        torch.compile(lambda x: x + 1)(torch.ones(2, device=kind))
    except Exception as error:  # what is missing differs: a compiler, headers, Triton, a version of Python
        raise InvalidParameter(
            f"compile=True cannot be used here for the device {kind} ({reason_of(error)}): leave it out, or install "
            "what torch.compile needs"
        ) from error
