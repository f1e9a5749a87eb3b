"""Networks that share the weights of another: their modules can be changed, and the other one does not notice."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from editkit import Adapter, InvalidParameter

from ..cross_attention_cache import cache_projections

_CONTAINERS = (dict, list, set, OrderedDict)
"""Types of attributes that are copied with a module, such as the strengths of LoRAs and tables of hooks."""
_HARMLESS = ("group_offloading", "layer_execution", "lazy_prefetch", "lazy_leafs", "layerwise_casting", "peft_autocast")
"""Beginnings of the names of diffusers' hooks by which outputs do not depend on earlier steps."""


def shared_network(net: nn.Module, part: str, *, changed: bool = False) -> Any:
    """Return a network on the weights of ``net``, ready to run; ``part`` names it in messages.

    It has modules of its own, unless hooks move the weights of ``net`` or a library stores them in a type of its own:
    then it is ``net`` itself. Raises InvalidParameter for ``net`` itself if the backend has to change its modules
    (``changed``), and for hooks that change its outputs from one step to the next.
    """
    net = getattr(net, "_orig_mod", net)  # of torch.compile
    _check_hooks(net, part)
    if _is_plain(net):
        copy = _copy_of(net).eval()
        cache_projections(copy)
        return _with_convolutions_channels_last(copy)
    if changed:
        raise InvalidParameter(
            f"the {part} of this pipeline is offloaded or quantised, which is not supported for this family: pass the "
            "pipeline before it is, or its folder to load_model"
        )
    return net


def shared_weights(adapter: Adapter) -> InvalidParameter:
    """Return the error of adding an adapter to a model that shares its weights."""
    return InvalidParameter(
        f"the adapter {adapter} would change the weights of the pipeline that the model shares: load it into the "
        "pipeline, before from_pipe"
    )


def _is_plain(net: nn.Module) -> bool:
    """Return whether a network's modules run by their class alone, on ordinary parameters."""
    hooked = any("forward" in vars(module) for module in net.modules())
    return not hooked and all(type(weight) is nn.Parameter for weight in net.parameters())


def check_networks(pipe: Any) -> None:
    """Raise InvalidParameter for networks of a pipeline whose own modules cannot be called one step at a time."""
    for part, net in pipe.components.items():
        if isinstance(net, nn.Module):
            _check_hooks(net, part)


def _check_hooks(net: nn.Module, part: str) -> None:
    """Raise InvalidParameter for weights that are not in memory and for hooks that reuse outputs of other steps."""
    if any(weight.is_meta for weight in net.parameters()):
        raise InvalidParameter(
            f"the {part} of this pipeline has no weights in memory, as after enable_sequential_cpu_offload: pass the "
            "pipeline before that, or after enable_model_cpu_offload or enable_group_offload"
        )
    for module in net.modules():
        hooks = getattr(getattr(module, "_diffusers_hook", None), "hooks", {})
        others = [name for name in hooks if not name.startswith(_HARMLESS)]
        if others:
            raise InvalidParameter(
                f"the {part} of this pipeline has the hook {others[0]!r}, which is not supported: remove it first, as "
                "by disable_cache()"
            )


def _copy_of(net: nn.Module) -> nn.Module:
    """Return a network of new modules and frozen parameters on the storage of another's."""
    copies = {module: _copy_of_module(module) for module in net.modules()}
    weights = {weight: nn.Parameter(weight.detach(), requires_grad=False) for weight in net.parameters()}
    for module, copy in copies.items():
        copy._modules = {name: child and copies[child] for name, child in module._modules.items()}
        copy._parameters = {
            name: None if weight is None else weights[weight] for name, weight in module._parameters.items()
        }
        copy._buffers = dict(module._buffers)
    return copies[net]


def _copy_of_module(module: nn.Module) -> nn.Module:
    """Return a module with the attributes of another, and with containers of its own."""
    copy = type(module).__new__(type(module))
    # Not by __setattr__, which would register modules and parameters.
    vars(copy).update(
        {name: value.copy() if type(value) in _CONTAINERS else value for name, value in vars(module).items()}
    )
    vars(copy).pop("_compiled_call_impl", None)
    return copy


def _with_convolutions_channels_last(net: nn.Module) -> nn.Module:
    """Let convolutions run in the channels-last layout, as those of a loaded model, whose weights are in it."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(_to_channels_last)
    return net


def _to_channels_last(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    image: Tensor = inputs[0]
    return (image.contiguous(memory_format=torch.channels_last), *inputs[1:])
