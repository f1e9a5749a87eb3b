"""ControlNets as folders and files of several classes: those of the model are loaded, others refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    ControlNetUnionModel,
    DiffusionPipeline,
    StableDiffusionXLControlNetUnionPipeline,
    T2IAdapter,
)
from editkit_diffusers.controlnets.files import load_controlnet
from editkit_diffusers.controlnets.unet import unet_family
from editkit_diffusers.ldm_key_names import original_name
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from torch import Tensor

import editkit
from editkit import EditkitError, InvalidParameter, WeightsUnavailable
from editkit.images.tensors import to_tensor
from editkit.testing.suite import sample_image
from editkit.testing.tiny import controlnet_xl_folder, stable_diffusion_xl_folder

GREY = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16), dtype=np.uint8)).convert("RGB")
PROMPT = "a red apple"


def attach(model: Any, location: Path) -> None:
    with model.with_controlnet(location, torch.zeros(1, 3, 16, 16), scale=1.0, low=0.0, high=1.0):
        pass


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stable_diffusion_xl_folder(tmp_path_factory.mktemp("models") / "xl")


@pytest.fixture(scope="module")
def union(xl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ControlNet of six kinds of random weights."""
    config = json.loads((xl / "unet" / "config.json").read_text())
    shared = {name: one for name, one in config.items() if name in UNION_CONFIG}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"num_trans_channel": 8, "num_trans_head": 2, "num_proj_channel": 8}
        net = ControlNetUnionModel(**shared, **sizes, conditioning_embedding_out_channels=(8, 16))
        for name, weights in net.named_parameters():
            if name.startswith(("controlnet_", "spatial_ch_projs")):
                torch.nn.init.normal_(weights, std=0.3)
    folder = tmp_path_factory.mktemp("controlnets") / "union"
    net.save_pretrained(folder)
    return folder


UNION_CONFIG = (
    *("in_channels", "down_block_types", "block_out_channels", "layers_per_block", "norm_num_groups"),
    *("cross_attention_dim", "transformer_layers_per_block", "attention_head_dim", "use_linear_projection"),
    *("addition_embed_type", "addition_time_embed_dim", "projection_class_embeddings_input_dim"),
)


def controlled(folder: Path, controlnet: Path, **params: Any) -> Tensor:
    model = editkit.load_model(folder, device="cpu")
    arguments = {"controlnet": str(controlnet), "control_image": GREY, "steps": 3, "guidance": 3.0, "seed": 0}
    latents: Tensor = editkit.apply("control", GREY, model=model, prompt=PROMPT, **arguments, **params).latents
    return latents


# Several kinds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("params", "number"), [({"kind": "edge"}, 3), ({"kind": "depth"}, 1), ({"control_mode": "pose"}, 0)]
)
def test_a_union_samples_as_in_diffusers_by_what_the_map_shows(
    xl: Path, union: Path, params: dict[str, Any], number: int
) -> None:
    parts = {name: part for name, part in DiffusionPipeline.from_pretrained(xl).components.items() if part is not None}
    net = ControlNetUnionModel.from_pretrained(union)
    theirs: Any = StableDiffusionXLControlNetUnionPipeline(**parts, controlnet=net)
    theirs.set_progress_bar_config(disable=True)
    call = {"num_inference_steps": 3, "guidance_scale": 3.0, "width": 16, "height": 16, "output_type": "latent"}
    noise = torch.Generator().manual_seed(0)
    expected = theirs(PROMPT, control_image=[GREY], control_mode=[number], generator=noise, **call).images
    assert float((controlled(xl, union, **params) - expected).abs().max()) < 1e-4


@pytest.mark.slow
def test_several_maps_of_a_union_are_evaluated_together_as_in_diffusers(xl: Path, union: Path) -> None:
    parts = {name: part for name, part in DiffusionPipeline.from_pretrained(xl).components.items() if part is not None}
    net = ControlNetUnionModel.from_pretrained(union)
    theirs: Any = StableDiffusionXLControlNetUnionPipeline(**parts, controlnet=net)
    theirs.set_progress_bar_config(disable=True)
    call = {"num_inference_steps": 3, "guidance_scale": 3.0, "width": 16, "height": 16, "output_type": "latent"}
    noise, scale = torch.Generator().manual_seed(0), {"controlnet_conditioning_scale": 0.7}
    other = ImageOps.mirror(GREY)
    expected = theirs(PROMPT, control_image=[GREY, other], control_mode=[0, 1], generator=noise, **scale, **call).images
    model: Any = editkit.load_model(xl, device="cpu")
    with (
        model.with_controlnet(union, to_tensor(GREY), scale=0.7, low=0.0, high=1.0, mode="pose"),
        model.with_controlnet(union, to_tensor(other), scale=0.7, low=0.0, high=1.0, mode="depth"),
    ):
        drawing = {"steps": 3, "guidance": 3.0, "seed": 0, "width": 16, "height": 16}
        result = editkit.apply("generate", model=model, prompt=PROMPT, **drawing)
    assert float((result.latents - expected).abs().max()) < 1e-4


