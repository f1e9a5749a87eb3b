"""Models in one file: converted by diffusers on a configuration that is here, and clear errors where none is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from editkit_diffusers.ldm_key_names import original_name
from families.original_names import flux_network, sd3_network, unet_network, weights_of
from safetensors.torch import load_file, save_file
from torch import Tensor

import editkit
from editkit import WeightsUnavailable
from editkit.cli.facts.models import describe_model
from editkit.testing.tiny import (
    flux_folder,
    flux_kontext_folder,
    inpainting_folder,
    pixel_ddpm_folder,
    stable_diffusion_3_folder,
    stable_diffusion_folder,
    stable_diffusion_xl_folder,
    upscaler_folder,
)

VAE = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "conv_norm_out": "norm_out",
    "conv_shortcut": "nin_shortcut",
    "downsamplers.0": "downsample",
    "upsamplers.0": "upsample",
}
OPEN_CLIP = {
    "encoder.layers.": "transformer.resblocks.",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn": "attn",
    "fc1": "c_fc",
    "fc2": "c_proj",
    "final_layer_norm": "ln_final",
    "embeddings.token_embedding": "token_embedding",
    "embeddings.position_embedding.weight": "positional_embedding",
}


def replaced(name: str, names: dict[str, str]) -> str:
    for new, old in names.items():
        name = name.replace(new, old)
    return name


def autoencoder(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Upward blocks were counted from the outside, and attention was made of convolutions."""
    blocks = len(json.loads((folder / "vae" / "config.json").read_text())["block_out_channels"])
    for name, tensor in weights_of(folder, "vae").items():
        words = replaced(name, VAE).split(".")
        if len(words) > 2 and words[1] in ("down_blocks", "up_blocks"):
            number = int(words[2]) if words[1] == "down_blocks" else blocks - 1 - int(words[2])
            words[1:3] = [words[1].removesuffix("_blocks"), str(number)]
            words = ["block" if word == "resnets" else word for word in words]
        if words[1] == "mid_block":
            kind = {"resnets": "block", "attentions": "attn"}[words[2]]
            words[1:4] = ["mid", f"{kind}_{int(words[3]) + 1}"]
        in_attention = "attn_1" in words and words[-1] == "weight" and words[-2] != "norm"
        yield f"first_stage_model.{'.'.join(words)}", tensor[..., None, None] if in_attention else tensor


