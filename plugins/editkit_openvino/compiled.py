"""Networks of diffusers compiled by OpenVINO for the CPU (https://docs.openvino.ai)."""

from __future__ import annotations

import functools
import math
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from editkit import EditkitError, InvalidParameter, reason_of

from .arguments import put_tensors, take_tensors

_KEPT = 4
"""Compiled models that are kept for a network, each with a copy of its weights."""
_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}
"""Largest difference to the estimate of torch as a share of its norm, by precision."""
_HINTS = {"float32": "f32", "bfloat16": "bf16"}
_BFLOAT16 = "the network computes in bfloat16: edits of the bundled model differ from float32 at 46 to 58 dB PSNR"
_TELEMETRY = "openvino_telemetry"

_Key = tuple[Any, ...]


class OpenVino:
    """Accelerator that converts a network at its first call, and compiles it for each combination of shapes.

    Raises InvalidParameter if OpenVINO is not installed, or if the processor does not compute in ``precision``.
    """

    def __init__(self, precision: Literal["float32", "bfloat16"] = "float32") -> None:
        library = _library()
        if precision == "bfloat16" and "BF16" not in library.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise InvalidParameter(
                "openvino:precision=bfloat16 is not allowed: this processor does not compute in it; leave it out"
            )
        self.precision = precision
        self.identity = f"OpenVINO {library.__version__.partition('-')[0]} {precision}"
        self.warnings = (_BFLOAT16,) if precision == "bfloat16" else ()

    def accelerate(self, net: nn.Module) -> Callable[..., Any]:
        forward, compiled = net.forward, CompiledNetwork(net, self.precision)

        @functools.wraps(forward)
        def call(*args: Any, return_dict: bool = True, **conditions: Any) -> Any:
            tensors: list[Tensor] = []
            structure = take_tensors([args, conditions], tensors)
            if return_dict or (torch.is_grad_enabled() and any(one.requires_grad for one in tensors)):
                return forward(*args, return_dict=return_dict, **conditions)
            return (compiled(structure, tensors),)

        return call


class CompiledNetwork:
    """Models compiled from a network, by the shapes of its inputs; several threads may call one."""

    def __init__(self, net: nn.Module, precision: str) -> None:
        self.call = _Call(net)
        self.precision = precision
        self._lock = threading.Lock()
        self._graphs: dict[_Key, Any] = {}
        self._requests: dict[_Key, Any] = {}

    def __call__(self, structure: Any, tensors: Sequence[Tensor]) -> Tensor:
        """Return the first output of the network for the arguments that :func:`take_tensors` took apart."""
        # Bits depend on the number of threads.
        key = (repr(structure), torch.get_num_threads(), *((tuple(one.shape), one.dtype) for one in tensors))
        with self._lock:
            request = self._requests.pop(key, None) or self._compile(structure, tensors)
            _keep(self._requests, key, request)
            return _infer(request, tensors)

    def _compile(self, structure: Any, tensors: Sequence[Tensor]) -> Any:
        """Return a request for inputs of these shapes; raises EditkitError if its estimate is not that of torch."""
        expected = self.call.bound(structure)(*tensors)
        shapes = (repr(structure), *((one.ndim, tuple(one.shape[1:]), one.dtype) for one in tensors))
        reason = ""
        # A graph serves any number of rows, unless it holds that of its example.
        for kept in (self._graphs.get(shapes), None):
            try:
                graph = kept or self._convert(structure, tensors)
                request = self._request(graph, tensors)
                difference = _difference(_infer(request, tensors), expected)
            except Exception as error:  # of many types, for operations that it does not have
                reason = reason_of(error)
                continue
            if difference <= _TOLERANCE[self.precision]:
                _keep(self._graphs, shapes, graph)
                return request
            reason = f"the estimate differs from that of torch by {difference:.2g} of its norm"
        raise EditkitError(
            f"OpenVINO cannot evaluate the network {type(self.call.net).__name__} ({reason}): leave accelerate out"
        )

    def _convert(self, structure: Any, tensors: Sequence[Tensor]) -> Any:
        """Return the graph of the network for arguments of a structure, with any number of rows."""
        # Other values than those of the call, so that a value which became a constant is noticed.
        example = tuple(torch.rand_like(one) if one.is_floating_point() else one.clone() for one in tensors)
        with warnings.catch_warnings():
            # Of values that become constants, and of torch.jit; estimates are compared for every combination of shapes.
            warnings.simplefilter("ignore")
            return _library().convert_model(self.call.bound(structure), example_input=example)

    def _request(self, graph: Any, tensors: Sequence[Tensor]) -> Any:
        """Compile a graph for the shapes of inputs."""
        library = _library()
        graph = graph.clone()
        graph.reshape(
            {port: library.PartialShape(list(one.shape)) for port, one in zip(graph.inputs, tensors, strict=True)}
        )
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # processes of a batch would share the first cores
        }
        return _core().compile_model(graph, "CPU", settings).create_infer_request()


class _Call(nn.Module):
    """Call of a network with the tensors of its arguments alone."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.evaluate = net, net.forward
        self.structure: Any = None

    def bound(self, structure: Any) -> _Call:
        """Return the call with arguments of a structure."""
        self.structure = structure
        return self

    def forward(self, *tensors: Tensor) -> Tensor:
        args, conditions = put_tensors(self.structure, tensors)
        output: Tensor = self.evaluate(*args, **conditions, return_dict=False)[0]
        return output


def _infer(request: Any, tensors: Sequence[Tensor]) -> Tensor:
    outputs = request.infer([one.detach().contiguous().numpy() for one in tensors])
    return torch.from_numpy(outputs[0].copy())  # the request writes into its own memory again


def _difference(estimate: Tensor, expected: Tensor) -> float:
    """Return the norm of a difference as a share of that of the expected tensor, 0 for one that is not finite."""
    if estimate.shape != expected.shape:
        return math.inf
    norm = float(expected.norm())
    if not math.isfinite(norm):
        return 0.0  # the edit reports it
    return float((estimate - expected).norm()) / max(norm, 1e-6)


def _keep(kept: dict[_Key, Any], key: _Key, value: Any) -> None:
    """Add a value to those kept, of which the first ones go."""
    kept[key] = value
    for oldest in list(kept)[:-_KEPT]:
        del kept[oldest]


@functools.cache
def _library() -> Any:
    """Import OpenVINO, without the package that reports its use to its makers over the network.

    Raises InvalidParameter if it is not installed.
    """
    absent = object()
    before = sys.modules.get(_TELEMETRY, absent)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # an import of it fails, which OpenVINO allows for
    try:
        import openvino
        import openvino.tools.ovc
    except ImportError as error:
        raise InvalidParameter(
            "accelerate='openvino' needs a package: pip install 'editkit[openvino]', or leave it out"
        ) from error
    finally:
        if before is absent:
            del sys.modules[_TELEMETRY]
        else:
            sys.modules[_TELEMETRY] = before  # type: ignore[assignment]
    return openvino


@functools.cache
def _core() -> Any:
    return _library().Core()
