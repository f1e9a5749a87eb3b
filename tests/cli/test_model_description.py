"""``editkit models NAME`` tells what a loaded model would be, from the files of its folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from families.tables import FAMILIES

import editkit
from editkit.cli import main
from editkit.model.finding import family_of
from editkit.model.options import LoadingOptions
from editkit.registry.registry import installed
from editkit.testing.tiny import FOLDERS, inpainting_folder


def described(folder: Path) -> dict[str, Any]:
    result = CliRunner().invoke(main, ["models", str(folder), "--json"])
    assert result.exit_code == 0, result.output
    description: dict[str, Any] = json.loads(result.stdout)
    return description


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(FOLDERS))
def test_facts_about_a_folder_are_those_of_the_loaded_model(kind: str, tmp_path: Path) -> None:
    folder = FOLDERS[kind](tmp_path)
    family = family_of(installed(), folder, LoadingOptions())
    facts, model = installed().load("backends", family.name, "facts")(folder), editkit.load_model(folder)
    assert facts.provides == model.provides
    assert facts.native_size == model.native_size and facts.multiple in (model.multiple, None)
    assert dict(facts.usual) == dict(getattr(model, "usual", {}))
    assert facts.warnings == tuple(getattr(model, "warnings", ()))


def test_a_description_names_abilities_sizes_and_memory(tmp_path: Path) -> None:
    folder = inpainting_folder(tmp_path)
    (folder / "README.md").write_text("---\nlicense: openrail++\n---\n# A model\n")
    description, model = described(folder), editkit.load_model(folder)
    counts = {
        name: sum(weight.numel() for weight in net.parameters())
        for name, net in {
            "unet": model.unet,  # type: ignore[attr-defined]
            "vae": model.autoencoder.net,  # type: ignore[attr-defined]
            "text_encoder": model.texts["text_encoder"].net,  # type: ignore[attr-defined]
        }.items()
    }
    assert {name: part["values"] for name, part in description["weights"].items()} == counts
    assert all(part["dtype"] == "float32" for part in description["weights"].values())
    assert description["memory"]["bfloat16"] == {
        "all": 2 * sum(counts.values()),
        "offload": 2 * max(counts.values()),
    }
    assert description["backend"] == "stable-diffusion" and "inpainting" in description["provides"]
    assert (description["native_size"], description["multiple"]) == (model.native_size, model.multiple)
    assert "inpaint" in description["operations"] and description["licence"] == "openrail++"
    assert description["warnings"] == []
    text = CliRunner().invoke(main, ["models", str(folder)]).stdout
    assert "served by the backend stable-diffusion" in text and "licence: openrail++" in text


def test_operations_that_need_more_are_named_with_the_reason(tmp_path: Path) -> None:
    description = described(FOLDERS["DDPMPipeline"](tmp_path))
    assert description["refused_operations"]["prompt-edit"] == "needs text"
    assert "img2img" in description["operations"] and "prompt-edit" not in description["operations"]


@pytest.mark.slow
def test_a_model_that_edits_an_image_generates_none(tmp_path: Path) -> None:
    description = described(FAMILIES["qwen-image-edit"].write(tmp_path))
    assert "instruct" in description["operations"] and "references" in description["provides"]
    for name in ("generate", "interpolate"):
        assert description["refused_operations"][name] == "the model edits one image and draws nothing without"


def test_a_hub_model_without_weights_is_described_by_its_configuration(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "models--some--model"
    weights = shutil.ignore_patterns("*.safetensors")
    shutil.copytree(tiny_folder, cached / "snapshots" / ("0" * 40), ignore=weights)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    description = described(Path("some/model"))
    assert description["backend"] == "stable-diffusion" and "img2img" in description["operations"]
    assert description["weights"] == {} and "no *.safetensors weights" in description["warnings"][0]


def test_a_missing_part_is_a_warning(tiny_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    shutil.rmtree(folder / "vae")
    description = described(folder)
    assert description["backend"] is None and description["operations"] == []
    assert any("is not whole: the folder vae is missing" in warning for warning in description["warnings"])
    assert "unet" in description["weights"], "what is there is described"


def test_a_part_with_code_of_its_own_is_a_warning(tmp_path: Path) -> None:
    folder = FOLDERS["ChromaPipeline"](tmp_path)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "vae": ["own_code", "AutoencoderKL"]}))
    description = described(folder)
    assert description["backend"] is None
    assert "vae needs code from 'own_code', which editkit does not run" in description["warnings"][0]


def test_a_class_that_is_not_served_is_named_with_the_reason(tiny_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "UnCLIPPipeline"}))
    description = described(folder)
    assert description["pipeline"] == "UnCLIPPipeline" and description["backend"] is None
    assert any("it samples in several stages" in warning for warning in description["warnings"])


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["models", str(tmp_path / "nothing")])
    assert result.exit_code == 2 and "is neither a registered name" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["StableDiffusionPipeline", "StableDiffusionXLPipeline"])
def test_the_memory_of_an_edit_is_that_of_the_tensors_of_its_networks(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose weights do not count, also where an operation takes a view of them."""
    from editkit.cli.facts.activations import PeakOfTensors, decoding_memory, network_memory

    folder, size = FOLDERS[kind](tmp_path), (128, 64)
    decoding, call = decoding_memory(folder, size), network_memory(folder, size)
    for one in (decoding, call):
        assert one["bfloat16"] * 2 == pytest.approx(one["float32"], rel=0.05)
    model: Any = editkit.load_model(folder)
    peaks: list[int] = []

    def measured(net: Any, function: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            with PeakOfTensors(net.parameters()) as tensors:
                result = function(*args, **kwargs)
            peaks.append(tensors.peak)
            return result

        return run

    monkeypatch.setattr(model.unet, "forward", measured(model.unet, model.unet.forward))
    net = model.autoencoder.net
    monkeypatch.setattr(net, "decode", measured(net, net.decode))
    editkit.apply("generate", model=model, prompt="a", width=size[0], height=size[1], steps=1, guidance=3.0, seed=0)
    # The description counts the inputs too, which an edit has before.
    assert peaks == [pytest.approx(call["float32"], rel=0.1), pytest.approx(decoding["float32"], rel=0.1)]


@pytest.mark.slow
def test_the_memory_of_decoding_is_described_or_said_to_be_unknown(tmp_path: Path) -> None:
    run = lambda *words: CliRunner().invoke(main, ["describe", *words])  # noqa: E731
    folder = FOLDERS["StableDiffusionPipeline"](tmp_path / "sd")
    text = run(str(folder), "--size", "64x32").stdout
    assert "decoding 64 x 32 pixels in float32: " in text and "network call with guidance at that size" in text
    description = json.loads(run(str(folder), "--size", "64x32", "--json").stdout)
    assert description["size"] == [64, 32]
    assert set(description["decoding"]) == set(description["network_call"]) == {"float32", "bfloat16"}
    folder = FOLDERS["DDPMPipeline"](tmp_path)
    assert "of autoencoders like AutoencoderKL alone" in run(str(folder), "--size", "64x32").stdout
    folder = FOLDERS["StableDiffusion3Pipeline"](tmp_path / "sd3")
    assert "network call is known of UNet2DConditionModel alone" in run(str(folder), "--size", "64x32").stdout
    assert run("edict", "--size", "64x32").exit_code == run("emoji", "--size", "64").exit_code == 2


def test_a_registered_model_is_described_with_the_settings_of_its_spec() -> None:
    result = CliRunner().invoke(main, ["models", "emoji-instruct", "--json"])
    assert json.loads(result.stdout)["usual"] == dict(installed().specs["models"]["emoji-instruct"].defaults)
    assert "leave them to the model: guidance 1, " in CliRunner().invoke(main, ["models", "emoji-instruct"]).stdout