def clip(folder: Path, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in weights_of(folder, "text_encoder").items():
        yield f"{prefix}.transformer.text_model.{name.removeprefix('text_model.')}", tensor


def open_clip(folder: Path, part: str, prefix: str) -> Iterator[tuple[str, Tensor]]:
    """Queries, keys and values were one matrix, and the last projection stood the other way."""
    found = weights_of(folder, part)
    for name, tensor in found.items():
        old = f"{prefix}.model.{replaced(name.removeprefix('text_model.'), OPEN_CLIP)}"
        if name == "text_projection.weight":
            yield f"{prefix}.model.text_projection", tensor.T.contiguous()
        elif "q_proj" in name:
            three = torch.cat([found[name.replace("q_proj", f"{one}_proj")] for one in "qkv"])
            yield old.replace("q_proj.", "in_proj_"), three
        elif "k_proj" not in name and "v_proj" not in name:
            yield old, tensor


def checkpoint(folder: Path, file: Path, *, second: bool = False, **more: Tensor) -> Path:
    """Write a diffusers folder as these models were first published: one file of other names.

    The ``second`` Stable Diffusion had a text encoder of other names than the first.
    """
    unet = {f"model.diffusion_model.{name}": tensor for name, tensor in unet_network(weights_of(folder, "unet"))}
    tensors = more | unet | dict(autoencoder(folder))
    if (folder / "text_encoder_2").is_dir():
        tensors |= dict(clip(folder, "conditioner.embedders.0"))
        tensors |= dict(open_clip(folder, "text_encoder_2", "conditioner.embedders.1"))
    elif second:
        tensors |= dict(open_clip(folder, "text_encoder", "cond_stage_model"))
    else:
        tensors |= dict(clip(folder, "cond_stage_model"))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    return file


def configuration(folder: Path, to: Path) -> Path:
    """A diffusers folder without its weights."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*.safetensors"), dirs_exist_ok=True)
    return to


KINDS: dict[str, Any] = {
    "stable-diffusion": stable_diffusion_folder,
    "second": stable_diffusion_folder,
    "inpainting": inpainting_folder,
    "stable-diffusion-xl": stable_diffusion_xl_folder,
    "upscaler": upscaler_folder,
    "xl-inpainting": lambda path: stable_diffusion_xl_folder(path, "inpainting"),
}


def test_first_names_are_those_that_diffusers_reads(tmp_path: Path) -> None:
    """Of every layer of a network as deep as SDXL's, whose blocks have attention or not."""
    net = UNet2DConditionModel(
        layers_per_block=2,
        block_out_channels=(4, 8, 8),
        norm_num_groups=4,
        cross_attention_dim=8,
        attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=16,
    )
    net.save_config(tmp_path)
    first = {}
    for name, tensor in net.state_dict().items():
        module, _, kind = name.rpartition(".")
        first[f"model.diffusion_model.{original_name(module, layers=2)}.{kind}"] = tensor
    assert len(first) == len(net.state_dict())
    read = UNet2DConditionModel.from_single_file(first, config=str(tmp_path)).state_dict()
    assert all(torch.equal(tensor, read[name]) for name, tensor in net.state_dict().items())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with a diffusers folder, ``folder``, and the same in one file, ``model.safetensors``."""
    place = tmp_path_factory.mktemp("tiny")
    folder = stable_diffusion_folder(place / "folder")
    configuration(folder, place / "model")
    checkpoint(folder, place / "model.safetensors")
    return place


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_single_file_samples_what_its_folder_samples(tmp_path: Path, kind: str) -> None:
    folder = KINDS[kind](tmp_path / "folder")
    file = checkpoint(folder, tmp_path / "model.safetensors", second=kind in ("second", "upscaler"))
    configuration(folder, tmp_path / "model")
    drawn = [
        editkit.apply("generate", model=str(place), prompt="a red apple", guidance=3.0, steps=2, seed=0)
        for place in (folder, file)
    ]
    assert torch.equal(drawn[0].latents, drawn[1].latents)
    assert drawn[0].image.tobytes() == drawn[1].image.tobytes()
    assert drawn[1].report.model == str(file)


def test_its_precision_is_that_of_a_folder(tiny: Path) -> None:
    for dtype in ("float16", "bfloat16"):
        models: list[Any] = [editkit.load_model(tiny / name, dtype=dtype) for name in ("folder", "model.safetensors")]
        for folder, file in zip(*(model_weights(model) for model in models), strict=True):
            assert torch.equal(folder, file)
            assert folder.dtype == file.dtype


def model_weights(model: Any) -> list[Tensor]:
    nets = (model.unet, model.autoencoder.net, *(text.net for text in model.texts.values()))
    return [weight for net in nets for weight in net.parameters()]


def test_the_configuration_may_lie_beside_the_checkpoint(tiny: Path, tmp_path: Path) -> None:
    """As in a folder of the hub, which holds both."""
    configuration(tiny / "model", tmp_path)
    file = Path(shutil.copy(tiny / "model.safetensors", tmp_path / "whole.safetensors"))
    model = editkit.load_model(file)
    (tmp_path / "other.safetensors").write_bytes(b"none of its business")
    assert editkit.load_model(file).identity == model.identity


def test_a_checkpoint_is_described_by_its_header(tiny: Path) -> None:
    file = tiny / "model.safetensors"
    description = describe_model(str(file))
    assert description.backend == "stable-diffusion" and "img2img" in description.operations
    assert description.weights["model.safetensors"].values == sum(one.numel() for one in load_file(file).values())


def test_the_configuration_may_be_in_the_cache_of_the_hub(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "models--stable-diffusion-v1-5--stable-diffusion-v1-5"
    configuration(tiny / "model", cached / "snapshots" / ("0" * 40))
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    alone = Path(shutil.copy(tiny / "model.safetensors", tmp_path / "alone.safetensors"))
    found, beside = (editkit.load_model(file) for file in (alone, tiny / "model.safetensors"))
    assert found.identity == beside.identity


def test_a_missing_configuration_is_an_error_with_advice(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    alone = Path(shutil.copy(tiny / "model.safetensors", tmp_path / "alone.safetensors"))
    message = refused(alone)
    assert "stable-diffusion-v1-5/stable-diffusion-v1-5" in message
    assert f"into '{tmp_path / 'alone'}'" in message


def refused(file: Path, **arguments: Any) -> str:
    with pytest.raises(WeightsUnavailable) as raised:
        editkit.load_model(file, **arguments)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_an_incomplete_checkpoint_is_refused(tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"lora_unet_conv_in.alpha": torch.ones(1)}, file)
    assert "holds no whole model of stable-diffusion or stable-diffusion-xl" in refused(file)
    save_file({}, file)
    assert "begins with nothing" in refused(file)
    file.write_bytes(b"not these")
    assert "cannot be read" in refused(file)
    pickled = Path(shutil.copy(tiny / "model.safetensors", tmp_path / "model.ckpt"))
    assert "can run code when loaded" in refused(pickled)


def test_a_configuration_of_another_model_is_refused(tiny: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(tiny / "model.safetensors", tmp_path / "model.safetensors"))
    configuration(pixel_ddpm_folder(tmp_path / "pixels"), tmp_path / "model")
    assert "of the family stable-diffusion, and the configuration" in refused(file)
    shutil.rmtree(tmp_path / "model")
    wide = configuration(tiny / "model", tmp_path / "model") / "unet" / "config.json"
    wide.write_text(json.dumps({**json.loads(wide.read_text()), "cross_attention_dim": 32}))
    assert "does not fit the configuration" in refused(file)
    shutil.rmtree(tmp_path / "model" / "unet")
    assert "the folder unet is missing" in refused(file)


def test_a_file_without_one_of_its_parts_is_refused(tiny: Path, tmp_path: Path) -> None:
    configuration(tiny / "model", tmp_path / "model")
    whole = load_file(tiny / "model.safetensors")
    text = "cond_stage_model.transformer.text_model.encoder"
    parts = {"first_stage_model.decoder": "vae", "model.diffusion_model.out": "unet", text: "text_encoder"}
    for missing, part in parts.items():
        kept = {name: tensor for name, tensor in whole.items() if not name.startswith(missing)}
        save_file(kept, tmp_path / "model.safetensors")
        message = refused(tmp_path / "model.safetensors")
        assert f"lacks weights of its {part}: " in message or part == "text_encoder"
    layer = "model.diffusion_model.input_blocks.3.1.transformer_blocks.0.attn1.to_k.weight"
    save_file({name: tensor for name, tensor in whole.items() if name != layer}, tmp_path / "model.safetensors")
    assert "lacks weights of its unet: down_blocks.1.attentions.0." in refused(tmp_path / "model.safetensors")


def test_tensors_without_a_place_in_the_network_are_warned_of(tiny: Path, tmp_path: Path) -> None:
    """A distilled network has one more, which its configuration has to name."""
    configuration(tiny / "model", tmp_path / "model")
    distilled, control = "model.diffusion_model.time_embed.cond_proj.weight", "control_model.out.weight"
    extra = {distilled: torch.ones(16, 8), control: torch.ones(1)}
    save_file({**load_file(tiny / "model.safetensors"), **extra}, tmp_path / "model.safetensors")
    unused, beside = editkit.load_model(tmp_path / "model.safetensors").warnings  # type: ignore[attr-defined]
    assert "1 weights of its network" in unused and distilled in unused
    assert "also holds a ControlNet" in beside
    assert editkit.load_model(tiny / "model.safetensors").warnings == ()  # type: ignore[attr-defined]


PARTS = {
    "autoencoder": ("first_stage_model.", "vae", {"layers_per_block": 0}),
    "text_encoder_2": ("conditioner.embedders.1.", "text_encoder_2", {"num_hidden_layers": 1}),
}


@pytest.mark.parametrize("part", PARTS)
def test_other_parts_of_fewer_layers_and_of_zeros_are_warned_of(tmp_path: Path, part: str) -> None:
    """A smaller configuration takes some of the weights, and a download that was cut short leaves zeros."""
    beginning, folder, fewer = PARTS[part]
    file = checkpoint(stable_diffusion_xl_folder(tmp_path / "model"), tmp_path / "model.safetensors")
    whole = {name: one.clone() for name, one in load_file(file).items()}
    write({name: one * (not name.startswith(beginning)) for name, one in whole.items()}, file)
    (zeros,) = editkit.load_model(file, device="cpu").warnings  # type: ignore[attr-defined]
    assert f"model.safetensors, {part}: " in zeros and "are zero" in zeros
    config = tmp_path / "model" / folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **fewer}))
    (unused,) = notes(write(whole, file))
    assert f"weights of its {part} that" in unused and "left out" in unused


def test_training_metadata_of_a_file_is_used(tmp_path: Path) -> None:
    folder = stable_diffusion_xl_folder(tmp_path / "model")
    checkpoint(folder, tmp_path / "model.safetensors", v_pred=torch.tensor([]), ztsnr=torch.tensor([]))
    model = editkit.load_model(tmp_path / "model.safetensors")
    assert model.prediction == "v_prediction"
    assert model.schedule.point(999).alpha == pytest.approx(0, abs=1e-9)
    checkpoint(folder, tmp_path / "model.safetensors", edm_mean=torch.tensor([]))
    assert "holds no whole model" in refused(tmp_path / "model.safetensors")


def test_a_lora_fits_a_model_in_one_file(tiny: Path, tmp_path: Path) -> None:
    name = "lora_unet_down_blocks_1_attentions_0_proj_in"
    lora = {f"{name}.lora_up.weight": torch.ones(16, 1), f"{name}.lora_down.weight": torch.ones(1, 16)}
    save_file(lora, tmp_path / "style.safetensors")
    plain: Any = editkit.load_model(tiny / "model.safetensors")
    styled: Any = editkit.load_model(tiny / "model.safetensors", adapters=[tmp_path / "style.safetensors"])
    assert plain.identity != styled.identity
    before, after = (model.unet.down_blocks[1].attentions[0].proj_in.weight for model in (plain, styled))
    assert torch.equal(after, before + 1)


# Transformers

TOLERANCE = 1e-4
"""Of latents up to 14: weights of a file lie elsewhere in memory, which changes the last bits of sums."""
Tensors = dict[str, Tensor]


def encoders(folder: Path, names: dict[str, str]) -> Iterator[tuple[str, Tensor]]:
    for part, name in names.items():
        for key, tensor in weights_of(folder, part).items():
            inside = key if name == "t5xxl" or "projection" in key else f"text_model.{key.removeprefix('text_model.')}"
            yield f"text_encoders.{name}.transformer.{inside}", tensor


def sd3(path: Path) -> Path:
    """A folder whose first CLIP has no projection, as published files have none."""
    folder = stable_diffusion_3_folder(path)
    (file,) = (folder / "text_encoder").glob("*.safetensors")
    tensors = load_file(file)
    tensors["text_projection.weight"] = torch.eye(len(tensors["text_projection.weight"]))
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


Family = tuple[Callable[[Path], Path], Callable[[Tensors], Iterator[tuple[str, Tensor]]], dict[str, str]]
CLIPS = {"text_encoder": "clip_l", "text_encoder_2": "clip_g", "text_encoder_3": "t5xxl"}
FLUX = {"text_encoder": "clip_l", "text_encoder_2": "t5xxl"}
FAMILIES: dict[str, Family] = {
    "sd3": (sd3, sd3_network, CLIPS),
    "flux": (flux_folder, flux_network, FLUX),
    "kontext": (flux_kontext_folder, flux_network, FLUX),
}


def draw(place: Path) -> Tensor:
    created = editkit.apply("generate", model=str(place), prompt="a red apple", steps=2, seed=0, width=16, height=16)
    latents: Tensor = created.latents
    return latents


def write(tensors: Tensors, file: Path) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    return file


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_whole_file_samples_what_its_folder_samples(tmp_path: Path, name: str) -> None:
    make, network, texts = FAMILIES[name]
    folder = make(tmp_path / "folder")
    tensors = {f"model.diffusion_model.{key}": tensor for key, tensor in network(weights_of(folder, "transformer"))}
    tensors |= dict(autoencoder(folder)) | dict(encoders(folder, texts))
    configuration(folder, tmp_path / "model")
    drawn = draw(write(tensors, tmp_path / "model.safetensors"))
    assert notes(tmp_path / "model.safetensors") == []
    assert (drawn - draw(folder)).abs().max() < TOLERANCE


def notes(file: Path, **options: Any) -> list[str]:
    return [text for text in editkit.load_model(file, device="cpu", **options).warnings if "no place" in text]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("sd3", "new_in.weight"),
        ("sd3", "joint_blocks.0.x_block.new.weight"),
        ("flux", "new_in.weight"),
        ("flux", "double_blocks.0.img_mlp.1.weight"),
        ("flux", "double_blocks.9.img_mlp.0.weight"),
    ],
)
def test_tensors_of_transformers_without_a_place_are_warned_of(tmp_path: Path, name: str, extra: str) -> None:
    make, network, texts = FAMILIES[name]
    folder = make(tmp_path / "folder")
    own = dict(network(weights_of(folder, "transformer")))
    own[extra] = torch.ones(2)
    tensors = {f"model.diffusion_model.{key}": one for key, one in own.items()}
    tensors |= dict(autoencoder(folder)) | dict(encoders(folder, texts))
    configuration(folder, tmp_path / "model")
    (note,) = notes(write(tensors, tmp_path / "model.safetensors"))
    assert "holds 1 weights of its network" in note and "which are left out" in note
    layer = {f"text_encoders.t5xxl.transformer.encoder.block.9.{number}.weight": torch.ones(2) for number in (0, 1)}
    both = notes(write(tensors | layer, tmp_path / "model.safetensors"))
    encoder = next(part for part in texts if texts[part] == "t5xxl")
    assert len(both) == 2 and any(f"holds 2 weights of its {encoder} that" in one for one in both)
    if "9" not in extra:  # a network in place of a folder's has to fit in full
        alone = notes(folder, transformer=write(own, tmp_path / "network.safetensors"))
        assert len(alone) == 1 and f"such as {extra}" in alone[0]


@pytest.mark.parametrize("name", ["sd3", "flux"])
def test_a_network_alone_takes_the_other_parts_from_the_folder(tmp_path: Path, name: str) -> None:
    make, network, _ = FAMILIES[name]
    folder = make(tmp_path / "folder")
    file = write(dict(network(weights_of(folder, "transformer"))), tmp_path / "model.safetensors")
    shutil.copytree(folder, tmp_path / "model", ignore=shutil.ignore_patterns("diffusion_pytorch_model.safetensors"))
    with pytest.raises(WeightsUnavailable, match=r"holds no autoencoder \(VAE\): put the folder 'vae'"):
        editkit.load_model(file)
    shutil.copytree(folder / "vae", tmp_path / "model" / "vae", dirs_exist_ok=True)
    assert (draw(file) - draw(folder)).abs().max() < TOLERANCE


@pytest.mark.parametrize("name", ["sd3", "flux"])
def test_a_file_without_a_tensor_of_its_network_is_refused(tmp_path: Path, name: str) -> None:
    make, network, _ = FAMILIES[name]
    folder = make(tmp_path / "model")
    tensors = dict(network(weights_of(folder, "transformer")))
    del tensors[next(key for key in tensors if key.endswith(("txt_in.weight", "context_embedder.weight")))]
    with pytest.raises(WeightsUnavailable, match=r"context_embedder.weight"):
        editkit.load_model(write(tensors, tmp_path / "model.safetensors"))


# What people's files hold


def state(tiny: Path, place: Path, tensors: Tensors, header: dict[str, str] | None = None) -> Path:
    configuration(tiny / "model", place / "stated")
    save_file({name: one.contiguous() for name, one in tensors.items()}, place / "stated.safetensors", header)
    return place / "stated.safetensors"


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["scale_weight", "weight_scale"])
@pytest.mark.parametrize("rows", [False, True])
def test_scales_of_8_bit_weights_are_applied(tiny: Path, tmp_path: Path, ending: str, rows: bool) -> None:
    held, meant = dict(load_file(tiny / "model.safetensors")), dict(load_file(tiny / "model.safetensors"))
    for name in [
        name for name in held if "transformer_blocks" in name and name.endswith("weight") and held[name].ndim == 2
    ]:
        scale = (held[name].abs().amax(1, keepdim=True) if rows else held[name].abs().max().reshape(1)) / 448
        eight = (held[name] / scale).to(torch.float8_e4m3fn)
        held |= {name: eight, f"{name.removesuffix('weight')}{ending}": scale}
        meant[name] = eight.float() * scale
    held |= {"scaled_fp8": torch.empty(0).to(torch.float8_e4m3fn), "model.diffusion_model.x.input_scale": torch.ones(1)}
    (tmp_path / "meant").mkdir()
    file, plain = state(tiny, tmp_path, held), state(tiny, tmp_path / "meant", meant)
    assert (draw(file) - draw(plain)).abs().max() < TOLERANCE


@pytest.mark.parametrize(
    "name", ["weight_scale_2", "weight_scale_inv", "weight.absmax", "qweight", "weight.quant_state.bitsandbytes__nf4"]
)
def test_other_quantisations_are_refused_by_name(tiny: Path, tmp_path: Path, name: str) -> None:
    tensors = {**load_file(tiny / "model.safetensors"), f"model.diffusion_model.x.{name}": torch.ones(1)}
    assert f"x.{name}" in refused(state(tiny, tmp_path, tensors))


def test_whole_numbers_are_no_weights(tiny: Path, tmp_path: Path) -> None:
    tensors, name = load_file(tiny / "model.safetensors"), "model.diffusion_model.time_embed.0.bias"
    whole = {**tensors, name: torch.ones_like(tensors[name]).to(torch.int8)}
    assert f"quantised weights ({name})" in refused(state(tiny, tmp_path, whole))


def test_scales_without_a_weight_or_of_another_shape_are_refused(tiny: Path, tmp_path: Path) -> None:
    whole, name = load_file(tiny / "model.safetensors"), "model.diffusion_model.time_embed.0"
    assert "no model.diffusion_model.y.weight" in refused(
        state(tiny, tmp_path, {**whole, "model.diffusion_model.y.weight_scale": torch.ones(1)})
    )
    assert "shape (2, 3)" in refused(state(tiny, tmp_path, {**whole, f"{name}.weight_scale": torch.ones(2, 3)}))
    rows = len(whole[f"{name}.weight"])
    assert f"shape (1, {rows})" in refused(
        state(tiny, tmp_path, {**whole, f"{name}.weight_scale": torch.ones(1, rows)})
    )


def test_old_names_of_a_text_encoder_are_read(tiny: Path, tmp_path: Path) -> None:
    tensors = {
        name.replace(".transformer.text_model.", ".transformer."): one
        for name, one in load_file(tiny / "model.safetensors").items()
    }
    assert torch.equal(draw(state(tiny, tmp_path, tensors)), draw(tiny / "model.safetensors"))


YAML = 'model:\n  params:\n    parameterization: "{}"\n'
XL_YAML = "model:\n  params:\n    denoiser_config: {{params: {{scaling_config: {{target: sgm.modules.{}}}}}}}\n"


@pytest.mark.parametrize(
    ("yaml", "header", "prediction"),
    [
        (YAML.format("v"), {}, "v_prediction"),
        (YAML.format("eps"), {}, "epsilon"),
        (XL_YAML.format("VScaling"), {}, "v_prediction"),
        ("model: {params: {}}", {}, "epsilon"),
        (None, {"modelspec.prediction_type": "v"}, "v_prediction"),
        (YAML.format("eps"), {"modelspec.prediction_type": "v_prediction"}, "v_prediction"),
    ],
)
def test_a_file_may_state_its_prediction(
    tiny: Path, tmp_path: Path, yaml: str | None, header: dict[str, str], prediction: str
) -> None:
    file = state(tiny, tmp_path, load_file(tiny / "model.safetensors"), header)
    if yaml is not None:
        file.with_suffix(".yaml").write_text(yaml)
    assert editkit.load_model(file).prediction == prediction
    assert editkit.load_model(file, prediction="sample").prediction == "sample"


@pytest.mark.parametrize(
    "yaml", ["[]", "a: *b", "model: 3", "\x00", YAML.format("noise"), "model: {params: {a: [" + "[" * 9999]
)
def test_a_configuration_that_is_none_is_named(tiny: Path, tmp_path: Path, yaml: str) -> None:
    file = state(tiny, tmp_path, load_file(tiny / "model.safetensors"))
    file.with_suffix(".yaml").write_text(yaml)
    assert "stated.yaml" in refused(file)


def test_an_unknown_prediction_in_the_header_is_named(tiny: Path, tmp_path: Path) -> None:
    file = state(tiny, tmp_path, load_file(tiny / "model.safetensors"), {"modelspec.prediction_type": "noise"})
    assert "prediction 'noise'" in refused(file)


def test_a_file_without_an_autoencoder_takes_another_one(tiny: Path, tmp_path: Path) -> None:
    whole = load_file(tiny / "model.safetensors")
    file = state(tiny, tmp_path, {name: one for name, one in whole.items() if not name.startswith("first_stage")})
    assert "holds no autoencoder (VAE)" in refused(file)
    separate = {name.removeprefix("first_stage_model."): one for name, one in whole.items() if "first_stage" in name}
    vae = write(separate, tmp_path / "vae.safetensors")
    drawn = editkit.apply("generate", model=str(file), prompt="a pear", steps=2, seed=0, vae=vae)
    assert drawn.report.warnings == ()
    plain = editkit.apply("generate", model=str(tiny / "model.safetensors"), prompt="a pear", steps=2, seed=0)
    assert drawn.image.tobytes() == plain.image.tobytes()
    write({**separate, "decoder.more.weight": torch.ones(1), "loss.logvar": torch.ones(1)}, vae)
    drawn = editkit.apply("generate", model=str(file), prompt="a pear", steps=2, seed=0, vae=vae)
    assert "vae.safetensors holds 1 weights of its autoencoder" in drawn.report.warnings[0]


def test_an_autoencoder_in_the_names_of_diffusers_that_lacks_a_tensor_is_refused_with_its_name(tmp_path: Path) -> None:
    folder = stable_diffusion_folder(tmp_path / "model")
    whole = weights_of(folder, "vae")
    vae = write(
        {name: one for name, one in whole.items() if name != "decoder.conv_out.bias"}, tmp_path / "v.safetensors"
    )
    with pytest.raises(WeightsUnavailable, match=r"lacks weights of its vae: decoder\.conv_out\.bias;"):
        editkit.load_model(folder, vae=vae)


def test_a_configuration_in_place_of_a_model_names_its_folder(tiny: Path) -> None:
    assert refused(tiny / "model" / "model_index.json").endswith(
        f"give the folder that it is in, {str(tiny / 'model')!r}"
    )