def test_a_map_that_nothing_describes_is_refused_by_a_union(xl: Path, union: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"control_mode, one of pose, depth, scribble, edge, normal, segment$"):
        controlled(xl, union)
    with pytest.raises(InvalidParameter, match="'tile' is none of them"):
        controlled(xl, union, control_mode="tile")


def test_a_mode_is_refused_by_a_controlnet_of_one_kind(tiny_folder: Path, tiny_controlnet: Path) -> None:
    with pytest.raises(InvalidParameter, match="control_mode='edge' is not allowed"):
        controlled(tiny_folder, tiny_controlnet, control_mode="edge")


# Folders


def copied(folder: Path, to: Path, **config: Any) -> Path:
    place = Path(shutil.copytree(folder, to))
    file = place / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return place


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "a T2I-Adapter": ({"_class_name": "T2IAdapter"}, "a T2I-Adapter"),
    "a ControlNet-XS": ({"_class_name": "ControlNetXSAdapter"}, "a ControlNet-XS"),
    "one of FLUX": ({"_class_name": "FluxControlNetModel"}, "a ControlNet of FLUX"),
    "a UNet": ({"_class_name": "UNet2DConditionModel"}, "a UNet"),
    "an unknown class": ({"_class_name": ["module", "Net"]}, "module"),
    "another width": ({"cross_attention_dim": 48}, "cross_attention_dim 48 and the model 16"),
    "another depth": ({"block_out_channels": [8] * 1000}, "block_out_channels"),
    "six colours": ({"conditioning_channels": 6}, "conditioning_channels 6"),
    "an unknown order": ({"controlnet_conditioning_channel_order": "grb"}, "channel_order 'grb'"),
    "a million layers": ({"transformer_layers_per_block": 10**6}, "beyond all networks"),
    "as many channels": ({"conditioning_embedding_out_channels": [8] * 10**4}, "beyond all networks"),
    "a text for a number": ({"norm_eps": "silu"}, "norm_eps silu"),
    "a negative number": ({"attention_head_dim": -1}, "attention_head_dim -1"),
    "a pooled condition": ({"global_pool_conditions": True}, "global_pool_conditions"),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_folder_is_refused_by_its_configuration(
    tiny_model: Any, tiny_controlnet: Path, tmp_path: Path, kind: str
) -> None:
    config, complaint = CONFIGS[kind]
    place = copied(tiny_controlnet, tmp_path / "net", **config)
    for weights in place.glob("*.safetensors"):  # which are not read
        weights.write_bytes(b"")
    with pytest.raises(EditkitError, match=complaint) as raised:
        attach(tiny_model, place)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["[]", "null", "[" * 100_000, "{", '{"in_channels": "x"}'])
def test_a_damaged_configuration_is_an_error_of_editkit(
    tiny_model: Any, tiny_controlnet: Path, tmp_path: Path, content: str
) -> None:
    place = copied(tiny_controlnet, tmp_path / "net")
    (place / "config.json").write_text(content)
    with pytest.raises(EditkitError):
        attach(tiny_model, place)


