"""Find out what a folder or file given as a ControlNet holds, and load it."""

from __future__ import annotations

import dataclasses as dc
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn

from editkit import InvalidParameter, WeightsUnavailable, loading, quiet, read_json, reason_of

from ..components import load_part, prepare_network, zero_weights
from ..single_file import read_tensors

TRANSFORMER_FILE = "a ControlNet of a transformer (FLUX, Stable Diffusion 3, Qwen-Image)"
Z_IMAGE_FILE = "a ControlNet of Z-Image"
UNET_FILE = "a ControlNet of Stable Diffusion or SDXL"
_CLASSES = {
    r"ControlNet(Union)?Model": UNET_FILE,
    r"T2IAdapter": "a T2I-Adapter",
    r".*ControlNetXS.*": "a ControlNet-XS",
    r"UNet2DConditionModel": "a UNet, the network of a whole model",
    r"Flux.*ControlNet.*": "a ControlNet of FLUX",
    r"SD3.*ControlNet.*": "a ControlNet of Stable Diffusion 3",
    r"QwenImage.*ControlNet.*": "a ControlNet of Qwen-Image",
    r"ZImage.*ControlNet.*": Z_IMAGE_FILE,
    r"Sana.*ControlNet.*": "a ControlNet of Sana",
    r"HunyuanDiT.*ControlNet.*": "a ControlNet of HunyuanDiT",
    r"SparseControlNetModel|Cosmos.*ControlNet.*": "a ControlNet for videos",
    r".*Transformer2DModel": "a transformer, the network of a whole model",
}
"""Networks that are given as ControlNets, by the class name in their configuration."""
_FILES = {
    r"(control_model\.|controlnet_)?(lora_controlnet$|.*\.(up|down)$)": "a Control-LoRA",
    r"lllite_": "a ControlNet-LLLite",
    r"(adapter\.)?body\.\d+\.": "a T2I-Adapter",
    r"image_proj|.*ip_adapter": "an IP-Adapter",
    r"task_embedding|control_add_embedding\.": "a ControlNet of several kinds (Union), which needs its config.json: "
    "give its folder",
    r"controlnet_blocks\.|controlnet_x_embedder\.|transformer_blocks\.|double_blocks\.": TRANSFORMER_FILE,
    r"control_all_x_embedder\.": Z_IMAGE_FILE,
    r"model\.diffusion_model\.|first_stage_model\.": "a whole model",
    r".*[._]lora[._]|.*\.(hada_|lokr_)": "a LoRA: give it with --adapter",
    r"controlnet_cond_embedding\.|(control_model\.)?input_hint_block\.": UNET_FILE,
}
"""Networks in one file that are given as ControlNets, by the beginning of a tensor name."""
_OUTPUTS = re.compile(
    r"controlnet_(down_blocks|mid_block|blocks|single_blocks)\.|control_(noise_refiner|layers)\.\d+\.after_proj\."
)
"""Names of the layers that give residuals, which are zeros before the training."""
_INPUTS = re.compile(r"controlnet_cond_embedding\.conv_out\.weight|controlnet_x_embedder\.weight")
"""Names of the layers that give the network what they read in a map, which are zeros before the training."""
_MOST_LAYERS, _LARGEST = 100, 10**5
"""Largest number of layers, and the largest other number, in a configuration."""
_LAYERS = ("transformer_layers_per_block", "num_layers", "num_single_layers")
_PER_BLOCK = (
    *("attention_head_dim", "num_attention_heads", "transformer_layers_per_block"),
    *("only_cross_attention", "cross_attention_dim"),
)
"""Configuration that may hold a list with one value for each block."""
_OPTIONAL = (
    *("norm_num_groups", "mid_block_type", "controlnet_conditioning_channel_order"),
    *("joint_attention_dim", "pos_embed_type", "pos_embed_max_size", "out_channels"),
)
"""Configuration that may be null, although its default is not."""


