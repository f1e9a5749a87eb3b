"""Find and load models: a registered name, a diffusers folder, a checkpoint file or a hub id."""

from __future__ import annotations

import dataclasses as dc
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from ..caching import load_once
from ..errors import EditkitError, InvalidParameter, WeightsUnavailable, did_you_mean
from ..libraries import loading, reason_of
from ..literals import AttentionBackend, CompileMode, ModelPrediction, Quantisation
from ..registry.accelerators import Accelerator, build_accelerator
from ..registry.arguments import PATH, check_arguments
from ..registry.failures import is_out_of_memory
from ..registry.params import shorten
from ..registry.registry import installed
from ..registry.specs import BackendSpec
from .adapters import Adapter, AdapterCall, adapter_calls
from .backend import Backend
from .capabilities import SupportsAdapters, SupportsExecutionOptions, SupportsLoadingOptions
from .execution import ExecutionOptions, SupportsAcceleration, check_compiler, plain_mode
from .files.folders import has_other_variant, read_index, stored_dtype
from .finding import check_support, default_model, family_of_class, find_family, locate, model_stamps
from .loading_params import OPTION_FIELDS
from .options import LoadingOptions
from .placement import default_dtype, resolve_device, resolve_dtype


@check_arguments()
def resolve_model(
    model: Backend | str | os.PathLike[str] | None,
    device: str | int | torch.device | None,
    dtype: str | torch.dtype | None,
    adapters: Sequence[AdapterCall] = (),
    execution: ExecutionOptions = ExecutionOptions(),  # noqa: B008 (it is frozen)
    options: LoadingOptions = LoadingOptions(),  # noqa: B008 (it is frozen)
    *,
    operation: str | None = None,
) -> Backend:
    """Return a loaded model unchanged, or load one by name; None loads the default model of the operation."""
    calls = adapter_calls(adapters)
    if model is None or isinstance(model, (str, os.PathLike)):
        resolve_device(device), resolve_dtype(dtype)
        name = default_model(installed(), operation) if model is None else os.fspath(model)
        return cached_model(name, calls, options, device, dtype, execution)
    if device is not None or dtype is not None or calls:
        raise InvalidParameter("device, dtype and adapters go with a model's name: this model is already loaded")
    if options.requested:
        raise InvalidParameter(
            f"{next(iter(options.requested))} goes with a model's name: this model is already loaded; give it to "
            "load_model"
        )
    for name, value in execution.requested.items():
        raise InvalidParameter(
            f"{name}={value!r} goes with a model's name: this model is already loaded; give it to load_model"
        )
    return model


