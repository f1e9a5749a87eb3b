"""Model folders as people have them: variants, parts that are not needed, and damaged configurations."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

import editkit
from editkit import BackendSpec, InvalidParameter, WeightsUnavailable, hookimpl
from editkit.model.finding import family_of
from editkit.model.options import LoadingOptions
from editkit.registry.registry import PluginSource, Registry
from editkit.testing.suite import sample_image
from editkit.testing.tiny import (
    chroma_folder,
    dit_folder,
    flux_folder,
    pixart_folder,
    pixel_ddpm_folder,
    stable_diffusion_3_folder,
    stable_diffusion_folder,
    stable_diffusion_xl_folder,
)


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may change."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def edit_json(file: Path, **entries: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def refused(folder: Path) -> str:
    with pytest.raises(WeightsUnavailable) as error:
        draw(folder)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
    return str(error.value)


def draw(folder: Path) -> torch.Tensor:
    latents: torch.Tensor = editkit.apply(
        "generate", model=editkit.load_model(folder), prompt="a red apple", steps=2, seed=0
    ).latents
    return latents


def rename_variant(folder: Path, variant: str) -> None:
    for file in list(folder.rglob("*.safetensors")):
        file.rename(file.with_name(file.name.replace(".safetensors", f".{variant}.safetensors")))


def test_a_folder_with_one_variant_alone_loads(folder: Path, tiny_folder: Path) -> None:
    rename_variant(folder, "fp16")
    assert torch.equal(draw(folder), draw(tiny_folder))


def test_parts_that_are_not_needed_are_ignored(folder: Path, tiny_folder: Path) -> None:
    index = {"feature_extractor": ["transformers", "CLIPImageProcessor"], "image_encoder": ["mine", "Encoder"]}
    edit_json(folder / "model_index.json", _class_name="StableDiffusionControlNetPipeline", **index)
    assert torch.equal(draw(folder), draw(tiny_folder))


FOREIGN = [
    *("module", "os", "kolors.text_encoder", "Kolors", "../kolors", "/kolors", "kolors/", " kolors", "pipelines", ".."),
    *("pipeline_utils", "__pycache__", "editkit_emoji", ["kolors"], 3),
]


@pytest.mark.parametrize("library", FOREIGN)
def test_modules_that_are_not_in_diffusers_are_refused_and_never_run(folder: Path, library: Any) -> None:
    for name in ("module", "kolors"):
        for place in (folder, folder / "unet"):
            (place / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    edit_json(folder / "model_index.json", unet=[library, "UNet2DConditionModel"])
    assert "unet needs code from" in refused(folder)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("library", ["kolors", "ideogram4", "stable_diffusion"])
def test_packages_of_pipelines_in_diffusers_are_its_own_code(folder: Path, tiny_folder: Path, library: str) -> None:
    (folder / "unet" / f"{library}.py").write_text("raise RuntimeError")
    edit_json(folder / "model_index.json", unet=[library, "UNet2DConditionModel"])
    assert torch.equal(draw(folder), draw(tiny_folder))


@pytest.mark.parametrize("name", [["module", "Pipeline"], None, 3, {}])
def test_an_index_without_a_known_pipeline_is_refused(folder: Path, name: object) -> None:
    edit_json(folder / "model_index.json", _class_name=name)
    assert "pipeline" in refused(folder)


@pytest.mark.parametrize(
    "file",
    [
        "model_index.json",
        "unet/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "scheduler/scheduler_config.json",
    ],
)
def test_a_damaged_configuration_is_named(folder: Path, file: str) -> None:
    for content in ("[]", "null", "{", "[" * 100_000, '{"a":' * 100_000, "\xff"):
        (folder / file).write_text(content, encoding="latin-1")
        assert file in refused(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.parametrize("file", ["model_index.json", "unet/config.json", "tokenizer/tokenizer.json"])
def test_a_pipe_in_place_of_a_file_does_not_block(folder: Path, file: str) -> None:
    (folder / file).unlink()
    os.mkfifo(folder / file)
    assert file in refused(folder)


VALUES: list[tuple[str, dict[str, Any]]] = [
    ("unet/config.json", {"sample_size": "64"}),
    ("unet/config.json", {"sample_size": 0}),
    ("unet/config.json", {"sample_size": [-8, 8]}),
    ("unet/config.json", {"layers_per_block": 10**6}),
    ("unet/config.json", {"norm_eps": "1e-5"}),
    ("unet/config.json", {"flip_sin_to_cos": "false"}),
    ("vae/config.json", {"use_quant_conv": "no"}),
    ("text_encoder/config.json", {"num_hidden_layers": 10**6}),
    ("vae/config.json", {"scaling_factor": 0}),
    ("vae/config.json", {"scaling_factor": "0.18"}),
    ("vae/config.json", {"scaling_factor": None}),
    ("vae/config.json", {"latents_mean": [0.0]}),
    ("text_encoder/config.json", {"num_hidden_layers": -1}),
    ("tokenizer/tokenizer_config.json", {"model_max_length": 2}),
    ("scheduler/scheduler_config.json", {"rescale_betas_zero_snr": "yes"}),
    ("scheduler/scheduler_config.json", {"beta_start": 0.9, "beta_end": 0.9}),
    ("vae/config.json", {"latents_mean": ["0"]}),
    ("vae/config.json", {"_class_name": ["AutoencoderKL"]}),
    ("scheduler/scheduler_config.json", {"num_train_timesteps": "1000"}),
    ("scheduler/scheduler_config.json", {"num_train_timesteps": -5}),
    ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**9}),
    ("scheduler/scheduler_config.json", {"beta_start": "0.1"}),
    ("scheduler/scheduler_config.json", {"trained_betas": [0.1, "b"]}),
    ("scheduler/scheduler_config.json", {"timestep_spacing": ["leading"]}),
    ("scheduler/scheduler_config.json", {"prediction_type": {}}),
    ("scheduler/scheduler_config.json", {"_class_name": "MyScheduler"}),
    ("scheduler/scheduler_config.json", {"_class_name": ["DDIMScheduler"]}),
    ("transformer/config.json", {"quantization_config": {"quant_method": "bitsandbytes"}}),
]


@pytest.mark.parametrize(("file", "entries"), VALUES, ids=[f"{file} {entries}" for file, entries in VALUES])
def test_a_value_of_a_configuration_that_cannot_be_meant_is_named(
    folder: Path, file: str, entries: dict[str, Any]
) -> None:
    if file.startswith("transformer"):
        shutil.rmtree(folder)
        flux_folder(folder)
    edit_json(folder / file, **entries)
    name = next(iter(entries)) if "_class_name" not in entries else "AutoencoderKL" if "vae" in file else "Scheduler"
    message = refused(folder)
    assert name in message or "quantised" in message or "betas" in message


def test_a_tokenizer_of_another_model_is_refused(folder: Path) -> None:
    (file,) = (folder / "text_encoder").glob("*.safetensors")
    table = "embeddings.token_embedding.weight"
    tensors = {name: one[:6] if name.endswith(table) else one for name, one in load_file(file).items()}
    save_file({name: one.contiguous() for name, one in tensors.items()}, file, metadata={"format": "pt"})
    edit_json(folder / "text_encoder/config.json", vocab_size=6)
    assert "the token" in refused(folder)


@pytest.mark.parametrize(("own", "indexed"), [("CLIPTokenizer", None), ("TokenizersBackend", "GPT2Tokenizer")])
def test_the_class_of_a_tokenizer_is_that_of_the_index(folder: Path, own: str, indexed: str | None) -> None:
    """As in diffusers, whatever class the files of the tokenizer name."""
    edit_json(folder / "tokenizer/tokenizer_config.json", tokenizer_class=own)
    if indexed is not None:
        edit_json(folder / "model_index.json", tokenizer=["transformers", indexed])
    words = DiffusionPipeline.from_pretrained(folder).tokenizer("a red apple", padding="max_length", truncation=True)
    tokens = editkit.load_model(folder, device="cpu").texts["text_encoder"].tokens(["a red apple"])  # type: ignore[attr-defined]
    assert tokens.input_ids[0].tolist() == words.input_ids


@pytest.mark.parametrize("length", [None, 10**30, 0, "8"])
def test_a_prompt_has_as_many_tokens_as_the_encoder_has_positions(
    folder: Path, tiny_folder: Path, length: object
) -> None:
    edit_json(folder / "tokenizer/tokenizer_config.json", model_max_length=length)
    assert torch.equal(draw(folder), draw(tiny_folder))


def test_a_pointer_of_git_lfs_is_named(folder: Path, tiny_folder: Path) -> None:
    (file,) = (folder / "unet").glob("*.safetensors")
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 3438167536\n")
    assert "git lfs pull" in refused(folder)
    image, file = folder.parent / "a.png", file.rename(folder.parent / "a.safetensors")
    sample_image((16, 16)).save(image)
    style, controlnet = f"style:image={image},model={file}", f"controlnet:kind=edge,weights={file}"
    for place in ({"model": file}, {"adapters": [file]}, {"attach": [controlnet]}, {"attach": [style]}):
        with pytest.raises(WeightsUnavailable, match="git lfs pull"):
            editkit.apply("img2img", image, **{"model": tiny_folder, "prompt": "x", **place})


DTYPES = [
    (torch.float16, torch.float16),
    ("half", torch.float16),
    ("bf16", torch.bfloat16),
    ("torch.float64", torch.float64),
]


@pytest.mark.parametrize(("dtype", "expected"), DTYPES)
def test_a_dtype_has_the_names_that_torch_and_diffusers_use(tiny_folder: Path, dtype: Any, expected: Any) -> None:
    assert editkit.load_model(tiny_folder, device="cpu", dtype=dtype).dtype is expected


def test_the_automatic_dtype_is_that_of_the_weights(folder: Path) -> None:
    assert editkit.load_model(folder, dtype="auto").dtype is torch.float32
    for file in folder.glob("*/*.safetensors"):
        save_file({name: one.half() for name, one in load_file(file).items()}, file, metadata={"format": "pt"})
    assert editkit.load_model(folder, dtype="auto").dtype is torch.float16


@pytest.mark.parametrize("dtype", ["float15", torch.int8, 5, ["float32"], b"float32"])
def test_another_dtype_is_refused(tiny_folder: Path, dtype: Any) -> None:
    with pytest.raises(InvalidParameter, match="dtype"):
        editkit.load_model(tiny_folder, dtype=dtype)


@pytest.mark.parametrize("device", ["meta", "nowhere", 0.5, [], "cuda:99"])
def test_another_device_is_refused(tiny_folder: Path, device: Any) -> None:
    with pytest.raises(InvalidParameter, match="device"):
        editkit.load_model(tiny_folder, device=device)


def test_loading_prints_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "unet/diffusion_pytorch_model.safetensors").write_bytes(b"\0" * 64)
    refused(folder)
    assert capfd.readouterr() == ("", "")


def test_parts_of_different_models_are_refused(folder: Path, tmp_path: Path) -> None:
    other = stable_diffusion_3_folder(tmp_path / "other")
    with pytest.raises(WeightsUnavailable, match="4 input channels and the autoencoder 16"):
        editkit.load_model(folder, vae=other)
    shutil.rmtree(folder / "text_encoder")
    shutil.copytree(stable_diffusion_xl_folder(tmp_path / "xl") / "text_encoder_2", folder / "text_encoder")
    assert "text_encoder" in refused(folder) or "values of the text" in refused(folder)
    edit_json(tmp_path / "xl/model_index.json", text_encoder_2=[None, None])
    assert "48 values of the text, which gives 16" in refused(tmp_path / "xl")
    shutil.copy(tmp_path / "other/model_index.json", folder)
    assert "not whole" in refused(folder)


def test_an_autoencoder_of_another_scale_is_warned_of(folder: Path, tmp_path: Path) -> None:
    vae = stable_diffusion_xl_folder(tmp_path / "xl") / "vae"
    (warning,) = editkit.load_model(folder, vae=vae).warnings  # type: ignore[attr-defined]
    assert "scaling_factor 0.13025 and the model's own 0.18215" in warning
    assert editkit.load_model(folder, vae=folder).warnings == ()  # type: ignore[attr-defined]


def test_scaled_weights_in_a_folder_and_parts_of_another_class_are_refused(folder: Path) -> None:
    (file,) = (folder / "unet").glob("*.safetensors")
    save_file({**load_file(file), "conv_in.scale_weight": torch.ones(1)}, file, metadata={"format": "pt"})
    assert "conv_in.scale_weight" in refused(folder)
    edit_json(folder / "unet/config.json", _class_name="UNetMotionModel")
    assert "is a UNetMotionModel and no UNet2DConditionModel" in refused(folder)


def test_weights_without_a_place_are_warned_of_and_of_other_types_refused(folder: Path, tiny_folder: Path) -> None:
    (file,) = (folder / "vae").glob("*.safetensors")
    save_file({**load_file(file), "decoder.moon": torch.ones(1)}, file, metadata={"format": "pt"})
    edit_json(folder / "text_encoder/config.json", num_hidden_layers=0)
    unused = editkit.load_model(folder).warnings  # type: ignore[attr-defined]
    assert [("vae" in text, "1 weights" in text) for text in unused] == [(True, True), (False, False)]
    assert "decoder.moon" in unused[0] and "encoder.layers.0" in unused[1]
    weights = load_file(file)
    weights["decoder.conv_in.weight"] = weights["decoder.conv_in.weight"].to(torch.int8)
    save_file(weights, file, metadata={"format": "pt"})
    assert "holds I8 in decoder.conv_in.weight" in refused(folder)


def test_a_linked_part_counts_in_the_identity(folder: Path, tiny_folder: Path) -> None:
    shared = Path(shutil.move(folder / "vae", folder.parent / "shared"))
    (folder / "vae").symlink_to(shared)
    (folder / "above").symlink_to(folder)
    assert torch.equal(draw(folder), draw(tiny_folder))
    before = editkit.load_model(folder).identity
    edit_json(shared / "config.json", scaling_factor=0.2)
    assert editkit.load_model(folder).identity != before


def test_a_misnamed_or_absent_file_is_named_with_what_to_do(folder: Path) -> None:
    edit_json(folder / "text_encoder/config.json", vocab_size=40)
    assert "mismatched weights: embeddings.token_embedding.weight" in refused(folder)
    (file,) = (folder / "unet").glob("*.safetensors")
    file.rename(file.with_name("unet.safetensors"))
    assert "the name unet.safetensors: rename them" in refused(folder)
    file.with_name("unet.safetensors").rename(file)
    shutil.rmtree(folder / "tokenizer")
    edit_json(folder / "model_index.json", tokenizer=[None, None])
    edit_json(folder / "text_encoder/config.json", vocab_size=15)
    assert "tokenizer is missing" in refused(folder)


def test_a_model_near_a_given_folder_is_named(folder: Path) -> None:
    assert f"give the folder above it, {folder}" in refused(folder / "unet")
    assert f"such as {folder}" in refused(folder.parent)
    single = Path(shutil.move(folder / "unet/diffusion_pytorch_model.safetensors", folder.parent / "one.safetensors"))
    shutil.rmtree(folder)
    assert f"such as {single}" in refused(folder.parent)
    assert "ends in .sft: rename it to 'one.safetensors'" in refused(single.rename(single.with_suffix(".sft")))


def test_an_address_or_an_empty_name_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsUnavailable, match="give its hub id 'org/name'"):
        editkit.load_model("https://huggingface.co/org/name/tree/main")
    with pytest.raises(WeightsUnavailable, match="model '' is neither"):
        editkit.load_model("")


def test_values_that_a_family_cannot_mean_are_refused_at_once(tmp_path: Path) -> None:
    flux = flux_folder(tmp_path / "flux")
    edit_json(flux / "transformer/config.json", axes_dims_rope=[2, 2, 2])
    assert "takes 8 values of the positions" in refused(flux) and "which gives 6" in refused(flux)
    xl = stable_diffusion_xl_folder(tmp_path / "xl")
    edit_json(xl / "model_index.json", force_zeros_for_empty_prompt="false")
    assert "force_zeros_for_empty_prompt='false' is neither true nor false" in refused(xl)


@pytest.mark.parametrize("make", [dit_folder, pixart_folder, pixel_ddpm_folder, chroma_folder])
def test_every_family_warns_of_weights_without_a_place(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    folder = make(tmp_path / "model")
    (file,) = next(one for one in (folder / "transformer", folder / "unet") if one.is_dir()).glob("*.safetensors")
    save_file({**load_file(file), "moon.weight": torch.ones(1)}, file, metadata={"format": "pt"})
    (warning,) = editkit.load_model(folder).warnings  # type: ignore[attr-defined]
    assert "moon.weight" in warning


@pytest.mark.parametrize("change", [{"class_embed_type": "identity"}, {"num_class_embeds": 3}])
def test_a_network_that_reads_a_class_is_refused_at_once(folder: Path, change: dict[str, Any]) -> None:
    from diffusers import UNet2DConditionModel

    config = json.loads((folder / "unet/config.json").read_text())
    UNet2DConditionModel.from_config({**config, **change}).save_pretrained(folder / "unet")
    assert "reads a class beside the text" in refused(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"encoder_hid_dim": 16, "encoder_hid_dim_type": "image_proj"},
        {"addition_embed_type": "text_image"},
        {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 64,
        },
    ],
)
def test_a_network_that_reads_more_than_its_family_gives_is_refused_at_once(
    folder: Path, change: dict[str, Any]
) -> None:
    from diffusers import UNet2DConditionModel

    config = json.loads((folder / "unet/config.json").read_text())
    UNet2DConditionModel.from_config({**config, **change}).save_pretrained(folder / "unet")
    assert "its folder names a pipeline of another family" in refused(folder)


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (flux_folder, {"out_channels": 32}),
        (flux_folder, {"patch_size": 2}),
        (stable_diffusion_3_folder, {"out_channels": 8}),
    ],
)
def test_a_transformer_that_estimates_other_channels_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], Path], change: dict[str, Any]
) -> None:
    import diffusers

    folder = make(tmp_path / "model")
    config = json.loads((folder / "transformer/config.json").read_text())
    getattr(diffusers, config["_class_name"]).from_config({**config, **change}).save_pretrained(folder / "transformer")
    with pytest.raises(WeightsUnavailable, match="transformer"):
        editkit.load_model(folder)


@pytest.mark.parametrize(
    ("tiny", "change"),
    [
        (False, {"in_channels": 4}),
        (False, {"out_channels": 1}),
        (True, {"upsampling_scaling_factor": 4}),
        (True, {"num_decoder_blocks": [1, 1, 1], "decoder_block_out_channels": [8, 8, 8]}),
    ],
)
def test_an_autoencoder_of_other_images_or_whose_halves_do_not_fit_is_refused(
    folder: Path, tmp_path: Path, tiny: bool, change: dict[str, Any]
) -> None:
    import diffusers

    source = stable_diffusion_folder(tmp_path / "tiny", tiny_autoencoder=True) if tiny else folder
    config = json.loads((source / "vae/config.json").read_text())
    shutil.rmtree(folder / "vae")
    getattr(diffusers, config["_class_name"]).from_config({**config, **change}).save_pretrained(folder / "vae")
    assert "the autoencoder" in refused(folder)


def test_an_autoencoder_without_a_class_is_that_of_stable_diffusion(folder: Path, tiny_folder: Path) -> None:
    config = json.loads((folder / "vae/config.json").read_text())
    del config["_class_name"]
    (folder / "vae/config.json").write_text(json.dumps(config))
    assert torch.equal(draw(folder), draw(tiny_folder))


@pytest.mark.parametrize(
    ("entries", "part"),
    [
        ({"transformers_weights": "other.safetensors"}, "text_encoder"),
        ({"_attn_implementation": "kernels-community/flash-attn"}, "text_encoder"),
        ({"text_config": {"attn_implementation": "flash_attention_2"}}, "text_encoder"),
    ],
)
def test_a_configuration_that_names_other_weights_or_code_is_refused(
    folder: Path, entries: dict[str, Any], part: str
) -> None:
    edit_json(folder / part / "config.json", **entries)
    assert "is not supported: remove it from the file" in refused(folder)


def test_an_adapter_beside_the_weights_of_a_part_is_refused(folder: Path) -> None:
    (folder / "text_encoder/adapter_config.json").write_text("{}")
    assert "adapter_config.json): move it" in refused(folder)


@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae"])
def test_zeros_at_the_end_of_the_weights_are_warned_of(folder: Path, part: str) -> None:
    """A download that ended early in a file of full size leaves zeros."""
    (file,) = (folder / part).glob("*.safetensors")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    (warning,) = editkit.load_model(folder).warnings  # type: ignore[attr-defined]
    assert part in warning and "weights are zero" in warning


def test_a_model_that_changes_between_two_edits_is_loaded_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is one whose name means another folder, by a link or by the current folder."""

    def named(name: str | Path, **options: Any) -> torch.Tensor:
        latents: torch.Tensor = editkit.apply(
            "generate", model=str(name), prompt="a red apple", steps=2, seed=0, **options
        ).latents
        return latents

    def scale(file: Path) -> None:
        times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
        save_file({name: 1.3 * one for name, one in load_file(file).items()}, file, metadata={"format": "pt"})
        os.utime(file, ns=times)

    adapter = tmp_path / "style.safetensors"
    layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    pair = {f"{layer}.lora_up.weight": torch.ones(16, 2), f"{layer}.lora_down.weight": torch.ones(2, 16)}
    save_file(pair, adapter)
    first, styled = named(folder), named(folder, adapters=[f"{adapter}:0.5"])
    scale(adapter)
    assert not torch.equal(named(folder, adapters=[f"{adapter}:0.5"]), styled)
    other = Path(shutil.copytree(folder, tmp_path / "other" / "model"))
    scale(other / "unet/diffusion_pytorch_model.safetensors")
    results = []
    for place in (folder.parent, other.parent):
        monkeypatch.chdir(place)
        results.append(named("model"))
    assert torch.equal(results[0], first) and not torch.equal(results[1], first)
    scale(folder / "unet/diffusion_pytorch_model.safetensors")
    assert torch.equal(named(folder), results[1])
    shutil.rmtree(folder)
    with pytest.raises(WeightsUnavailable):
        named(folder)