@dc.dataclass(frozen=True)
class ControlNetFamily:
    """The ControlNets that fit one network."""

    name: str
    """Name of the family for messages."""
    classes: Mapping[str, Any]
    """Classes of its ControlNets by name; a configuration without a name is that of the first."""
    file_kind: str
    """Name in ``_FILES`` of one of its files."""
    check: Callable[[Mapping[str, Any]], None]
    """Function that raises InvalidParameter for a configuration whose residuals do not fit the network."""
    config_of: Callable[[Mapping[str, Tensor]], dict[str, Any] | None]
    """Function from the tensors of one file to its configuration; None if they do not determine it."""
    convert: Callable[[dict[str, Tensor], dict[str, Any]], dict[str, Tensor]] = lambda tensors, config: tensors
    """Function from the tensors of one file to those of the class, by a configuration."""


def load_controlnet(location: Path, family: ControlNetFamily, *, device: torch.device, dtype: torch.dtype) -> Any:
    """Load the ControlNet in a folder or a file.

    A folder is checked before its weights are read. Raises WeightsUnavailable if it is damaged, incomplete or a network
    of another family, and InvalidParameter if its residuals cannot be added to the network, or it is not trained.
    """
    if location.is_file() and (location.parent / "config.json").is_file():
        location = location.parent
    load = _load_file if location.is_file() else _load_folder
    net = load(location, family, device=device, dtype=dtype)
    for name, weights in net.named_parameters():
        if not torch.isfinite(weights).all():
            raise WeightsUnavailable(f"{location} holds NaN or infinity in {name} in {dtype}: download it again")
    _check_trained(net, location)
    return net


def _check_trained(net: nn.Module, location: Path) -> None:
    """Raise InvalidParameter for a ControlNet whose layers at one end are zeros, as before its training.

    Raises WeightsUnavailable for one with zeros elsewhere, as in a file that is cut short.
    """
    outputs = [weights for name, weights in net.named_parameters() if _OUTPUTS.match(name)]
    if outputs and not any(weights.any() for weights in outputs):
        raise InvalidParameter(
            f"the ControlNet {location} has zeros in all its output layers, so it has no effect: its training has not "
            "begun, or its file is cut short"
        )
    inputs = [weights for name, weights in net.named_parameters() if _INPUTS.match(name)]
    if inputs and not any(weights.any() for weights in inputs):
        raise InvalidParameter(
            f"the ControlNet {location} has zeros in the layer that reads its map, so the map has no effect: its "
            "training has not begun, or its file is cut short"
        )
    for text in zero_weights(net, f"the ControlNet {location}"):
        raise WeightsUnavailable(text)


def _load_folder(folder: Path, family: ControlNetFamily, **target: Any) -> Any:
    if not (folder / "config.json").is_file():
        inside = folder / "controlnet" / "config.json"
        advice = f"its folder {inside.parent}" if inside.is_file() else "that of a ControlNet, or its .safetensors file"
        raise WeightsUnavailable(f"{folder} has no config.json: give {advice}")
    config = read_json(folder / "config.json")
    kind = _class_of(config, family, folder)
    defaults = {name: one.default for name, one in inspect.signature(kind.__init__).parameters.items()}
    _check_values(config, defaults, folder)
    family.check({**defaults, **config})
    return load_part(kind, folder, strict=True, **target)


def _class_of(config: Mapping[str, Any], family: ControlNetFamily, folder: Path) -> Any:
    name = config.get("_class_name", next(iter(family.classes)))
    if isinstance(name, str) and name in family.classes:
        return family.classes[name]
    known = next((kind for pattern, kind in _CLASSES.items() if re.fullmatch(pattern, str(name))), None)
    raise WeightsUnavailable(
        f"{folder} holds a {str(name)[:60]}{f', {known}' if known else ''}, and no ControlNet of {family.name}: give a "
        f"folder of the class {' or '.join(family.classes)}"
    )


def _check_values(config: Mapping[str, Any], defaults: Mapping[str, Any], folder: Path) -> None:
    """Raise WeightsUnavailable for a value of another type than its default, or for one beyond all networks.

    A configuration of a few letters could otherwise make a network of a million layers.
    """
    for name, value in config.items():
        items = value if isinstance(value, list) else [value]
        if not _has_type_of(name, value, defaults.get(name)):
            raise WeightsUnavailable(f"{folder} has {name} {str(value)[:60]} in its configuration: it is damaged")
        limit = _MOST_LAYERS if name in _LAYERS else _LARGEST
        if len(items) > _MOST_LAYERS or any(_is_number(item) and not 0 <= item <= limit for item in items):
            raise WeightsUnavailable(f"{folder} has {name} {str(value)[:60]}, beyond all networks: it is damaged")


