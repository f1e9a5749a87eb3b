"""Automatic masks: agreement with the published ones, and the promises of a mask."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import editkit
from editkit import InvalidParameter, MissingCapability, Point
from editkit.cli import main
from editkit.editing.masks import automatic
from editkit.editing.masks.attention import WordMaps, changed_places, smooth_maps
from editkit.editing.masks.automatic import mask_by_prompts
from editkit.editing.opening import open_session
from editkit.editing.request import prepare
from editkit.registry.registry import installed
from editkit.testing.tiny import instruct_folder

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
PROMPTS = {"source": "a red apple", "target": "a green pear"}
OPERATIONS: dict[str, dict[str, Any]] = {
    "prompt-edit": PROMPTS,
    "flow-edit": PROMPTS,
    "img2img": {"prompt": "a green pear"},
    "instruct": {"instruction": "make it green", "source": "a red apple"},
}
CASES = [
    ("prompt-edit", "difference"),
    ("img2img", "both"),
    pytest.param("flow-edit", "both", marks=pytest.mark.slow),
    pytest.param("instruct", "both", marks=pytest.mark.slow),
]
THRESHOLDS = {"difference": 0.4, "attention": 0.9, "both": 0.9}
"""Thresholds that divide the image for random weights."""


@pytest.fixture(scope="module")
def sharp_model(tiny_folder: Path) -> Any:
    """The tiny model, which attends to some places more than to others."""
    model: Any = editkit.load_model(str(tiny_folder))
    with torch.no_grad():
        for name, weights in model.net.named_parameters():
            if "attn2.to_q" in name:
                weights.mul_(30)
    return model


def edit(model: Any, operation: str, method: str | None = None, **more: Any) -> editkit.Result:
    params = {"steps": 2, "seed": 4, "resolution": 64, **OPERATIONS[operation], **more}
    if method:
        params |= {"auto_mask": method, "mask_threshold": THRESHOLDS[method], **more}
    result: editkit.Result = editkit.apply(operation, IMAGE, model=model, **params)
    return result


@pytest.mark.parametrize(("operation", "method"), CASES)
def test_an_automatic_mask_keeps_the_promises_of_a_mask(
    sharp_model: Any, operation: str, method: str, tmp_path: Path
) -> None:
    result = edit(sharp_model, operation, method)
    assert result.mask is not None and result.mask.size == (64, 48)
    levels = np.asarray(result.mask)
    assert 0 < result.report.mask_share < 1 and result.report.mask_share == pytest.approx((levels > 0).mean(), abs=1e-6)
    file = np.asarray(Image.open(result.save(tmp_path / "out.png")))
    assert result.report.untouched_max_diff == 0
    assert np.array_equal(file[levels == 0], IMAGE[levels == 0]) and not np.array_equal(file, IMAGE)
    # The mask alone makes the same edit: it draws none of the edit's noise.
    assert np.array_equal(edit(sharp_model, operation, mask=result.mask).image, result.image)
    assert np.array_equal(editkit.replay(result, model=sharp_model).image, result.image)


@pytest.mark.parametrize("operation", ["img2img", "prompt-edit", "flow-edit"])
def test_strength_0_changes_nothing_under_an_automatic_mask(sharp_model: Any, operation: str) -> None:
    result = edit(sharp_model, operation, "difference", strength=0.0)
    assert 0 < result.report.mask_share < 1 and np.array_equal(result.image, IMAGE)


def test_a_painted_mask_limits_an_automatic_one(tiny_model: Any) -> None:
    painted = np.zeros((48, 64), np.uint8)
    painted[:, 20:40] = 255
    alone = np.asarray(edit(tiny_model, "prompt-edit", "difference").mask)
    both = np.asarray(edit(tiny_model, "prompt-edit", "difference", mask=painted).mask)
    assert np.array_equal(both, np.minimum(alone, painted))
    feathered = np.asarray(edit(tiny_model, "prompt-edit", "difference", feather=6.0).mask)
    assert (feathered <= alone).all() and (feathered < alone).any()


def test_an_empty_and_a_whole_mask_are_warnings(tiny_model: Any) -> None:
    same = edit(tiny_model, "prompt-edit", "difference", target="a red apple")
    assert any("marks nothing, so the image stays" in warning for warning in same.report.warnings)
    assert np.array_equal(same.image, IMAGE) and same.report.mask_share == 0
    whole = edit(tiny_model, "prompt-edit", "attention", mask_threshold=0.01)
    assert any("marks the whole image" in warning for warning in whole.report.warnings)
    assert whole.report.mask_share == 1 and whole.report.untouched_max_diff is None


@pytest.mark.slow
def test_masks_of_a_batch_are_those_of_single_edits(sharp_model: Any) -> None:
    images = [IMAGE, np.ascontiguousarray(IMAGE[::-1])]
    given = {**PROMPTS, "auto_mask": "both", "steps": 2, "seed": 4, "resolution": 64}
    together = editkit.apply_all("prompt-edit", images, model=sharp_model, **given)
    for image, result in zip(images, together, strict=True):
        alone = editkit.apply("prompt-edit", image, model=sharp_model, **given)
        assert np.abs(np.asarray(alone.mask, int) - np.asarray(result.mask, int)).max() <= 1
        assert result.report.untouched_max_diff == 0


@pytest.mark.slow
def test_the_command_line_writes_the_mask_of_each_result(tiny_folder: Path, tmp_path: Path) -> None:
    Image.fromarray(IMAGE[:16, :16]).save(tmp_path / "a.png")
    words = ["img2img", tmp_path / "a.png", "--prompt", "a pear", "--steps", "1", "-m", tiny_folder]

    def run(*more: object) -> Any:
        return CliRunner().invoke(main, [str(word) for word in (*words, "-o", tmp_path / "out.png", *more)])

    found = ["--auto-mask", "difference", "--mask-threshold", "0.4", "--seed", "3"]
    done = run(*found, "--mask-out", tmp_path / "mask.png", "--json")
    assert done.exit_code == 0, done.output
    mask = Image.open(tmp_path / "mask.png")
    assert mask.mode == "L" and 0 < json.loads(done.stdout)["mask_share"] < 1
    before = (tmp_path / "out.png").read_bytes()
    assert run("--mask", tmp_path / "mask.png", "--seed", "3").exit_code == 0
    assert np.array_equal(Image.open(tmp_path / "out.png"), Image.open(io.BytesIO(before)))
    assert run(*found[:4], "--seed", "3-4", "--mask-out", f"{tmp_path}/masks/").exit_code == 0
    assert {file.name for file in (tmp_path / "masks").iterdir()} == {"a-mask-seed3.png", "a-mask-seed4.png"}
    refused = {
        ("--mask-out", tmp_path / "other.png"): "--mask-out needs a mask: give --mask or --auto-mask",
        (*found, "--mask-out", tmp_path / "a.png"): "would replace another file",
        (*found, "--mask-out", tmp_path / "m.jpg"): "must end in one of .png",
        (*found, "--mask-out", "-"): "--mask-out cannot be standard output",
    }
    for words_of, problem in refused.items():
        assert problem in run(*words_of).stderr


def test_a_mask_that_cannot_be_found_is_refused() -> None:
    toy = editkit.testing.ToyBackend()
    with pytest.raises(MissingCapability, match=r"auto_mask='both' needs attention.*use auto_mask='difference'"):
        edit(toy, "prompt-edit", "both")
    with pytest.raises(InvalidParameter, match=r"mask_threshold=1\.5 is not allowed"):
        edit("no-such-model", "prompt-edit", "difference", mask_threshold=1.5)


def test_an_instruction_model_finds_the_mask_by_its_instruction(tmp_path: Path) -> None:
    model = editkit.load_model(instruct_folder(tmp_path / "model"))
    with pytest.raises(InvalidParameter, match="whose words stand for no place"):
        edit(model, "instruct", "attention", source="")
    result = edit(model, "instruct", "difference", source="")
    assert 0 < result.report.mask_share < 1 and result.report.untouched_max_diff == 0


def session_of(model: Any, method: str, size: tuple[int, int] = (16, 16)) -> editkit.Session:
    image = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    request = prepare(
        installed(), "prompt-edit", image, {**PROMPTS, "auto_mask": method, "resolution": max(size), "seed": 4}
    )
    return open_session(installed(), request, model, None, cache=False)


@torch.no_grad()
def test_the_difference_marks_as_diffedit_of_diffusers_does(
    tiny_folder: Path, tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import StableDiffusionDiffEditPipeline
    from diffusers.pipelines.deprecated.stable_diffusion_diffedit import pipeline_stable_diffusion_diffedit as diffedit

    session = session_of(tiny_model, "difference")
    latents, noise = session.latents, torch.Generator().manual_seed(session.drawing.seed or 0)
    noises = torch.cat([torch.randn(latents.shape, generator=noise) for _ in range(10)])
    relative: list[torch.Tensor] = []
    monkeypatch.setattr(automatic, "_limit", lambda session, change, threshold: relative.append(change))
    mask_by_prompts(session)

    pipe = StableDiffusionDiffEditPipeline.from_pretrained(tiny_folder, inverse_scheduler=None, safety_checker=None)
    monkeypatch.setattr(diffedit, "randn_tensor", lambda *_, **__: noises)
    monkeypatch.setattr(pipe, "prepare_image_latents", lambda *_: latents.repeat(10, 1, 1, 1))
    published = pipe.generate_mask(
        image=torch.zeros(1, 3, 16, 16), source_prompt=PROMPTS["source"], target_prompt=PROMPTS["target"]
    )
    assert np.array_equal((relative[0][:, 0] >= 0.5).numpy(), published == 1)
    assert 0 < published.mean() < 1


@torch.no_grad()
def test_the_attention_to_words_is_that_of_ledits_of_diffusers(sharp_model: Any) -> None:
    from diffusers.pipelines.ledits_pp.pipeline_leditspp_stable_diffusion import (
        LeditsAttentionStore,
        LEDITSCrossAttnProcessor,
        LeditsGaussianSmoothing,
    )

    prompts = tuple(PROMPTS.values())
    session, point, grid = session_of(sharp_model, "both", (64, 64)), Point(0.6, 0.8), (16, 16)
    places = changed_places(*(sharp_model.words(prompt) for prompt in prompts))
    x, both, maps = session.noise().repeat(2, 1, 1, 1), session.embed(*prompts), WordMaps(places)
    with (
        editkit.describe_rows([editkit.CallRow(0, row, point) for row in range(2)]),
        sharp_model.attending(maps.record),
    ):
        sharp_model.denoise(x, point, both)

    store = LeditsAttentionStore(average=True, batch_size=1, max_size=16 * 16, max_resolution=None)
    net, before = sharp_model.net, dict(sharp_model.net.attn_processors)
    parts = {name: LEDITSCrossAttnProcessor(store, name.split("_")[0], False, 2) for name in before if "attn2" in name}
    net.set_attn_processor({**before, **parts})
    store.step_store = store.get_empty_store()
    try:
        sharp_model.denoise(torch.cat([x[:1], x]), point, session.embed("", *prompts))
    finally:
        net.set_attn_processor(before)
    for row, chosen in enumerate(places):
        out = store.aggregate_attention(
            store.step_store, prompts, grid, ["up", "down", "mid"], is_cross=True, select=row
        )
        published = out[..., chosen].sum(-1)
        assert torch.allclose(maps.maps((32, 32))[row], published, atol=1e-6)
        padded = torch.nn.functional.pad(published[:, None], (1, 1, 1, 1), mode="reflect")
        assert torch.allclose(smooth_maps(published[:, None]), LeditsGaussianSmoothing("cpu")(padded), atol=1e-6)
