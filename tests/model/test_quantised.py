"""Folders with quantised parts: read as diffusers reads them where the package is there, else its name."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers
from torch import Tensor

import editkit
from editkit import InvalidParameter, WeightsUnavailable
from editkit.testing.tiny import flux_folder

CALL: dict[str, Any] = {"prompt": "a red apple", "steps": 2, "seed": 0, "width": 16, "height": 16}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flux_folder(tmp_path_factory.mktemp("plain") / "flux")


@pytest.fixture
def folder(plain: Path, tmp_path: Path) -> Path:
    """A folder of FLUX.1 that a test may change."""
    return Path(shutil.copytree(plain, tmp_path / "flux"))


def declare(part: Path, entry: Any) -> None:
    config = json.loads((part / "config.json").read_text())
    (part / "config.json").write_text(json.dumps({**config, "quantization_config": entry}))


def refused(folder: Path) -> str:
    with pytest.raises(WeightsUnavailable) as raised:
        editkit.load_model(folder)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600
    return str(raised.value)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that leaves one of the packages that quantise as the only one installed."""
    version = importlib.metadata.version

    def leave(package: str) -> None:
        def found(name: str) -> str:
            if name in ("bitsandbytes", "torchao", "optimum-quanto") and name != package:
                raise importlib.metadata.PackageNotFoundError(name)
            return "1.0" if name == package else version(name)

        monkeypatch.setattr(importlib.metadata, "version", found)

    return leave


@pytest.mark.parametrize("part", ["transformer", "text_encoder_2"])
@pytest.mark.parametrize("method", ["bitsandbytes", "torchao", "optimum-quanto"])
def test_a_missing_package_is_named(folder: Path, installed: Callable[[str], None], part: str, method: str) -> None:
    installed("none")
    declare(folder / part, {"quant_method": method.removeprefix("optimum-"), "load_in_4bit": True})
    assert f"{part} holds weights quantised by" in refused(folder)
    assert f"needs a package: pip install {method}" in refused(folder)


@pytest.mark.parametrize("entry", [{"quant_method": "gptq"}, {"quant_method": None}, {"bits": 4}, "mine", ["nf4"]])
def test_other_quantisations_are_refused_by_name(folder: Path, entry: Any) -> None:
    declare(folder / "transformer", entry)
    assert "which is not supported: get the model in float16 or bfloat16" in refused(folder)


def test_the_quantisation_of_a_network_that_is_replaced_is_of_no_account(folder: Path, plain: Path) -> None:
    declare(folder / "transformer", {"quant_method": "gptq"})
    file = next((plain / "transformer").glob("*.safetensors"))
    read, own = editkit.load_model(folder, transformer=file), editkit.load_model(plain)
    weights = [dict(model.net.state_dict()) for model in (read, own)]  # type: ignore[attr-defined]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


@pytest.mark.skipif(torch.cuda.is_available(), reason="bitsandbytes works here")
def test_a_device_that_does_not_fit_is_named(folder: Path, installed: Callable[[str], None]) -> None:
    installed("bitsandbytes")
    declare(folder / "transformer", {"quant_method": "bitsandbytes", "load_in_8bit": True})
    assert "needs a GPU, and there is none" in refused(folder)


@pytest.fixture(params=["Int8WeightOnlyConfig", "Float8WeightOnlyConfig"])
def torchao_config(request: pytest.FixtureRequest) -> Iterator[Any]:
    yield getattr(pytest.importorskip("torchao.quantization"), request.param)()


FLUX_INPUTS = {
    "hidden_states": torch.linspace(-1, 1, 4 * 64).reshape(1, 4, 64),
    "timestep": torch.tensor([0.5]),
    "guidance": torch.tensor([3.5]),
    "img_ids": torch.zeros(4, 3),
}


def outputs_of(nets: Sequence[Any], model: Any) -> list[Tensor]:
    """The outputs of several networks for equal inputs in the dtype of a model."""
    condition = model.embed(["a red apple"])
    inputs = {
        **FLUX_INPUTS,
        "hidden_states": FLUX_INPUTS["hidden_states"].to(model.dtype),
        "encoder_hidden_states": condition["text"],
        "pooled_projections": condition["pooled"],
        "txt_ids": torch.zeros(condition["text"].shape[1], 3),
    }
    with torch.inference_mode():
        return [net(**inputs, return_dict=False)[0] for net in nets]


