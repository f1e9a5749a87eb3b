"""Laws of the reuse of deep features: exact where nothing is reused, and never shared."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from editkit_diffusers.deep_features import run_reusing
from PIL import Image
from torch import nn

import editkit
from editkit import CallRow, InvalidParameter, MissingCapability, describe_rows
from editkit.testing.suite import random_latents, sample_image
from editkit.testing.tiny import flux_folder

SOURCE = sample_image((20, 14))
CALL: dict[str, Any] = {"prompt": "a red apple", "strength": 1.0, "steps": 4, "seed": 3, "guidance": 2.0}
WORDS: dict[str, Any] = {"source": "a red apple", "target": "a green apple", "steps": 2, "seed": 3}


def drawn(model: Any, *controls: str, **changes: Any) -> Any:
    return editkit.apply("img2img", SOURCE, model=model, attach=list(controls), **CALL | changes)


def test_every_step_whole_is_the_edit_without_the_control(tiny_model: Any) -> None:
    plain, whole = drawn(tiny_model), drawn(tiny_model, "deep-cache:every=1")
    assert torch.equal(plain.latents, whole.latents) and not whole.report.warnings


def test_a_call_with_fresh_features_equals_the_whole_call(tiny_model: Any) -> None:
    model, row = tiny_model, [CallRow(0, 0, editkit.CLEAN)]
    x, text = random_latents(1).float(), model.embed(["a red apple"])["text"]
    residuals = {
        "down_block_additional_residuals": [torch.ones_like(one) for one in _skips(model.unet, x, text)],
        "mid_block_additional_residual": torch.ones(1),
    }
    for more in ({}, residuals):
        with torch.no_grad(), model.reusing(2) as calls, describe_rows(row):
            whole, partial = (
                run_reusing(model, model.unet, x, timestep=torch.tensor(9), encoder_hidden_states=text, **more)
                for _ in range(2)
            )
        assert (calls.whole, calls.partial) == (1, 1)
        torch.testing.assert_close(partial, whole, atol=1e-6, rtol=0)


def _skips(unet: nn.Module, x: torch.Tensor, text: torch.Tensor) -> list[torch.Tensor]:
    """The skip connections of a U-Net."""
    skips: list[torch.Tensor] = []
    handles = [unet.conv_in.register_forward_hook(lambda *args: skips.append(args[-1]))]
    handles += [one.register_forward_hook(lambda *args: skips.extend(args[-1][1])) for one in unet.down_blocks]
    with torch.no_grad():
        unet(x, timestep=torch.tensor(9), encoder_hidden_states=text)
    for handle in handles:
        handle.remove()
    return skips


def test_the_report_counts_the_calls_in_part(tiny_model: Any) -> None:
    plain, reused = drawn(tiny_model), drawn(tiny_model, "deep-cache:every=2")
    assert not torch.equal(plain.latents, reused.latents)
    assert plain.report.network_calls == reused.report.network_calls == 4
    assert any("2 of 4 network calls evaluated a part of the network" in one for one in reused.report.warnings)
    assert not tiny_model.unet.up_blocks[-1].resnets[-1]._forward_pre_hooks


def test_features_are_never_those_of_another_edit(tiny_model: Any) -> None:
    controls, seeds = ("deep-cache:every=2",), [1, 2, 3]
    alone = [drawn(tiny_model, *controls, seed=seed).latents for seed in seeds]
    with ThreadPoolExecutor(3) as pool:
        at_once = list(pool.map(lambda seed: drawn(tiny_model, *controls, seed=seed).latents, seeds))
    assert all(map(torch.equal, alone, at_once))
    how = {"model": tiny_model, "attach": controls, **CALL, "seed": None}
    together = [
        editkit.apply_all("img2img", [SOURCE] * len(order), seeds=order, **how) for order in (seeds, seeds[::-1], [2])
    ]
    middle = [results[len(results) // 2].latents for results in together]
    assert torch.equal(middle[0], middle[1]) and torch.equal(middle[0], middle[2])


@pytest.mark.model
@pytest.mark.parametrize(("operation", "more"), [("prompt-edit", {}), ("instruct", {"instruction": "make it red"})])
def test_equal_prompts_return_the_source_though_estimates_would_be_approximated(
    operation: str, more: dict[str, Any]
) -> None:
    image = Image.open(Path(__file__).parents[1] / "pictures" / "noto-red-apple.png").convert("RGB")
    how = {"model": "emoji", "source": "noto red apple", "target": "noto red apple", "steps": 3, **more}
    result = editkit.apply(operation, image, attach=["deep-cache"], **how)
    assert result.image.tobytes() == image.tobytes()
    assert any("attach='deep-cache' has no effect" in warning for warning in result.report.warnings)


def test_a_source_is_replayed_as_without_the_control(tiny_model: Any) -> None:
    how = {"model": tiny_model, "inverter": "pinned", **WORDS}
    plain, reused = (editkit.apply("prompt-edit", SOURCE, **how, attach=one) for one in ([], ["deep-cache:every=2"]))
    assert plain.report.recon_psnr == reused.report.recon_psnr and plain.latents.shape == reused.latents.shape
    same = editkit.apply("prompt-edit", SOURCE, **how | {"target": WORDS["source"]}, attach=["deep-cache:every=2"])
    assert same.image.tobytes() == SOURCE.convert(same.image.mode).tobytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attach": ["deep-cache", "value-injection"]}, "is not allowed beside attach='value-injection'"),
        ({"attach": ["deep-cache"], "inverter": "edict"}, "is not allowed beside the inverter edict"),
        ({"attach": ["deep-cache"], "inverter": "edit-friendly"}, "is not allowed beside the inverter edit-friendly"),
        ({"attach": ["deep-cache:every=0"]}, "every"),
        ({"attach": ["deep-cache"], "accelerate": "openvino"}, "is not allowed with the accelerator openvino"),
    ],
)
def test_what_needs_whole_estimates_is_refused_before_a_model_is_loaded(changes: Any, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        editkit.apply("prompt-edit", SOURCE, model="no/such", **WORDS, **changes)


def test_other_networks_and_compiled_ones_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingCapability, match="attach='deep-cache' needs feature-reuse"):
        drawn(str(flux_folder(tmp_path)), "deep-cache")
    model: Any = editkit.load_model(tiny_folder)
    model.execution = editkit.ExecutionOptions(compile=True)
    with pytest.raises(InvalidParameter, match="deep-cache is not allowed beside compile=True"):
        drawn(model, "deep-cache")


# Transformers


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return editkit.load_model(flux_folder(tmp_path_factory.mktemp("flux") / "model"))


def test_a_transformer_without_reuse_is_evaluated_as_without_the_control(flux: Any) -> None:
    plain, never = drawn(flux), drawn(flux, "first-block-cache:threshold=0")
    strict = drawn(flux, "first-block-cache:threshold=1e-9")
    assert torch.equal(plain.latents, never.latents) and torch.equal(plain.latents, strict.latents)
    assert not strict.report.warnings and plain.report.network_calls == strict.report.network_calls


def test_cached_blocks_are_never_those_of_another_edit(flux: Any) -> None:
    control, seeds = "first-block-cache:threshold=1", [1, 2, 3]
    alone = [drawn(flux, control, seed=seed) for seed in seeds]
    assert any("3 of 4 network calls evaluated a part" in one for one in alone[0].report.warnings)
    with ThreadPoolExecutor(3) as pool:
        at_once = list(pool.map(lambda seed: drawn(flux, control, seed=seed), seeds))
    assert all(torch.equal(one.latents, other.latents) for one, other in zip(alone, at_once, strict=True))
    assert torch.equal(drawn(flux, seed=1).latents, drawn(flux, seed=1).latents) and not flux.net.is_cache_enabled
