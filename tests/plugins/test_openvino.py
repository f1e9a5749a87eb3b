"""Laws of the accelerator OpenVINO: its estimates are those of torch, whatever else an edit does."""

from __future__ import annotations

import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import editkit
from editkit import InvalidParameter, MissingCapability
from editkit.testing.suite import random_latents, sample_image
from editkit.testing.tiny import controlnet_folder, flux_folder, pixel_ddpm_folder

SOURCE = sample_image((20, 14))
TOLERANCE = 1e-4
"""Largest difference of estimates, whose values are about 1, to those of torch in float32."""
WORDS: dict[str, Any] = {"source": "a red apple", "target": "a green apple", "steps": 2, "seed": 3, "guidance": 2.0}

LORA = {"up": (16, 1), "down": (1, 16)}

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed: pip install 'editkit[openvino]'"
)


def estimate(model: Any, x: Tensor, prompts: list[str]) -> Tensor:
    path = editkit.make_path(model.schedule.for_shape(tuple(x.shape[1:])), 4, model.grid)
    with torch.no_grad():
        return model.denoise(x, path[1], model.embed(prompts))


def rows_of(model: Any, count: int) -> Tensor:
    return random_latents(count, shape=model.latent_shape(16, 16)).float()


# Refused before a network is converted


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"accelerate": "openvin"}, "no accelerator 'openvin'"),
    ({"accelerate": 3}, "accelerate=3 is not allowed"),
    ({"accelerate": "openvino:precision=int8"}, "precision"),
    ({"accelerate": "openvino", "compile": True}, "accelerate='openvino' is not allowed beside compile=True"),
    ({"accelerate": "openvino", "quantise": "int8"}, "beside quantise='int8'"),
    ({"accelerate": "openvino", "dtype": "bfloat16"}, "for a model in bfloat16: load it with dtype=float32"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_cannot_be_combined_is_refused_by_name(tiny_folder: Path, options: Any, message: str) -> None:
    with pytest.raises(editkit.EditkitError) as error:
        editkit.load_model(tiny_folder, **options)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_family_that_is_not_accelerated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingCapability, match=r"accelerate needs a model that supports it.*pixel-ddpm"):
        editkit.load_model(pixel_ddpm_folder(tmp_path), accelerate="openvino")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attach": ["value-injection"]}, "attach='value-injection' is not allowed with the accelerator openvino"),
        ({"auto_mask": "attention"}, "auto_mask='attention' is not allowed with the accelerator openvino"),
    ],
)
def test_an_edit_of_attention_is_refused_before_the_model_is_loaded(options: Any, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        editkit.apply("prompt-edit", SOURCE, model="no/such", accelerate="openvino", **WORDS, **options)


# Estimates


@needs_openvino
@pytest.mark.slow
@pytest.mark.parametrize("family", ["stable-diffusion", "flux"])
def test_estimates_of_any_rows_equal_those_of_torch(family: str, tiny_folder: Path, tmp_path: Path) -> None:
    folder = tiny_folder if family == "stable-diffusion" else flux_folder(tmp_path)
    plain, accelerated = editkit.load_model(folder), editkit.load_model(folder, accelerate="openvino")
    for prompts in (["a red apple"], ["a green apple", "a red apple", ""], ["a dog"]):
        x = rows_of(plain, len(prompts))
        torch.testing.assert_close(
            estimate(accelerated, x, prompts), estimate(plain, x, prompts), atol=TOLERANCE, rtol=0
        )
    assert "openvino_telemetry" not in sys.modules


@needs_openvino
@pytest.mark.slow
def test_bits_of_a_row_depend_neither_on_its_place_nor_on_threads(tiny_folder: Path) -> None:
    model = editkit.load_model(tiny_folder, accelerate="openvino")
    x, prompts, order = rows_of(model, 3), ["a", "b", "c"], [2, 0, 1]
    alone = estimate(model, x, prompts)
    assert torch.equal(estimate(model, x[order], [prompts[row] for row in order]), alone[order])
    with ThreadPoolExecutor(3) as pool:
        assert all(torch.equal(one, alone) for one in pool.map(lambda _: estimate(model, x, prompts), range(6)))


@needs_openvino
@pytest.mark.slow
def test_gradients_adapters_and_controlnets_are_those_of_torch(tiny_folder: Path, tmp_path: Path) -> None:
    lora, name = tmp_path / "lora.safetensors", "lora_unet_down_blocks_1_attentions_0_proj_in"
    save_file({f"{name}.lora_{end}.weight": torch.ones(shape) for end, shape in LORA.items()}, lora)
    plain, accelerated = (
        editkit.load_model(tiny_folder, adapters=[lora], accelerate=name) for name in (None, "openvino")
    )
    net = controlnet_folder(tmp_path / "net")
    hint = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    x = rows_of(plain, 1)
    estimates, gradients = [], []
    for model in (plain, accelerated):
        steered: Any = model
        with steered.with_controlnet(net, hint, scale=1.0, low=0.0, high=1.0):
            estimates.append(estimate(model, x, ["a red apple"]))
        text = steered.embed(["a red apple"])["text"].clone().requires_grad_()
        point = editkit.make_path(model.schedule, 4, model.grid)[1]
        model.denoise(x, point, {"text": text}).sum().backward()
        gradients.append(text.grad)
    torch.testing.assert_close(estimates[1], estimates[0], atol=TOLERANCE, rtol=0)
    assert torch.equal(gradients[0], gradients[1]) and gradients[0].abs().max() > 0
    with pytest.raises(InvalidParameter, match="not allowed after OpenVINO"):
        accelerated.add_adapter(editkit.Adapter.parse(str(lora)))  # type: ignore[attr-defined]


# Edits


@needs_openvino
@pytest.mark.slow
def test_the_report_names_the_accelerator_and_a_replay_uses_it(tiny_folder: Path, tmp_path: Path) -> None:
    how = {"model": str(tiny_folder), "accelerate": "openvino:precision=bfloat16"}
    made = [editkit.apply("prompt-edit", SOURCE, **how, **WORDS) for _ in range(2)]
    assert [one.report.network_calls for one in made] == [4, 2] and made[0].image.tobytes() == made[1].image.tobytes()
    report = made[0].report
    assert report.accelerator.startswith("OpenVINO") and report.accelerator.endswith("bfloat16")
    assert report.dtype == "float32" and any("computes in bfloat16" in warning for warning in report.warnings)
    plain = editkit.apply("prompt-edit", SOURCE, model=str(tiny_folder), **WORDS)
    assert plain.report.network_calls == 4 and plain.report.accelerator is None
    file = made[0].save(tmp_path / "made.png", recipe="full")
    again = editkit.replay(file, model=str(tiny_folder))
    assert again.image.tobytes() == made[0].image.tobytes() and again.report.accelerator == report.accelerator
    loaded = editkit.load_model(tiny_folder, accelerate="openvino")
    with pytest.raises(InvalidParameter, match="attach='value-injection' is not allowed with the accelerator OpenVINO"):
        editkit.apply("prompt-edit", SOURCE, model=loaded, attach=["value-injection"], **WORDS)
