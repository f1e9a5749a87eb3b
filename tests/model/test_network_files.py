"""A network in one file on the other parts of a folder: the folder's model, or an error that names what differs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from editkit_diffusers.network_files.families import FAMILIES as NETWORKS
from editkit_diffusers.network_files.families import describe_tensors
from editkit_diffusers.network_files.reading import read_network
from families.original_names import ORIGINAL_NAMES, flux_network, unchanged, weights_of
from families.tables import FAMILIES
from safetensors.torch import load_file, save_file
from torch import Tensor

import editkit
from editkit import InvalidParameter, WeightsUnavailable
from editkit.cli import main
from editkit.testing.tiny import flux_folder, pixart_folder, stable_diffusion_3_folder

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
READ = [
    *("aura-flow", "chroma", "cogview4", "ernie-image", "flux", "flux-schnell", "flux2", "flux2-klein", "hidream"),
    *("krea2", "longcat-image", "lumina2", "qwen-image", "qwen-image-21", "sana", "stable-diffusion"),
    *("stable-diffusion-3", "stable-diffusion-xl", "z-image"),
]
"""Families of which diffusers reads networks in one file, and two others."""
CALL: dict[str, Any] = {"prompt": "a red apple", "steps": 2, "seed": 0, "width": 16, "height": 16}
Tensors = dict[str, Tensor]


def write(tensors: Tensors, file: Path, header: dict[str, str] | None = None) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file, header)
    return file


def part_of(folder: Path) -> Path:
    return next(place for place in (folder / "transformer", folder / "unet") if place.is_dir())


def kind_of(part: Path) -> Any:
    return getattr(diffusers, json.loads((part / "config.json").read_text())["_class_name"])


def without_network(folder: Path, to: Path) -> Path:
    """A copy of a folder without the weights of its network."""
    shutil.copytree(folder, to)
    for file in part_of(to).glob("*.safetensors"):
        file.unlink()
    return to


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of FLUX.1 without the weights of its transformer; ``flux.safetensors`` beside it has those."""
    place = tmp_path_factory.mktemp("flux")
    folder = without_network(flux_folder(place / "whole"), place / "parts")
    write(dict(flux_network(weights_of(place / "whole", "transformer"))), place / "flux.safetensors")
    return folder


def refused(folder: Path, file: Path, kind: type[Exception] = WeightsUnavailable, **options: Any) -> str:
    with pytest.raises(kind) as raised:
        editkit.load_model(folder, transformer=file, **options)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600
    return str(raised.value)


def assert_equal_weights(one: Any, other: Any) -> None:
    assert one.state_dict().keys() == other.state_dict().keys()
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]) and tensor.dtype == other.state_dict()[name].dtype, name