@pytest.mark.model
@pytest.mark.parametrize("name", ["emoji", "emoji-instruct", "emoji-upscaler"])
def test_a_bundled_model_loads_without_a_warning(name: str) -> None:
    assert editkit.load_model(name).warnings == ()  # type: ignore[attr-defined]


class HomePlugin:
    """A plugin with a family of its own."""

    @hookimpl
    def register_backends(self) -> list[BackendSpec]:
        return [
            BackendSpec(name="home", summary="Home.", load=lambda: None, pipelines=frozenset({"HomePipeline"})),
            BackendSpec(name="any", summary="Any.", load=lambda: None, last_resort=True),
        ]


@pytest.mark.parametrize(
    ("library", "kind", "allowed"),
    [
        ("editkit_home", "HomePipeline", True),
        ("editkit_home.networks", "HomePipeline", True),
        ("editkit_homes", "HomePipeline", False),
        ("../editkit_home", "HomePipeline", False),
        ("editkit_home", "OtherPipeline", False),
    ],
)
def test_code_of_the_plugin_of_a_family_is_not_foreign(folder: Path, library: str, kind: str, allowed: bool) -> None:
    registry = Registry()
    registry.add(PluginSource("home", "editkit_home.plugin", "editkit-home", "1.0"), HomePlugin())
    edit_json(folder / "model_index.json", _class_name=kind, unet=[library, "HomeUnet"])
    with contextlib.nullcontext() if allowed else pytest.raises(WeightsUnavailable, match="unet needs code from"):
        family_of(registry, folder, LoadingOptions())
