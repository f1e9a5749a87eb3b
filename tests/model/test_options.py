"""Loading options mean what they mean in diffusers, are part of a model's identity, and a replay uses them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from editkit_diffusers.autoencoder import OVERFLOW
from safetensors.torch import load_file, save_file
from torch import Tensor

import editkit
from editkit import InvalidParameter, LoadingOptions, MissingCapability, WeightsUnavailable
from editkit.cli import main
from editkit.model.placement import default_dtype
from editkit.testing.tiny import (
    flux_folder,
    pixel_ddpm_folder,
    stable_diffusion_3_folder,
    stable_diffusion_folder,
    stable_diffusion_xl_folder,
)

CALL: dict[str, Any] = {"prompt": "a red apple", "steps": 3, "seed": 0}
TOLERANCE = 1e-4
"""Of latents, whose values reach 40."""


def draw(folder: Path, guidance: float = 1.0, **options: Any) -> Tensor:
    latents: Tensor = editkit.apply("generate", model=str(folder), guidance=guidance, **CALL, **options).latents
    return latents


def theirs(folder: Path, change: Any = None, guidance: float = 1.0, size: int | None = None, **call: Any) -> Tensor:
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    if change:
        change(pipeline)
    noise = torch.Generator().manual_seed(0)
    side = {} if size is None else {"width": size, "height": size}
    latents: Tensor = pipeline(
        CALL["prompt"],
        num_inference_steps=CALL["steps"],
        guidance_scale=guidance,
        generator=noise,
        output_type="latent",
        **side,
        **call,
    ).images
    return latents


def test_a_prediction_replaces_that_of_the_scheduler(tiny_folder: Path) -> None:
    def change(pipeline: Any) -> None:
        pipeline.scheduler.register_to_config(prediction_type="v_prediction")

    drawn = draw(tiny_folder, prediction="v_prediction")
    assert (drawn - theirs(tiny_folder, change)).abs().max() < TOLERANCE
    assert (drawn - draw(tiny_folder)).abs().max() > 1


@pytest.mark.slow
@pytest.mark.parametrize("family", [stable_diffusion_folder, stable_diffusion_xl_folder, stable_diffusion_3_folder])
def test_skipped_layers_are_those_that_diffusers_skips(tmp_path: Path, family: Any) -> None:
    folder = family(tmp_path / "model")
    size = 16 if family is stable_diffusion_3_folder else None
    drawn = draw(folder, clip_skip=1)

    def change(pipeline: Any) -> None:  # diffusers 0.42 looks for a module that transformers 5.6 removed
        object.__setattr__(pipeline.text_encoder, "text_model", pipeline.text_encoder)

    wrap = change if family is stable_diffusion_folder else None
    assert (drawn - theirs(folder, wrap, clip_skip=1, size=size)).abs().max() < TOLERANCE
    assert (drawn - draw(folder)).abs().max() > 1e-3
    with pytest.raises(InvalidParameter, match="clip_skip=50"):
        editkit.load_model(folder, clip_skip=50)


@pytest.mark.slow
def test_another_autoencoder_is_read_from_its_folder_or_a_file(tiny_folder: Path, tmp_path: Path) -> None:
    other = stable_diffusion_folder(tmp_path / "other", seed=5)
    models: list[Any] = [
        editkit.load_model(tiny_folder, vae=place)
        for place in (other, other / "vae", other / "vae" / "diffusion_pytorch_model.safetensors")
    ]
    pixels = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = editkit.load_model(other).encode(pixels)
    for model in models:
        assert torch.equal(model.encode(pixels), expected)
    assert models[0].identity == models[1].identity != editkit.load_model(tiny_folder).identity


@pytest.mark.slow
def test_a_variant_is_read_and_is_another_model_only_where_it_has_other_weights(
    tiny_folder: Path, tmp_path: Path
) -> None:
    both = Path(shutil.copytree(tiny_folder, tmp_path / "both"))
    for file in list(both.glob("*/*.safetensors")):
        halves = {name: one.half() for name, one in load_file(file).items()}
        save_file(halves, file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")), {"format": "pt"})
    only = Path(shutil.copytree(both, tmp_path / "only"))
    for file in only.glob("*/*.safetensors"):
        if "fp16" not in file.name:
            file.unlink()
    assert torch.equal(draw(both, variant="fp16"), draw(only))
    assert not torch.equal(draw(both), draw(only))
    identities = [editkit.load_model(both, **more).identity for more in ({}, {"variant": "fp16"})]  # type: ignore[arg-type]
    assert identities[0] != identities[1]
    assert editkit.load_model(only, variant="fp16").identity == editkit.load_model(only).identity
    with pytest.raises(WeightsUnavailable, match="no weights of the variant 'bf16'; its variants: fp16"):
        editkit.load_model(both, variant="bf16")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"prediction": "noise"}, "prediction='noise' is not allowed"),
    ({"prediction": "flow"}, "prediction='flow' is not allowed"),
    ({"clip_skip": -1}, "clip_skip=-1"),
    ({"clip_skip": True}, "clip_skip=True"),
    ({"clip_skip": "1"}, "clip_skip='1'"),
    ({"variant": "../x"}, "variant='../x'"),
    ({"variant": 3}, "variant=3"),
    ({"revision": "main"}, "is no hub id"),
    ({"revision": ["main"]}, "revision="),
    ({"vae": 5}, "vae=5"),
    ({"vae": ""}, "vae=''"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_a_value_that_is_not_allowed_is_refused_by_name(tiny_folder: Path, options: Any, message: str) -> None:
    with pytest.raises(InvalidParameter) as error:
        editkit.load_model(tiny_folder, **options)
    assert message in str(error.value)


def test_an_option_that_a_family_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingCapability, match=r"clip_skip needs a model that supports it.*flux"):
        editkit.load_model(flux_folder(tmp_path / "flux"), clip_skip=1)
    with pytest.raises(MissingCapability, match=r"vae needs a model that supports it.*pixel-ddpm"):
        editkit.load_model(pixel_ddpm_folder(tmp_path / "ddpm"), vae=tmp_path)
    with pytest.raises(InvalidParameter, match="rectified flow"):
        editkit.load_model(tmp_path / "flux", prediction="epsilon")
    editkit.load_model(tmp_path / "flux", prediction="flow")


@pytest.mark.parametrize("missing", ["nowhere", "empty", "model.ckpt", "text.safetensors"])
def test_an_autoencoder_that_is_none_is_refused(tiny_folder: Path, tmp_path: Path, missing: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.ckpt").write_bytes(b"x")
    (tmp_path / "text.safetensors").write_bytes(b"x")
    with pytest.raises(WeightsUnavailable, match=missing):
        editkit.load_model(tiny_folder, vae=tmp_path / missing)


@pytest.mark.parametrize("kind", ["AsymmetricAutoencoderKL", "ConsistencyDecoderVAE", "AutoencoderDC"])
def test_an_autoencoder_of_another_class_is_refused_with_the_ones_to_give(
    tiny_folder: Path, tmp_path: Path, kind: str
) -> None:
    other = Path(shutil.copytree(tiny_folder / "vae", tmp_path / "vae"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "_class_name": kind}))
    with pytest.raises(WeightsUnavailable, match=f"of the class {kind}, which is not supported.*; give an autoencoder"):
        editkit.load_model(tiny_folder, vae=other)


def test_a_file_of_another_autoencoder_is_refused_as_the_vae(tiny_folder: Path, tmp_path: Path) -> None:
    tensors = load_file(tiny_folder / "vae" / "diffusion_pytorch_model.safetensors")
    less = {name: one for name, one in tensors.items() if name != "encoder.conv_in.weight"}
    wider = {**tensors, "encoder.conv_in.weight": torch.zeros(3, 3, 3, 3)}
    for number, changed in enumerate((less, wider)):
        save_file(changed, tmp_path / f"{number}.safetensors")
        with pytest.raises(WeightsUnavailable, match=rf"vae .*{number}\.safetensors. does not fit .* give one"):
            editkit.load_model(tiny_folder, vae=tmp_path / f"{number}.safetensors")


def test_a_loaded_model_takes_no_options(tiny_model: Any) -> None:
    with pytest.raises(InvalidParameter, match="clip_skip goes with a model's name"):
        editkit.apply("generate", model=tiny_model, clip_skip=1, **CALL)


@pytest.mark.slow
def test_a_replay_uses_the_options_of_the_recipe(tiny_folder: Path, tmp_path: Path) -> None:
    other = stable_diffusion_folder(tmp_path / "other", seed=5) / "vae"
    options: dict[str, Any] = {"prediction": "v_prediction", "clip_skip": 1}
    created = editkit.apply("generate", model=str(tiny_folder), **CALL, **options)
    created.save(tmp_path / "made.png")
    again = editkit.replay(tmp_path / "made.png", model=str(tiny_folder))
    assert again.report.warnings == () and again.image.tobytes() == created.image.tobytes()
    assert editkit.replay(tmp_path / "made.png", model=str(tiny_folder), clip_skip=0).report.warnings
    editkit.apply("generate", model=str(tiny_folder), vae=other, **CALL).save(tmp_path / "vae.png")
    assert str(tmp_path).encode() not in (tmp_path / "vae.png").read_bytes()
    with pytest.raises(InvalidParameter, match=r"autoencoder 'vae'.*pass it as vae"):
        editkit.replay(tmp_path / "vae.png", model=str(tiny_folder))
    assert editkit.replay(tmp_path / "vae.png", model=str(tiny_folder), vae=other).report.warnings == ()


def test_the_command_line_has_the_same_options(tiny_folder: Path, tmp_path: Path) -> None:
    options = ["-m", str(tiny_folder), "--prediction", "v_prediction", "--clip-skip", "1", "--vae", str(tiny_folder)]
    created = CliRunner().invoke(
        main,
        ["generate", "--prompt", "a red apple", "--steps", "2", "--seed", "0", "-o", str(tmp_path / "a.png"), *options],
    )
    assert created.exit_code == 0, created.output
    model = editkit.load_model(tiny_folder, prediction="v_prediction", clip_skip=1, vae=tiny_folder)
    expected = editkit.apply("generate", model=model, prompt="a red apple", steps=2, seed=0)
    assert np.array_equal(np.asarray(editkit.open_image(tmp_path / "a.png")), np.asarray(expected.image))
    recipe = editkit.open_image(tmp_path / "a.png")
    assert recipe.size == expected.image.size


def test_options_without_values_are_no_options() -> None:
    assert LoadingOptions.of().requested == {} and LoadingOptions.of().combined_identity("x", {}) == "x"


def test_an_autoencoder_that_overflows_continues_in_float32_with_a_warning(tmp_path: Path) -> None:
    folder = stable_diffusion_folder(tmp_path / "model")
    vae = diffusers.AutoencoderKL.from_pretrained(folder / "vae")
    with torch.no_grad():
        vae.decoder.conv_in.weight *= 3e5
        vae.decoder.conv_in.bias *= 3e5
    vae.register_to_config(force_upcast=False)
    vae.save_pretrained(folder / "vae")
    full, half = (
        editkit.apply("generate", model=str(folder), device="cpu", dtype=dtype, **CALL) for dtype in ("float32", "half")
    )
    means = [float(np.asarray(one.image).mean()) for one in (full, half)]
    assert abs(means[0] - means[1]) < 3, "levels of 255"
    assert full.report.warnings == () and half.report.warnings == (OVERFLOW,)


def test_a_part_that_returns_nan_is_named(tiny_folder: Path) -> None:
    for part, name in (("text_encoder", "text encoder"), ("vae", "autoencoder")):
        model: Any = editkit.load_model(tiny_folder)
        net = model.texts["text_encoder"].net if part == "text_encoder" else model.autoencoder.net
        next(net.parameters()).data.fill_(float("nan"))
        with pytest.raises(editkit.EditkitError, match=f"the {name} of the model"):
            editkit.apply("img2img", editkit.open_image(np.zeros((16, 16, 3), np.uint8)), model=model, **CALL)


def test_a_revision_of_a_hub_model_is_found(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = tmp_path / "models--org--name"
    shutil.copytree(tiny_folder, cached / "snapshots" / ("a" * 40))
    (cached / "refs").mkdir()
    (cached / "refs" / "fp16").write_text("a" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    models = [editkit.load_model("org/name@fp16"), editkit.load_model("org/name", revision="fp16")]
    assert [model.name for model in models] == ["org/name@fp16"] * 2
    with pytest.raises(WeightsUnavailable, match="the revision 'other'"):
        editkit.load_model("org/name@other")
    with pytest.raises(InvalidParameter, match="leave one out"):
        editkit.load_model("org/name@fp16", revision="main")


def test_the_options_of_a_step_are_recorded(tiny_folder: Path) -> None:
    created = editkit.apply("generate", model=str(tiny_folder), clip_skip=1, **CALL)
    assert json.loads(created.recipe.model_dump_json())["steps"][0]["drawn_by"]["options"] == {"clip_skip": 1}


def test_a_model_on_a_gpu_has_the_half_precision_of_its_weights(tiny_folder: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    for stored in (torch.float16, torch.bfloat16):
        save_file({"x": torch.zeros(2, dtype=stored)}, weights)
        assert default_dtype(torch.device("cuda"), weights) is stored
        assert default_dtype(torch.device("cpu"), weights) is torch.float32
    assert default_dtype(torch.device("cpu"), tmp_path / "missing") is torch.float32, "nothing is read for the CPU"
    assert editkit.load_model(str(tiny_folder), device="cpu").dtype is torch.float32