def split_options(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split arguments into those of :func:`resolve_model` and others, such as an operation's parameters."""
    others = dict(given)
    flags = {field.name: others.pop(field.name) for field in dc.fields(ExecutionOptions) if field.name in others}
    chosen = {field.name: others.pop(field.name) for field in dc.fields(LoadingOptions) if field.name in others}
    defaults: dict[str, Any] = {"device": None, "dtype": None, "adapters": ()}
    loading = {name: others.pop(name, default) for name, default in defaults.items()}
    return {**loading, "execution": ExecutionOptions(**flags), "options": LoadingOptions.of(**chosen)}, others


def loading_arguments(given: Mapping[str, Any], function: str) -> dict[str, Any]:
    """Return the arguments of :func:`resolve_model` among those of a function that has no others.

    Raises InvalidParameter for another name, as a call with a misspelt argument does.
    """
    options, others = split_options(dict(given))
    for name in others:
        known = {*options, *(field.name for field in OPTION_FIELDS)} - {"execution", "options"}
        raise InvalidParameter(f"{function} has no argument {name!r}; {did_you_mean(name, known)}")
    return options


@check_arguments(name=PATH.or_none(), vae=PATH.or_none(), transformer=PATH.or_none())
def load_model(
    name: str | os.PathLike[str] | None = None,
    *,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    adapters: Sequence[AdapterCall] = (),
    compile: bool = False,  # noqa: A002 (the name of the option)
    compile_mode: CompileMode | None = None,
    compile_decoder: bool = False,
    attention: AttentionBackend | None = None,
    offload: bool = False,
    group_offload: bool = False,
    tiling: bool = False,
    prediction: ModelPrediction | None = None,
    variant: str | None = None,
    revision: str | None = None,
    vae: str | os.PathLike[str] | None = None,
    transformer: str | os.PathLike[str] | None = None,
    quantise: Quantisation | None = None,
    accelerate: str | Mapping[str, Any] | None = None,
    clip_skip: int | None = None,
) -> Backend:
    """Load a model by registered name, diffusers folder, checkpoint file or hub id; without a name the bundled one.

    ``device`` is a torch device (default: cuda if available, else cpu), ``dtype`` one of float32, float16,
    bfloat16, float64 by name or value, or ``auto`` for that of the weights. The default is float32 on the CPU, and on a
    GPU the half precision of the weights, or bfloat16 for others. ``adapters`` are LoRAs,
    their relatives or learned words, each ``FILE`` or ``FILE:SCALE``, where FILE may be a folder or a hub id.
    ``compile`` compiles the network in ``compile_mode`` (default, reduce-overhead, max-autotune), with
    ``compile_decoder`` the decoder of the autoencoder too; ``attention`` is the implementation of the network's
    attention by its name in diffusers, such as native, _native_math or flash. ``offload`` keeps only the active part
    of the model on the GPU, ``group_offload`` only the active layer, ``tiling`` lets the autoencoder work in tiles.
    They change time and memory, and results by rounding, tiling and packages of attention a little more. Only
    safetensors and GGUF are read, and no code of a model runs.

    ``prediction`` (epsilon, v_prediction, sample, flow) replaces what the files say the network predicts, ``variant``
    names weights such as fp16, ``revision`` a version of a hub model, as ``org/name@revision`` does. ``vae`` is a
    folder or file of another autoencoder, ``transformer`` a file (``.safetensors`` or ``.gguf``) or folder of another
    network, transformer or U-Net, on the other parts of a folder. ``quantise`` (int8, fp8, nf4) stores the weights of
    a folder's network in fewer bits. ``accelerate`` names a library that evaluates the network in place of torch, as
    ``openvino`` or ``openvino:precision=bfloat16``, on the CPU. ``clip_skip`` last layers of the CLIP encoders are left
    out, beyond those that the family leaves out; 1 is the "Clip skip 2" of other programs.

    Raises WeightsUnavailable if the model does not exist or is incomplete, InvalidParameter for a device, dtype,
    adapter or execution option that does not fit this machine, MissingCapability if the model does not support it.
    """
    registry = installed()
    torch_device, given_dtype = resolve_device(device), resolve_dtype(dtype)
    parsed = [Adapter.parse(call) for call in adapter_calls(adapters)]
    execution = ExecutionOptions(compile, compile_mode, compile_decoder, attention, offload, group_offload, tiling)
    execution.check(torch_device)
    options = LoadingOptions.of(prediction, variant, revision, vae, transformer, quantise, accelerate, clip_skip)
    label, location = locate(registry, name, options)
    family, files = find_family(registry, location, options)
    check_support(family, label, parsed, execution, options)
    replacements = options.find_files()
    first_device = torch.device("cpu") if execution.offload or execution.group_offload else torch_device
    weights = replacements.get("transformer") or files.get("weights") or location
    torch_dtype = given_dtype or (stored_dtype(weights) if dtype else default_dtype(torch_device, weights))
    accelerator = _build_accelerator(options, execution, torch_device, torch_dtype, weights)
    if execution.compile:
        check_compiler(torch_device.type)
    identified = _identified_options(options, location, family)
    places = {name: str(place) for name, place in replacements.items()}
    more = {"options": dc.replace(options, **places)} if family.loading_options else {}  # type: ignore[arg-type]
    target = {"name": label, "device": first_device, "dtype": torch_dtype}
    with loading(), plain_mode(torch_device):
        model = _call_loader(registry.load("backends", family.name), family, {**files, **target, **more})
        if family.loading_options:
            model.identity = identified.combined_identity(model.identity, replacements)
            cast(SupportsLoadingOptions, model).loading_options = identified
        for adapter in parsed:
            cast(SupportsAdapters, model).add_adapter(adapter)
        if execution.requested:
            cast(SupportsExecutionOptions, model).set_execution(execution, torch_device)
        if accelerator is not None:
            cast(SupportsAcceleration, model).accelerate(accelerator)
    return model


def _identified_options(options: LoadingOptions, location: Path, family: BackendSpec) -> LoadingOptions:
    """Return the options that tell a model from others: a variant that no part has changes no weight."""
    if options.variant and not has_other_variant(location, read_index(location), family.parts, options.variant):
        return dc.replace(options, variant=None)
    return options


def _build_accelerator(
    options: LoadingOptions, execution: ExecutionOptions, device: torch.device, dtype: torch.dtype, weights: Path
) -> Accelerator | None:
    """Return the accelerator of the options, None without one; raises InvalidParameter beside options it excludes."""
    if options.accelerate is None:
        return None
    others = {
        "compile=True": execution.compile,
        f"attention={execution.attention!r}": execution.attention is not None,
        f"quantise={options.quantise!r}": options.quantise is not None,
        f"the weights {weights.name}, which stay quantised": weights.suffix == ".gguf",
    }
    return build_accelerator(
        installed(),
        options.accelerate,
        device=device.type,
        dtype=str(dtype).removeprefix("torch."),
        beside=[name for name, chosen in others.items() if chosen],
    )


def from_pipe(pipe: Any) -> Backend:
    """Return a model on the weights of a diffusers pipeline in memory, to pass as ``model``.

    Nothing is copied or converted: device, dtype, scheduler, offloading and adapters are those of the pipeline at this
    moment. The pipeline can be used as before; its weights should not be changed or moved while the model is in use.
    Results equal those of the saved pipeline in :func:`load_model`.

    Raises WeightsUnavailable for a class that no backend serves and for a part that is missing, InvalidParameter for
    anything but a pipeline and for state that the model would not reproduce, such as an IP-Adapter.
    """
    registry, kind = installed(), type(pipe).__name__
    if not all(hasattr(pipe, name) for name in ("components", "config", "scheduler")):
        raise InvalidParameter(f"pipe={shorten(pipe)} is no pipeline of diffusers with a scheduler: pass one, loaded")
    family = family_of_class(registry, kind, "the pipeline")
    if family.from_pipe is None:
        raise WeightsUnavailable(
            f"the backend {family.name} builds no model on a {kind} in memory: save the pipeline and load its folder"
        )
    name = str(getattr(pipe, "name_or_path", None) or kind)
    with loading():
        return _call_loader(registry.load("backends", family.name, "from_pipe"), family, {"pipe": pipe, "name": name})


def _call_loader(loader: Callable[..., Backend], family: BackendSpec, arguments: dict[str, Any]) -> Backend:
    """Load a model by its backend; raises WeightsUnavailable for exceptions other than EditkitError."""
    try:
        model: Backend = loader(**arguments)
    except EditkitError:
        raise
    except Exception as error:  # libraries raise many types for files that do not fit their code
        advice = (
            "it needs more memory than there is: try dtype float16 or a smaller model"
            if is_out_of_memory(error)
            else "its files are damaged, or were written for another version"
        )
        raise WeightsUnavailable(
            f"model {arguments['name']!r} cannot be loaded by the backend {family.name} ({reason_of(error)}): {advice}"
        ) from error
    return model


@load_once(maxsize=2, stamps=lambda *arguments: model_stamps(*arguments[:3]))
def cached_model(
    name: str,
    adapters: tuple[str, ...] = (),
    options: LoadingOptions = LoadingOptions(),  # noqa: B008 (it is frozen)
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    execution: ExecutionOptions = ExecutionOptions(),  # noqa: B008 (it is frozen)
) -> Backend:
    """Load a model and keep the last two, for calls that name a model instead of passing one."""
    chosen = {"device": device, "dtype": dtype, "adapters": adapters}
    return load_model(name, **chosen, **dc.asdict(execution), **dc.asdict(options))  # type: ignore[arg-type]