def changed(folder: Path, to: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Path:
    place = Path(shutil.copytree(folder, to))
    (file,) = place.glob("*.safetensors")
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    return place


def test_weights_that_the_class_does_not_have_are_refused(
    tiny_model: Any, tiny_controlnet: Path, tmp_path: Path
) -> None:
    place = changed(tiny_controlnet, tmp_path / "net", lambda tensors: tensors | {"task_embedding": torch.ones(2)})
    with pytest.raises(WeightsUnavailable, match=r"1 weights that its .* no place for, such as task_embedding"):
        attach(tiny_model, place)


def test_nan_in_the_weights_is_named_before_the_edit(tiny_model: Any, tiny_controlnet: Path, tmp_path: Path) -> None:
    name = "controlnet_mid_block.bias"
    place = changed(tiny_controlnet, tmp_path / "net", lambda tensors: tensors | {name: tensors[name] * torch.nan})
    with pytest.raises(WeightsUnavailable, match=f"NaN or infinity in {name}"):
        attach(tiny_model, place)


def test_a_controlnet_of_sdxl_is_refused_by_stable_diffusion(tiny_model: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="belongs to a model of another shape"):
        attach(tiny_model, controlnet_xl_folder(tmp_path / "xl"))


def test_a_t2i_adapter_is_refused_by_name(tiny_model: Any, tmp_path: Path) -> None:
    T2IAdapter(in_channels=3, channels=[8, 16], num_res_blocks=1, downscale_factor=2).save_pretrained(tmp_path)
    for location in (tmp_path, next(tmp_path.glob("*.safetensors"))):
        with pytest.raises(WeightsUnavailable, match="T2I-Adapter"):
            attach(tiny_model, location)


@pytest.mark.slow
def test_a_half_precision_variant_alone_is_read(tiny_folder: Path, tiny_controlnet: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(tiny_controlnet, tmp_path / "net"))
    (file,) = place.glob("*.safetensors")
    file.rename(file.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert torch.equal(controlled(tiny_folder, place), controlled(tiny_folder, tiny_controlnet))


def test_a_folder_of_a_pipeline_names_its_controlnet(tiny_model: Any, tiny_controlnet: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_controlnet, tmp_path / "controlnet")
    with pytest.raises(WeightsUnavailable, match=f"give its folder {tmp_path / 'controlnet'}"):
        attach(tiny_model, tmp_path)


# Files


def original_controlnet(net: ControlNetModel) -> dict[str, Tensor]:
    """Return the weights of a ControlNet by the names of its first implementation."""
    tensors = {}
    for name, tensor in net.state_dict().items():
        module, _, kind = name.rpartition(".")
        head, _, number = module.rpartition(".")
        if head == "controlnet_down_blocks":
            module = f"zero_convs.{number}.0"
        elif module == "controlnet_mid_block":
            module = "middle_block_out.0"
        elif module.startswith("controlnet_cond_embedding."):
            numbers = {"conv_in": 0, "conv_out": 14}
            module = f"input_hint_block.{numbers.get(number, 2 * int(number) + 2 if number.isdigit() else 0)}"
        else:
            module = original_name(module, layers=1)
        tensors[f"control_model.{module}.{kind}"] = tensor.contiguous()
    return tensors


@pytest.mark.slow
def test_a_file_of_diffusers_weights_is_loaded_without_configuration(
    tiny_model: Any, tiny_folder: Path, tiny_controlnet: Path, tmp_path: Path
) -> None:
    (file,) = tiny_controlnet.glob("*.safetensors")
    alone = Path(shutil.copy(file, tmp_path / "canny.safetensors"))
    assert torch.equal(controlled(tiny_folder, alone), controlled(tiny_folder, tiny_controlnet))
    assert torch.equal(controlled(tiny_folder, file), controlled(tiny_folder, tiny_controlnet))


def test_a_file_of_the_first_implementation_has_the_weights_of_its_conversion(tiny_model: Any, tmp_path: Path) -> None:
    unet = tiny_model.net
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 6, 8, 10))
    for weights in net.parameters():
        if not weights.any():  # as before the training
            torch.nn.init.ones_(weights)
    file = tmp_path / "control_sd15_canny.safetensors"
    save_file(original_controlnet(net), file)
    loaded = load_controlnet(file, unet_family(unet, 4), device=torch.device("cpu"), dtype=torch.float32)
    expected = net.state_dict()
    assert set(loaded.state_dict()) == set(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())


FILES = {
    "lora_controlnet": "Control-LoRA",
    "lllite_unet_input_blocks_1_1.down.0.weight": "LLLite",
    "body.0.block1.weight": "T2I-Adapter",
    "image_proj.proj.weight": "IP-Adapter",
    "controlnet_x_embedder.weight": "FLUX",
    "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": "--adapter",
    "model.diffusion_model.out.0.weight": "whole model",
    "anything": "another network",
}