def _has_type_of(name: str, value: Any, default: Any) -> bool:
    """Whether a value has the type of its default; any number is like a number, an empty default one of numbers."""
    if default is None or default is inspect.Parameter.empty or (value is None and name in _OPTIONAL):
        return True
    several = isinstance(default, (tuple, list))
    example = next(iter(default), 0) if several else default
    items = value if isinstance(value, list) and (several or name in _PER_BLOCK) else [value]
    like = [_is_number(item) if _is_number(example) else type(item) is type(example) for item in items]
    return all(like) and bool(like or several)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_equal(config: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise InvalidParameter if a ControlNet has another configuration than the network that it steers needs."""
    for name, value in expected.items():
        actual = config[name]
        if _as_tuple(actual) != _as_tuple(value):
            raise InvalidParameter(
                f"the ControlNet has {name} {actual} and the model {value}: it belongs to a model of another shape"
            )


def check_layers(config: Mapping[str, Any], most: Mapping[str, int]) -> None:
    """Raise InvalidParameter for a ControlNet of more layers than the network that it steers, or of none."""
    for name, limit in most.items():
        if config[name] > limit:
            raise InvalidParameter(
                f"the ControlNet has {name} {config[name]} and the model {limit}: it belongs to a model of another "
                "shape"
            )
    if not any(config[name] for name in most):
        raise InvalidParameter("the ControlNet has no layers, which have no effect: give another one")


def check_no_mask(config: Mapping[str, Any], name: str) -> None:
    """Raise InvalidParameter for a ControlNet with channels for a mask, whose number is the value ``name``."""
    channels = config.get(name)
    if channels:
        raise InvalidParameter(
            f"the ControlNet has {name} {channels}, as one for inpainting, which takes a mask beside its map: give "
            "one that takes a map alone"
        )


def count_blocks(tensors: Collection[str], name: str) -> int:
    """Return the number of blocks in a list of modules by the names of its tensors."""
    return len({match[1] for one in tensors if (match := re.match(rf"{name}\.(\d+)\.", one))})


def _as_tuple(value: Any) -> Any:
    """Convert a list to a tuple: files hold the tuples of a configuration as lists."""
    return tuple(value) if isinstance(value, list) else value


def _load_file(file: Path, family: ControlNetFamily, *, device: torch.device, dtype: torch.dtype) -> Any:
    """Load a file of weights with the configuration that its tensors and the steered network determine."""
    tensors = read_tensors(file)
    kind = _name_of(tensors) or "another network"
    config = family.config_of(tensors) if kind == family.file_kind else None
    if config is None:
        alone = f", and its file alone does not tell {family.name} its configuration: give its folder"
        raise WeightsUnavailable(
            f"{file} is {kind}{alone if kind == family.file_kind else f', and no ControlNet of {family.name}'}"
        )
    family.check(config)
    try:
        with loading(), quiet():
            weights = family.convert(dict(tensors), config)
            with init_empty_weights():
                net = next(iter(family.classes.values())).from_config(config)
            weights = {name: tensor.to(dtype) for name, tensor in weights.items() if tensor is not None}
            left = net.load_state_dict(weights, strict=False, assign=True)
    except Exception as error:  # diffusers raises many types for a file that does not fit
        raise WeightsUnavailable(f"{file} does not fit the model ({reason_of(error)}): give its folder") from error
    for kind, names in (("missing", left.missing_keys), ("unknown", left.unexpected_keys)):
        if names:
            raise WeightsUnavailable(f"{file} has {len(names)} {kind} weights, such as {names[0]}: give its folder")
    return prepare_network(net, device)


def _name_of(tensors: Collection[str]) -> str | None:
    """Return what a file of tensors is, None if it is not recognised."""
    names = list(tensors)
    return next((kind for start, kind in _FILES.items() if any(re.match(start, name) for name in names)), None)
