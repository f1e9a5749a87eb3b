"""Find out what a folder or file given as a ControlNet holds, and load it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import ControlNetModel, ControlNetUnionModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from safetensors import SafetensorError, safe_open
from torch import Tensor

from editkit import InvalidParameter, WeightsUnavailable, loading, quiet, read_json, reason_of

from .components import load_part, prepare_network

_CLASSES: dict[str, Any] = {"ControlNetModel": ControlNetModel, "ControlNetUnionModel": ControlNetUnionModel}
_OTHER_CLASSES = {
    r"T2IAdapter": "a T2I-Adapter",
    r".*ControlNetXS.*": "a ControlNet-XS",
    r"UNet2DConditionModel": "a UNet, the network of a whole model",
    r"Flux.*ControlNet.*": "a ControlNet of FLUX",
    r"SD3.*ControlNet.*": "a ControlNet of Stable Diffusion 3",
    r"SparseControlNetModel": "a ControlNet for videos",
}
"""Networks that are given as ControlNets by mistake, by the class name in their configuration."""
_OTHER_FILES = {
    r"(control_model\.|controlnet_)?(lora_controlnet$|.*\.(up|down)$)": "a Control-LoRA",
    r"lllite_": "a ControlNet-LLLite",
    r"(adapter\.)?body\.\d+\.": "a T2I-Adapter",
    r"image_proj|.*ip_adapter": "an IP-Adapter",
    r"task_embedding|control_add_embedding\.": "a ControlNet of several kinds (Union), which needs its config.json: "
    "give its folder",
    r"controlnet_blocks\.|controlnet_x_embedder\.|transformer_blocks\.|double_blocks\.": "a ControlNet of a "
    "transformer (FLUX, Stable Diffusion 3)",
    r"model\.diffusion_model\.|first_stage_model\.": "a whole model",
    r".*[._]lora[._]|.*\.(hada_|lokr_)": "a LoRA: give it with --adapter",
}
"""Files that are given as ControlNets by mistake, by the beginning of a tensor name."""
_SHARED_CONFIG = ("block_out_channels", "layers_per_block", "cross_attention_dim")
"""Configuration that a ControlNet shares with the UNet that its residuals are added to."""
_ADDED_CONFIG = ("addition_embed_type", "addition_time_embed_dim", "projection_class_embeddings_input_dim")
"""Further shared configuration of networks with conditions beside the prompt."""
_MOST_LAYERS, _LARGEST = 100, 10**5
"""Largest number of layers, and the largest other number, in a configuration."""
_PER_BLOCK = (
    *("attention_head_dim", "num_attention_heads", "transformer_layers_per_block"),
    *("only_cross_attention", "cross_attention_dim"),
)
"""Configuration that may hold a list with one value for each block."""
_OPTIONAL = ("norm_num_groups", "mid_block_type", "controlnet_conditioning_channel_order")
"""Configuration that may be null, although its default is not."""
_COLOURS = 3
"""Channels of a condition map."""


def load_controlnet(location: Path, unet: Any, channels: int, *, device: torch.device, dtype: torch.dtype) -> Any:
    """Load the ControlNet in a folder or a file for ``unet``, whose latents have ``channels``.

    A folder is checked before its weights are read. Raises WeightsUnavailable if it is damaged, incomplete or another
    network, and InvalidParameter if its residuals cannot be added to ``unet``.
    """
    if location.is_file() and (location.parent / "config.json").is_file():
        location = location.parent
    if location.is_file():
        net = _load_file(location, unet, channels, device=device, dtype=dtype)
    else:
        net = _load_folder(location, unet, channels, device=device, dtype=dtype)
    for name, weights in net.named_parameters():
        if not torch.isfinite(weights).all():
            raise WeightsUnavailable(f"{location} holds NaN or infinity in {name} in {dtype}: download it again")
    return net


def _load_folder(folder: Path, unet: Any, channels: int, **target: Any) -> Any:
    if not (folder / "config.json").is_file():
        inside = folder / "controlnet" / "config.json"
        advice = f"its folder {inside.parent}" if inside.is_file() else "that of a ControlNet, or its .safetensors file"
        raise WeightsUnavailable(f"{folder} has no config.json: give {advice}")
    config = read_json(folder / "config.json")
    kind = _class_of(config, folder)
    defaults = {name: one.default for name, one in inspect.signature(kind.__init__).parameters.items()}
    _check_values(config, defaults, folder)
    check_fits({**defaults, **config}, unet, channels)
    return load_part(kind, folder, strict=True, **target)


def _class_of(config: Mapping[str, Any], folder: Path) -> Any:
    name = config.get("_class_name", "ControlNetModel")
    if isinstance(name, str) and name in _CLASSES:
        return _CLASSES[name]
    known = next((kind for pattern, kind in _OTHER_CLASSES.items() if re.fullmatch(pattern, str(name))), None)
    raise WeightsUnavailable(
        f"{folder} holds a {str(name)[:60]}{f', {known}' if known else ''}, and no ControlNet of Stable Diffusion or "
        f"SDXL: give a folder of the class {' or '.join(_CLASSES)}"
    )


def _check_values(config: Mapping[str, Any], defaults: Mapping[str, Any], folder: Path) -> None:
    """Raise WeightsUnavailable for a value of another type than its default, or for one beyond all networks.

    A configuration of a few letters could otherwise make a network of a million layers.
    """
    for name, value in config.items():
        items = value if isinstance(value, list) else [value]
        if not _has_type_of(name, value, defaults.get(name)):
            raise WeightsUnavailable(f"{folder} has {name} {str(value)[:60]} in its configuration: it is damaged")
        limit = _MOST_LAYERS if name == "transformer_layers_per_block" else _LARGEST
        if len(items) > _MOST_LAYERS or any(_is_number(item) and not 0 <= item <= limit for item in items):
            raise WeightsUnavailable(f"{folder} has {name} {str(value)[:60]}, beyond all networks: it is damaged")


def _has_type_of(name: str, value: Any, default: Any) -> bool:
    """Whether a value has the type of its default; any number is like a number."""
    if default is None or default is inspect.Parameter.empty or (value is None and name in _OPTIONAL):
        return True
    several = isinstance(default, tuple)
    example = default[0] if several else default
    items = value if isinstance(value, list) and (several or name in _PER_BLOCK) else [value]
    like = [_is_number(item) if _is_number(example) else type(item) is type(example) for item in items]
    return bool(like) and all(like)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_fits(config: Mapping[str, Any], unet: Any, latent_channels: int) -> None:
    """Raise InvalidParameter if the residuals of a ControlNet cannot be added to ``unet``."""
    shared = _SHARED_CONFIG if config["addition_embed_type"] is None else (*_SHARED_CONFIG, *_ADDED_CONFIG)
    expected = {
        "in_channels": latent_channels,
        "conditioning_channels": _COLOURS,
        **{name: unet.config[name] for name in shared},
    }
    for name, value in expected.items():
        actual = config[name]
        if _as_tuple(actual) != _as_tuple(value):
            raise InvalidParameter(
                f"the ControlNet has {name} {actual} and the model {value}: it belongs to a model of another shape"
            )
    order = config.get("controlnet_conditioning_channel_order", "rgb")
    if order not in ("rgb", "bgr"):
        raise InvalidParameter(
            f"the ControlNet has controlnet_conditioning_channel_order {order!r}: rgb or bgr is allowed"
        )
    if config.get("global_pool_conditions"):
        raise InvalidParameter(
            "the ControlNet has global_pool_conditions, as the one called shuffle: it steers the prompt's estimate "
            "alone, which is not supported"
        )


def _as_tuple(value: Any) -> Any:
    """Convert a list to a tuple: files hold the tuples of a configuration as lists."""
    return tuple(value) if isinstance(value, list) else value


def _load_file(file: Path, unet: Any, channels: int, *, device: torch.device, dtype: torch.dtype) -> Any:
    """Load a file of weights with the configuration of ``unet``, whose first half a ControlNet is a copy of."""
    tensors = _read(file)
    config = _config_of(tensors, unet, channels)
    if config is None:
        kind = _name_of(tensors) or "another network"
        raise WeightsUnavailable(f"{file} is {kind}, and no ControlNet of Stable Diffusion or SDXL")
    try:
        with loading(), quiet():
            weights = convert_controlnet_checkpoint(dict(tensors), config)
            with init_empty_weights():
                net = ControlNetModel.from_config(config)
            weights = {name: tensor.to(dtype) for name, tensor in weights.items() if tensor is not None}
            left = net.load_state_dict(weights, strict=False, assign=True)
    except Exception as error:  # diffusers raises many types for a file that does not fit
        raise WeightsUnavailable(f"{file} does not fit the model ({reason_of(error)}): give its folder") from error
    for kind, names in (("missing", left.missing_keys), ("unknown", left.unexpected_keys)):
        if names:
            raise WeightsUnavailable(f"{file} has {len(names)} {kind} weights, such as {names[0]}: give its folder")
    return prepare_network(net, device)


def _read(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, framework="pt") as stream:
            return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise WeightsUnavailable(f"{file} cannot be read ({reason_of(error)}): download it again") from error


def _config_of(tensors: Mapping[str, Tensor], unet: Any, channels: int) -> dict[str, Any] | None:
    """Return the configuration of a ControlNet of ``unet`` with these weights, None if they are of another network."""
    widths = _embedding_widths(tensors)
    if widths is None or _name_of(tensors) is not None:
        return None
    shared = {name for name in inspect.signature(ControlNetModel.__init__).parameters if name in unet.config}
    return {
        **{name: unet.config[name] for name in shared},
        "in_channels": channels,
        "conditioning_embedding_out_channels": widths,
    }


def _embedding_widths(tensors: Mapping[str, Tensor]) -> tuple[int, ...] | None:
    """Return the channels of the embedding of condition maps, in the names of diffusers or of the first code."""
    for first, others in (
        ("controlnet_cond_embedding.conv_in.weight", r"controlnet_cond_embedding\.blocks\.(\d*[13579])\.weight"),
        ("input_hint_block.0.weight", r"(?:control_model\.)?input_hint_block\.(\d+)\.weight"),
    ):
        name = next((one for one in tensors if one in (first, f"control_model.{first}")), None)
        if name is None:
            continue
        numbered = {int(match[1]): tensor for one, tensor in tensors.items() if (match := re.fullmatch(others, one))}
        if first.startswith("input"):  # every second convolution halves the size; the last one is conv_out
            numbered = {number: tensor for number, tensor in numbered.items() if number % 4 == 0 and number > 0}
        return (len(tensors[name]), *(len(numbered[number]) for number in sorted(numbered)))
    return None


def _name_of(tensors: Collection[str]) -> str | None:
    """Return what a file of tensors is, if it is recognised as something else than a ControlNet."""
    names = list(tensors)
    return next((kind for start, kind in _OTHER_FILES.items() if any(re.match(start, name) for name in names)), None)