@pytest.mark.parametrize("name", FILES)
def test_other_files_are_refused_by_name(tiny_model: Any, tmp_path: Path, name: str) -> None:
    save_file({name: torch.ones(2)}, tmp_path / "net.safetensors")
    with pytest.raises(WeightsUnavailable, match=FILES[name]) as raised:
        attach(tiny_model, tmp_path / "net.safetensors")
    assert "\n" not in str(raised.value)


def test_a_file_without_a_weight_is_refused_with_its_name(
    tiny_model: Any, tiny_controlnet: Path, tmp_path: Path
) -> None:
    (file,) = tiny_controlnet.glob("*.safetensors")
    tensors = load_file(file)
    del tensors["controlnet_mid_block.bias"]
    save_file(tensors, tmp_path / "net.safetensors")
    with pytest.raises(WeightsUnavailable, match=r"1 missing weights, such as controlnet_mid_block\.bias"):
        attach(tiny_model, tmp_path / "net.safetensors")
    tensors = load_file(file) | {"controlnet_mid_block.bias": torch.ones(16).to(torch.int8)}
    save_file(tensors, tmp_path / "net.safetensors")
    with pytest.raises(WeightsUnavailable, match=r"holds quantised weights \(controlnet_mid_block\.bias\)"):
        attach(tiny_model, tmp_path / "net.safetensors")
    shutil.copytree(tiny_controlnet, tmp_path / "folder")
    save_file(tensors, tmp_path / "folder" / file.name)
    with pytest.raises(WeightsUnavailable, match=r"holds I8 in controlnet_mid_block\.bias"):
        attach(tiny_model, tmp_path / "folder")
    (tmp_path / "net.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsUnavailable, match="cannot be read"):
        attach(tiny_model, tmp_path / "net.safetensors")


def test_a_controlnet_without_effect_or_with_a_class_is_refused(tiny_model: Any, tmp_path: Path) -> None:
    net = ControlNetModel.from_unet(tiny_model.net, conditioning_embedding_out_channels=(4, 6))
    net.save_pretrained(tmp_path / "untrained")
    with pytest.raises(InvalidParameter, match="zeros in all its output layers"):
        attach(tiny_model, tmp_path / "untrained")
    config = json.loads((tmp_path / "untrained/config.json").read_text()) | {"num_class_embeds": 3}
    ControlNetModel.from_config(config).save_pretrained(tmp_path / "class")
    with pytest.raises(InvalidParameter, match="reads a class"):
        attach(tiny_model, tmp_path / "class")


ZEROS = {
    "controlnet_cond_embedding.conv_out": (InvalidParameter, "so the map has no effect"),
    "down_blocks": (WeightsUnavailable, "of 50 weights are zero.*cut short"),
}


@pytest.mark.parametrize("zero", ZEROS)
def test_zeros_in_a_part_of_a_controlnet_are_refused(
    tiny_model: Any, tiny_controlnet: Path, tmp_path: Path, zero: str
) -> None:
    kind, message = ZEROS[zero]
    (file,) = shutil.copytree(tiny_controlnet, tmp_path / "net").glob("*.safetensors")
    tensors = {name: tensor * (not name.startswith(zero)) for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(kind, match=message):
        attach(tiny_model, file.parent)


def test_a_replay_with_other_weights_of_a_controlnet_says_so(
    tiny_model: Any, tiny_controlnet: Path, tmp_path: Path
) -> None:
    source, net = sample_image((16, 16)), shutil.copytree(tiny_controlnet, tmp_path / "net")
    attach = [f"controlnet:kind=edge,weights={net}"]
    result = editkit.apply("img2img", source, model=tiny_model, prompt="x", steps=2, seed=1, attach=attach)
    result.save(tmp_path / "a.png")

    def replay(attach: list[str]) -> Any:
        return editkit.replay(tmp_path / "a.png", source=source, model=tiny_model, attach=attach)

    same = shutil.copytree(net, tmp_path / "moved")
    repeated = replay([f"controlnet:kind=edge,weights={same}"])
    assert repeated.image.tobytes() == result.image.tobytes() and repeated.report.warnings == ()
    (file,) = net.glob("*.safetensors")
    save_file({name: 2 * one for name, one in load_file(file).items()}, file, metadata={"format": "pt"})
    assert "net of img2img is another file than the recipe's: the pixels may differ" in replay(attach).report.warnings
