"""Execution options of a model, which change its time and memory but not its results, and its use of memory."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import functools
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, cast, get_args

from ..errors import InvalidParameter
from ..libraries import reason_of
from ..literals import AttentionBackend, CompileMode
from ..registry.arguments import FLAG
from ..registry.params import shorten

if TYPE_CHECKING:
    import torch

    from ..registry.accelerators import Accelerator


_ON_THE_CPU = ("native", "_native_math", "_native_flash")
"""Kernels of attention that torch has for the CPU."""


def _option(text: str) -> bool:
    """Declare an option that is off by default; ``text`` is its help."""
    return dc.field(default=False, metadata={"help": text})


def _choice(text: str, allowed: Any) -> Any:
    """Declare an option of one of several names, None by default; ``text`` is its help."""
    return dc.field(default=None, metadata={"help": text, "choices": get_args(allowed)})


@dc.dataclass(frozen=True)
class ExecutionOptions:
    """Options of executing a model; a family lists the ones it supports by these names."""

    compile: bool = _option("Compile the network on first use: takes minutes and pays off over many edits.")
    compile_mode: str | None = _choice(
        "Mode of --compile: reduce-overhead and max-autotune take longer to compile and are for GPUs.", CompileMode
    )
    compile_decoder: bool = _option("Compile the decoder of the autoencoder too, with --compile.")
    attention: str | None = _choice(
        "Implementation of the network's attention, by its name in diffusers: native and those that begin with _native "
        "are torch's, others are packages for GPUs.",
        AttentionBackend,
    )
    offload: bool = _option("Keep only the active part of the model on the GPU, the others in main memory.")
    group_offload: bool = _option(
        "Keep only the active layer of the model on the GPU, the others in main memory: slower than --offload, for "
        "parts that do not fit."
    )
    tiling: bool = _option(
        "Let the autoencoder work in tiles if an image is larger than the model's own size and 512 pixels."
    )

    def __post_init__(self) -> None:
        for field in dc.fields(self):
            value, allowed = getattr(self, field.name), field.metadata.get("choices")
            if allowed is None:
                FLAG.check(field.name, value)
            elif value is not None and value not in allowed:
                raise InvalidParameter(f"{field.name}={shorten(value)} is not allowed: one of {', '.join(allowed)}")
        for name in ("compile_mode", "compile_decoder"):
            if getattr(self, name) and not self.compile:
                raise InvalidParameter(f"{name}={getattr(self, name)!r} has no use without compile=True: add it")

    @property
    def requested(self) -> dict[str, Any]:
        """Options that are set, by name."""
        return {name: value for name, value in dc.asdict(self).items() if value}

    def check(self, device: torch.device) -> None:
        """Raise InvalidParameter for an option that has no use on a device."""
        for name in ("offload", "group_offload"):
            if getattr(self, name) and device.type == "cpu":
                raise InvalidParameter(
                    f"{name}=True is not allowed on the device cpu, which keeps all parts of a model in main memory "
                    "anyway: leave it out"
                )
        if self.offload and self.group_offload:
            raise InvalidParameter("group_offload=True is not allowed beside offload=True: leave one out")
        if self.attention is not None and device.type == "cpu" and self.attention not in _ON_THE_CPU:
            raise InvalidParameter(
                f"attention={self.attention!r} is not allowed on the device cpu, which has {', '.join(_ON_THE_CPU)}"
            )

    def compile_part(self, part: Any) -> None:
        """Compile a part of a model on its first use, in the mode of the options."""
        part.compile(mode=self.compile_mode)


class SupportsAcceleration(Protocol):
    """Model whose family declares the loading option ``accelerate``."""

    accelerator: str | None
    """Identity of the accelerator that evaluates the network, None for torch."""

    def accelerate(self, accelerator: Accelerator) -> None:
        """Let an accelerator evaluate the network; called once, after adapters are added.

        The capabilities in :data:`editkit.MODULE_CAPABILITIES` are no longer provided.
        """


def accelerator_of(model: Any) -> str | None:
    """Return the identity of the accelerator that evaluates the network of a model, None for torch."""
    return cast(SupportsAcceleration, model).accelerator if hasattr(model, "accelerator") else None


@dc.dataclass
class ReusedCalls:
    """Network calls of a walk that reuses features."""

    whole: int = 0
    """Calls that evaluated the whole network."""
    partial: int = 0
    """Calls that took deep features of an earlier call."""


class SupportsFeatureReuse(Protocol):
    """Model that provides ``feature-reuse``: its network can be evaluated in part, with features of an earlier call."""

    def reusing(self, every: int) -> AbstractContextManager[ReusedCalls]:
        """Return a context in which one of ``every`` calls for the same rows evaluates the whole network.

        It holds for calls of this thread. Rows are those of :func:`editkit.current_rows`; calls without them, and with
        gradients, are whole. Raises InvalidParameter for a model that is compiled or offloaded.
        """


class SupportsBlockCache(Protocol):
    """Model that provides ``block-cache``: blocks of its transformer can be left out where the first changes little."""

    def caching_blocks(self, threshold: float) -> AbstractContextManager[ReusedCalls]:
        """Return a context in which calls of this thread reuse the residual of the later blocks.

        They do where the output of the first block has changed by at most ``threshold``, as a share of its mean,
        since the last whole call for the same rows. Rows and errors are those of :meth:`SupportsFeatureReuse.reusing`.
        """


_USES: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_COUNTING = threading.Lock()


@contextlib.contextmanager
def in_use(model: Any) -> Iterator[None]:
    """Let a model free its device after the block, if no other block uses it then; see ``free_device`` of a backend."""
    with _COUNTING:
        _USES[model] = _USES.get(model, 0) + 1
    try:
        yield
    finally:
        with _COUNTING:
            _USES[model] -= 1
            if not _USES[model] and hasattr(model, "free_device"):
                model.free_device()


@contextlib.contextmanager
def plain_mode(device: torch.device) -> Iterator[None]:
    """Compute without gradients, in the dtype and on the device of each tensor, whatever the caller has set in torch.

    Results in autocast differ from those that the report and a replay state, weights that are loaded in inference mode
    could not be used outside it, and networks create tensors on the CPU and move them.
    """
    import torch

    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for kind in sorted({"cpu", device.type} - {"meta"}):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextlib.contextmanager
def measured_memory(device: torch.device) -> Iterator[list[float]]:
    """Yield a list that holds the peak memory in MB once the block has ended.

    It is that of the edit on a GPU and that of the process on a CPU.
    """
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    peak = [0.0]
    yield peak
    peak[0] = round(_peak_bytes(device) / 2**20, 1)


def _peak_bytes(device: torch.device) -> int:
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


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