@pytest.mark.slow
@pytest.mark.parametrize("name", READ)
def test_the_network_of_each_family_is_read_from_a_file(
    name: str, family_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """By the names of diffusers, and by those of its original code where they differ, as diffusers reads them."""
    part = part_of(family_folder(name))
    kind, tensors = kind_of(part), weights_of(part.parent, part.name)
    own = kind.from_pretrained(part)
    file = write({f"model.diffusion_model.{key}": one for key, one in tensors.items()}, tmp_path / "a.safetensors")
    assert_equal_weights(read_network(kind, part, file, torch.float32), own)
    if name in ORIGINAL_NAMES:
        original = dict(ORIGINAL_NAMES[name](tensors))
        read = read_network(kind, part, write(original, tmp_path / "b.safetensors"), torch.float32)
        assert_equal_weights(read, own)
        if kind is not diffusers.FluxTransformer2DModel:  # diffusers reads those of one width
            prefix = "model.diffusion_model." if part.name == "unet" else ""
            named = {f"{prefix}{key}": one for key, one in original.items()}
            assert_equal_weights(read, kind.from_single_file(named, config=str(part)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_precision_is_that_of_a_folder(tmp_path: Path, dtype: torch.dtype) -> None:
    """Krea 2 keeps its normalisation in float32 beside float16, as diffusers does for a folder."""
    net = FAMILIES["krea2"].pipeline().transformer
    net.save_pretrained(tmp_path / "krea2")
    file = write({name: one.to(torch.bfloat16) for name, one in net.state_dict().items()}, tmp_path / "a.safetensors")
    write(load_file(file), next((tmp_path / "krea2").glob("*.safetensors")), {"format": "pt"})
    own = type(net).from_pretrained(tmp_path / "krea2", torch_dtype=dtype)
    assert_equal_weights(read_network(type(net), tmp_path / "krea2", file, dtype), own)


def draw(folder: Path, **options: Any) -> Tensor:
    latents: Tensor = editkit.apply("generate", model=str(folder), **CALL, **options).latents
    return latents


@pytest.mark.slow
def test_a_file_draws_what_its_folder_draws_with_another_identity(flux: Path) -> None:
    file, whole = flux.parent / "flux.safetensors", flux.parent / "whole"
    # Weights of a file lie elsewhere in memory, which changes the last bits of sums.
    assert (draw(flux, transformer=file) - draw(whole)).abs().max() < 1e-4
    assert torch.equal(draw(flux, transformer=whole), draw(flux, transformer=whole / "transformer"))
    models = [editkit.load_model(flux, transformer=place) for place in (file, whole)]
    other = flux_folder(flux.parent / "other", seed=3)
    models.append(editkit.load_model(flux, transformer=other))
    assert len({model.identity for model in models}) == 3
    assert editkit.load_model(flux, transformer=file).identity == models[0].identity


@pytest.mark.slow
def test_an_adapted_family_is_drawn_from_a_file(family_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = family_folder("qwen-image")
    file = write(weights_of(folder, "transformer"), tmp_path / "qwen.safetensors")
    parts = without_network(folder, tmp_path / "parts")
    size = {"width": 64, "height": 64}
    drawn = [
        editkit.apply("generate", model=str(place), **CALL | size, **more).latents
        for place, more in ((folder, {}), (parts, {"transformer": file}))
    ]
    assert (drawn[0] - drawn[1]).abs().max() < 1e-4, "weights of a file lie elsewhere in memory"


@pytest.mark.slow
def test_8_bit_weights_are_read_with_and_without_scales(flux: Path, tmp_path: Path) -> None:
    whole = load_file(flux.parent / "flux.safetensors")
    plain = {name: one.to(torch.float8_e4m3fn) if one.ndim == 2 else one for name, one in whole.items()}
    scaled, meant = dict(whole), {name: one.to(whole[name].dtype) for name, one in plain.items()}
    read = editkit.load_model(flux, transformer=write(plain, tmp_path / "plain.safetensors"))
    expected = editkit.load_model(flux, transformer=write(meant, tmp_path / "meant.safetensors"))
    assert_equal_weights(read.net, expected.net)  # type: ignore[attr-defined]
    for name in [name for name in whole if name.endswith("weight") and whole[name].ndim == 2]:
        scale = whole[name].abs().max() / 448
        scaled[name] = (whole[name] / scale).to(torch.float8_e4m3fn)
        scaled[f"{name.removesuffix('weight')}scale_weight"] = scale
        meant[name] = scaled[name].float() * scale
    for dtype in ("float32", "bfloat16"):
        read, expected = (
            editkit.load_model(flux, transformer=write(tensors, tmp_path / "a.safetensors"), dtype=dtype)
            for tensors in (scaled, meant)
        )
        assert_equal_weights(read.net, expected.net)  # type: ignore[attr-defined]


def test_tensors_that_do_not_fit_are_named(flux: Path, tmp_path: Path) -> None:
    whole, file = load_file(flux.parent / "flux.safetensors"), tmp_path / "a.safetensors"
    missing = {name: one for name, one in whole.items() if name != "txt_in.bias"}
    assert "lacks weights that the configuration" in refused(flux, write(missing, file))
    assert "context_embedder.bias" in refused(flux, file)
    more = {**whole, "single_blocks.7.linear2.bias": torch.ones(1), "__marker__": torch.ones(1)}
    assert "single_transformer_blocks.7.proj_out.bias" in refused(flux, write(more, file))
    assert "__marker__" not in refused(flux, file)
    wide = {**whole, "txt_in.bias": torch.ones(3)}
    assert "context_embedder.bias (3,) for (" in refused(flux, write(wide, file))


def test_a_file_of_another_kind_is_named(flux: Path, tiny_folder: Path, tmp_path: Path) -> None:
    sd3 = weights_of(stable_diffusion_3_folder(tmp_path / "sd3"), "transformer")
    file = tmp_path / "a.safetensors"
    assert "is the network of Stable Diffusion 3, and the model in" in refused(flux, write(sd3, file))
    assert "needs a UNet2DConditionModel" in refused(tiny_folder, file)
    assert "is a LoRA" in refused(flux, write({"x.lora_A.weight": torch.ones(1)}, file))
    assert "is an autoencoder" in refused(flux, tiny_folder / "vae" / "diffusion_pytorch_model.safetensors")
    assert "begins with 'mine'" in refused(flux, write({"mine": torch.ones(1)}, file))
    assert "begins with 'nothing'" in refused(flux, write({}, file))
    file.write_bytes(b"none")
    assert "cannot be read" in refused(flux, file)
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "git lfs pull" in refused(flux, file)
    (tmp_path / "a.ckpt").write_bytes(b"none")
    assert "can run code when loaded" in refused(flux, tmp_path / "a.ckpt")
    assert "neither a folder nor a hub id" in refused(flux, tmp_path / "nowhere.safetensors")
    edm = {**weights_of(tiny_folder, "unet"), "edm_mean": torch.ones(1)}
    assert "noise levels of EDM" in refused(tiny_folder, write(edm, file))


def test_a_configuration_of_a_larger_network_is_refused_at_once(flux: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(flux, tmp_path / "parts"))
    file = folder / "transformer" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "num_layers": 10**9}))
    assert "num_layers=1000000000, and the weights hold" in refused(folder, flux.parent / "flux.safetensors")


def test_a_network_that_states_its_prediction_is_read_so(tiny_folder: Path, tmp_path: Path) -> None:
    tensors = {f"model.diffusion_model.{name}": one for name, one in weights_of(tiny_folder, "unet").items()}
    file = write({**tensors, "v_pred": torch.zeros(0)}, tmp_path / "a.safetensors")
    assert editkit.load_model(tiny_folder, transformer=file).prediction == "v_prediction"
    assert editkit.load_model(tiny_folder, transformer=file, prediction="epsilon").prediction == "epsilon"


def test_a_network_alone_is_no_model_and_the_error_names_its_family(tmp_path: Path, flux: Path) -> None:
    net = FAMILIES["krea2"].pipeline().transformer
    file = write(net.state_dict(), tmp_path / "krea.safetensors")
    with pytest.raises(WeightsUnavailable, match=r"the network of Krea 2, and is no whole model: .*-m.*transformer"):
        editkit.load_model(file)
    with pytest.raises(InvalidParameter, match=r"transformer=.*has no use for a checkpoint file"):
        editkit.load_model(flux.parent / "flux.safetensors", transformer=file)


@pytest.mark.slow
def test_the_network_of_each_family_is_recognised(family_folder: Callable[[str], Path]) -> None:
    for name in set(READ) - {"longcat-image"}:
        part = part_of(family_folder(name))
        tensors = weights_of(part.parent, part.name)
        for names in (tensors, dict(ORIGINAL_NAMES.get(name, unchanged)(tensors))):
            (family,) = (one for one in NETWORKS if describe_tensors(names) == f"the network of {one}")
            assert NETWORKS[family].kind == kind_of(part).__name__


def test_a_folder_without_the_configuration_of_its_network_is_named(tmp_path: Path, flux: Path) -> None:
    folder = pixart_folder(tmp_path / "pixart")
    (folder / "transformer" / "config.json").unlink()
    assert "config.json is missing" in refused(folder, flux.parent / "flux.safetensors")
    shutil.rmtree(folder / "transformer")
    assert "the folder transformer is missing" in refused(folder, flux.parent / "flux.safetensors")


@pytest.mark.slow
def test_a_variant_goes_with_the_other_parts(flux: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(flux, tmp_path / "parts"))
    for file in list(folder.glob("*/*.safetensors")):
        file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    file = flux.parent / "flux.safetensors"
    assert torch.equal(draw(folder, transformer=file, variant="fp16"), draw(flux, transformer=file))
    assert "no weights of the variant 'bf16', only fp16" in refused(folder, file, variant="bf16")


def test_the_recipe_names_the_file_and_the_command_line_takes_it(flux: Path, tmp_path: Path) -> None:
    file = flux.parent / "flux.safetensors"
    size = ["--width", "16", "--height", "16"]
    arguments = ["generate", "--prompt", "a red apple", "--steps", "2", "--seed", "0", *size, "-m", str(flux)]
    created = CliRunner().invoke(main, [*arguments, "--transformer", str(file), "-o", str(tmp_path / "a.png")])
    assert created.exit_code == 0, created.output
    assert str(flux.parent).encode() not in (tmp_path / "a.png").read_bytes()
    with pytest.raises(InvalidParameter, match=r"network 'flux.safetensors'.*pass it as transformer"):
        editkit.replay(tmp_path / "a.png", model=str(flux))
    again = editkit.replay(tmp_path / "a.png", model=str(flux), transformer=file)
    assert again.report.warnings == ()
    assert np.array_equal(np.asarray(again.image), np.asarray(editkit.open_image(tmp_path / "a.png")))


def test_a_loaded_model_takes_no_network(tiny_model: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="transformer goes with a model's name"):
        editkit.apply("generate", model=tiny_model, transformer=tmp_path, **CALL)
    with pytest.raises(InvalidParameter, match="transformer=5"):
        editkit.load_model(tmp_path, transformer=5)  # type: ignore[arg-type]
