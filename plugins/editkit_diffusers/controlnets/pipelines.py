"""ControlNets of families whose estimates are calls of diffusers' own pipelines."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import diffusers
from diffusers.loaders.single_file_utils import convert_z_image_controlnet_checkpoint_to_diffusers
from torch import Tensor

from editkit import InvalidParameter

from .files import (
    TRANSFORMER_FILE,
    Z_IMAGE_FILE,
    ControlNetFamily,
    check_equal,
    check_layers,
    check_no_mask,
    count_blocks,
)

Config = Mapping[str, Any]

_HEADS = ("attention_head_dim", "num_attention_heads")


def _no_config(tensors: Mapping[str, Tensor], network: Config) -> None:
    """Return no configuration: a file does not tell it."""


@dc.dataclass(frozen=True)
class PipelineControlNets:
    """The ControlNets that a pipeline takes."""

    name: str
    """Name of the family for messages."""
    pipeline: str
    """Class of the pipeline with a ControlNet; it takes ``control_image`` and ``controlnet_conditioning_scale``."""
    network: str
    """Class of its ControlNets."""
    shared: Sequence[str]
    """Configuration that a ControlNet shares with the network that it steers."""
    check: Callable[[Config, Config], None]
    """Function that raises InvalidParameter unless a ControlNet fits a network in what they do not share."""
    file_kind: str = TRANSFORMER_FILE
    """Name in ``_FILES`` of one of its files."""
    config_of: Callable[[Mapping[str, Tensor], Config], dict[str, Any] | None] = _no_config
    """Function from the tensors of one file and the network's configuration to the ControlNet's."""
    convert: Callable[[dict[str, Tensor], dict[str, Any]], dict[str, Tensor]] | None = None
    """Function from the tensors of one file to those of the class."""
    shares_parts: bool = False
    """Whether it evaluates parts of the network that it steers."""

    def family(self, network: Config) -> ControlNetFamily:
        """Return the ControlNets that fit a network of this configuration."""

        def check(config: Config) -> None:
            check_equal(config, {name: network[name] for name in self.shared})
            self.check(config, network)

        more = {} if self.convert is None else {"convert": self.convert}
        return ControlNetFamily(
            name=self.name,
            classes={self.network: getattr(diffusers, self.network)},
            file_kind=self.file_kind,
            check=check,
            config_of=lambda tensors: self.config_of(tensors, network),
            **more,
        )


def _check_qwen_image(config: Config, network: Config) -> None:
    check_no_mask(config, "extra_condition_channels")
    check_layers(config, {"num_layers": network["num_layers"]})


def _qwen_image_config(tensors: Mapping[str, Tensor], network: Config) -> dict[str, Any] | None:
    if not {"controlnet_x_embedder.weight", "img_in.weight", "txt_norm.weight"} <= set(tensors):
        return None
    own, map_channels = (tensors[f"{name}.weight"].shape[1] for name in ("img_in", "controlnet_x_embedder"))
    return {
        **{name: network[name] for name in (*_HEADS, "axes_dims_rope", "patch_size", "out_channels")},
        "in_channels": own,
        "extra_condition_channels": map_channels - own,
        "joint_attention_dim": len(tensors["txt_norm.weight"]),
        "num_layers": count_blocks(tensors, "transformer_blocks"),
    }


def _check_z_image(config: Config, network: Config) -> None:
    places = config["control_layers_places"]
    if not isinstance(places, list) or 0 not in places or not all(type(one) is int for one in places):
        raise InvalidParameter(f"the ControlNet has control_layers_places {str(places)[:60]}: a list with 0 is allowed")
    check_layers({"n_layers": 1 + max(places)}, {"n_layers": network["n_layers"]})
    channels = config["control_in_dim"]
    if type(channels) is not int or channels < network["in_channels"]:
        raise InvalidParameter(
            f"the ControlNet has control_in_dim {str(channels)[:60]} and the model {network['in_channels']} channels: "
            "it belongs to a model of another shape"
        )


def _z_image_config(tensors: Mapping[str, Tensor], network: Config) -> dict[str, Any] | None:
    """Return the configuration of a file of VideoX-Fun, as diffusers tells the versions of its files apart.

    Version 1 refines the map alone; 2.0 by its control layers, and 2.1 by a refiner with the image.
    """
    patch, frames = network["all_patch_size"][0], network["all_f_patch_size"][0]
    embedder, layers = f"control_all_x_embedder.{patch}-{frames}.weight", count_blocks(tensors, "control_layers")
    if embedder not in tensors or not layers:
        return None
    refined = "control_noise_refiner.0.after_proj.weight" in tensors
    before = tensors.get("control_noise_refiner.0.before_proj.weight")
    with_image = before is not None and bool(before.any())
    of_version_2 = refined or "control_noise_refiner.0.attention.to_q.weight" not in tensors
    shared = ("all_patch_size", "all_f_patch_size", "dim", "n_heads", "n_kv_heads", "norm_eps", "qk_norm")
    return {
        **{name: network[name] for name in (*shared, "n_refiner_layers")},
        "control_layers_places": list(range(0, network["n_layers"], network["n_layers"] // layers))[:layers],
        "control_in_dim": tensors[embedder].shape[1] // (patch**2 * frames),
        "control_refiner_layers_places": list(range(network["n_refiner_layers"])) if of_version_2 else None,
        "add_control_noise_refiner": ("control_noise_refiner" if with_image else "control_layers")
        if of_version_2
        else None,
    }


def _check_sana(config: Config, network: Config) -> None:
    check_layers(config, {"num_layers": network["num_layers"]})


def _check_hunyuan_dit(config: Config, network: Config) -> None:
    check_equal(config, {"transformer_num_layers": network["num_layers"]})


PIPELINES: Mapping[str, PipelineControlNets] = MappingProxyType(
    {
        "QwenImagePipeline": PipelineControlNets(
            name="Qwen-Image",
            pipeline="QwenImageControlNetPipeline",
            network="QwenImageControlNetModel",
            shared=("in_channels", "joint_attention_dim", *_HEADS, "axes_dims_rope"),
            check=_check_qwen_image,
            config_of=_qwen_image_config,
        ),
        "ZImagePipeline": PipelineControlNets(
            name="Z-Image",
            pipeline="ZImageControlNetPipeline",
            network="ZImageControlNetModel",
            shared=("dim", "n_heads", "n_kv_heads", "n_refiner_layers", "all_patch_size", "all_f_patch_size"),
            check=_check_z_image,
            file_kind=Z_IMAGE_FILE,
            config_of=_z_image_config,
            convert=convert_z_image_controlnet_checkpoint_to_diffusers,
            shares_parts=True,
        ),
        "SanaPipeline": PipelineControlNets(
            name="Sana",
            pipeline="SanaControlNetPipeline",
            network="SanaControlNetModel",
            shared=("in_channels", "patch_size", *_HEADS, "caption_channels"),
            check=_check_sana,
        ),
        "HunyuanDiTPipeline": PipelineControlNets(
            name="HunyuanDiT",
            pipeline="HunyuanDiTControlNetPipeline",
            network="HunyuanDiT2DControlNetModel",
            shared=(
                "in_channels",
                "patch_size",
                *_HEADS,
                "hidden_size",
                "cross_attention_dim",
                "cross_attention_dim_t5",
                "pooled_projection_dim",
                "text_len",
                "text_len_t5",
                "use_style_cond_and_image_meta_size",
            ),
            check=_check_hunyuan_dit,
        ),
    }
)
"""ControlNets by the class of the pipeline without one."""