def requantise(kind: Any, part: Path, config: Any, dtype: torch.dtype) -> None:
    """Replace the weights of a part by the same, quantised while they are loaded."""
    net = kind.from_pretrained(part, torch_dtype=dtype, quantization_config=config)
    for file in part.glob("*.safetensors"):
        file.unlink()
    net.save_pretrained(part)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_network_quantised_by_torchao_is_read_as_in_diffusers(
    folder: Path, plain: Path, torchao_config: Any, dtype: torch.dtype
) -> None:
    kind, part = diffusers.FluxTransformer2DModel, folder / "transformer"
    requantise(kind, part, diffusers.TorchAoConfig(torchao_config), dtype)
    model: Any = editkit.load_model(folder, dtype=dtype)
    assert model.net.is_quantized and model.dtype == dtype
    outputs = outputs_of([model.net, kind.from_pretrained(part, torch_dtype=dtype)], model)
    assert torch.equal(*outputs) and outputs[0].isfinite().all()
    drawn = [editkit.apply("generate", model=place, **CALL).latents for place in (model, str(plain))]
    assert drawn[0].isfinite().all() and not torch.equal(drawn[0], drawn[1])


@pytest.mark.slow
def test_a_text_encoder_quantised_by_torchao_is_read_as_in_transformers(folder: Path, torchao_config: Any) -> None:
    kind, part = transformers.T5EncoderModel, folder / "text_encoder_2"
    requantise(kind, part, transformers.TorchAoConfig(torchao_config), torch.bfloat16)
    model: Any = editkit.load_model(folder, dtype="bfloat16")
    tokens = torch.arange(1, 9)[None]
    expected = kind.from_pretrained(part, torch_dtype=torch.bfloat16)
    with torch.inference_mode():
        outputs = [net(tokens).last_hidden_state for net in (model.texts["text_encoder_2"].net, expected)]
    assert torch.equal(*outputs)
    assert editkit.apply("generate", model=model, **CALL).latents.isfinite().all()


# Quantisation while a network is loaded


@pytest.mark.slow
def test_a_network_is_quantised_as_diffusers_does(plain: Path, torchao_config: Any) -> None:
    kind = "int8" if "Int8" in type(torchao_config).__name__ else "fp8"
    model: Any = editkit.load_model(plain, quantise=kind, dtype="bfloat16")
    assert model.net.is_quantized and not getattr(model.texts["text_encoder_2"].net, "is_quantized", False)
    config = diffusers.TorchAoConfig(torchao_config)
    expected = diffusers.FluxTransformer2DModel.from_pretrained(
        plain / "transformer", torch_dtype=torch.bfloat16, quantization_config=config
    )
    assert torch.equal(*outputs_of([model.net, expected], model))
    assert model.identity != editkit.load_model(plain, dtype="bfloat16").identity
    replaced: Any = editkit.load_model(plain, quantise=kind, dtype="bfloat16", transformer=plain)
    assert torch.equal(*outputs_of([model.net, replaced.net], model))


@pytest.mark.slow
def test_a_family_without_a_backend_of_its_own_is_quantised(family_folder: Callable[[str], Path]) -> None:
    pytest.importorskip("torchao")
    model: Any = editkit.load_model(family_folder("z-image"), quantise="int8", dtype="bfloat16")
    drawn = editkit.apply("generate", model=model, **CALL | {"width": 64, "height": 64})
    assert model.net.is_quantized and drawn.latents.isfinite().all()


@pytest.mark.slow
def test_a_replay_quantises_as_the_recipe_does(plain: Path, tmp_path: Path) -> None:
    pytest.importorskip("torchao")
    created = editkit.apply("generate", model=str(plain), quantise="int8", dtype="bfloat16", **CALL)
    created.save(tmp_path / "a.png")
    again = editkit.replay(tmp_path / "a.png", model=str(plain))
    assert again.report.warnings == () and again.image.tobytes() == created.image.tobytes()


@pytest.mark.slow
def test_weights_that_cannot_be_quantised_are_named(folder: Path, plain: Path) -> None:
    pytest.importorskip("torchao")
    file = next((plain / "transformer").glob("*.safetensors"))
    with pytest.raises(InvalidParameter, match="quantise has no use for the file"):
        editkit.load_model(folder, quantise="int8", transformer=file)
    declare(folder / "transformer", {"quant_method": "torchao"})
    with pytest.raises(InvalidParameter, match="holds quantised weights: leave it out"):
        editkit.load_model(folder, quantise="int8")


def test_a_package_or_a_device_that_quantising_needs_is_named(folder: Path, installed: Callable[[str], None]) -> None:
    installed("none")
    with pytest.raises(WeightsUnavailable, match="quantise='fp8' needs a package: pip install torchao"):
        editkit.load_model(folder, quantise="fp8")
    with pytest.raises(InvalidParameter, match="quantise='int4' is not allowed: one of int8, fp8, nf4"):
        editkit.load_model(folder, quantise="int4")  # type: ignore[arg-type]
    if not torch.cuda.is_available():
        installed("bitsandbytes")
        with pytest.raises(WeightsUnavailable, match="quantise='nf4' needs a GPU, and there is none"):
            editkit.load_model(folder, quantise="nf4")
