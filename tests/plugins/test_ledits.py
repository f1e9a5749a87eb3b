"""LEDITS++: the estimates of diffusers' own pipeline, and edits of several prompts with their own scales."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import editkit
from editkit import MissingCapability
from editkit.cli import main
from editkit.registry.registry import installed

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
EDITS = {"a green pear a red apple": 7.0, "red red red apple red a": -3.0}
"""Prompts and scales; the prompts fill the text encoder, because diffusers counts padding among the words."""


@pytest.fixture(scope="module")
def deep_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a network of three levels, whose coarsest attention has a quarter of the latents' size."""
    from diffusers import UNet2DConditionModel

    folder = tmp_path_factory.mktemp("deep") / "model"
    shutil.copytree(tiny_folder, folder)
    torch.manual_seed(0)
    net = UNet2DConditionModel(
        sample_size=32, layers_per_block=1, block_out_channels=(8, 16, 16), norm_num_groups=4, cross_attention_dim=16,
        attention_head_dim=2, mid_block_type=None,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    with torch.no_grad():
        for name, weights in net.named_parameters():
            if "attn2.to_q" in name:
                weights.mul_(20)  # attends to some places more than to others
    shutil.rmtree(folder / "unet")
    net.save_pretrained(folder / "unet")
    return folder


@pytest.fixture(scope="module")
def model(deep_folder: Path) -> Any:
    return editkit.load_model(deep_folder)


@pytest.mark.parametrize("steps", [{}, {"edit_warmup_steps": 2, "edit_cooldown_steps": 4}])
@pytest.mark.slow
@torch.no_grad()
def test_estimates_equal_those_of_diffusers(
    deep_folder: Path, model: Any, steps: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import LEditsPPPipelineStableDiffusion

    pipe = LEditsPPPipelineStableDiffusion.from_pretrained(deep_folder)
    pipe.set_progress_bar_config(disable=True)
    add_noise = pipe.scheduler.add_noise  # the pipeline calls it with timesteps of another type than it takes
    monkeypatch.setattr(pipe.scheduler, "add_noise", lambda x, noise, timesteps: add_noise(x, noise, timesteps.long()))
    pipe.invert(Image.fromarray(IMAGE), num_inversion_steps=5, skip=0.0, generator=torch.Generator().manual_seed(0))
    published: list[tuple[int, torch.Tensor, torch.Tensor]] = []
    step = pipe.scheduler.step

    def record(noise: torch.Tensor, timestep: Any, latents: torch.Tensor, **more: Any) -> Any:
        published.append((int(timestep), latents, noise))
        return step(noise, timestep, latents, **more)

    monkeypatch.setattr(pipe.scheduler, "step", record)
    pipe(editing_prompt=list(EDITS), edit_guidance_scale=list(EDITS.values()), output_type="latent", **steps)
    masks = pipe.activation_mask

    start, end = steps.get("edit_warmup_steps", 0) / 5, steps.get("edit_cooldown_steps", 5) / 5
    session = session_of(model)
    calls = [f"ledits:edit={edit},scale={scale},start={start},end={end}" for edit, scale in EDITS.items()]
    path = (*(model.schedule.point(timestep) for timestep, _, _ in published), editkit.CLEAN)
    controls = [installed().build("controls", call)(session, path) for call in calls]
    guided = editkit.Guidance(session.network, [session.embed("")], [1.0])
    for control in controls:
        control.begin(path, [None])
    for index, (_, latents, noise) in enumerate(published):
        denoise: Any = guided
        for control in controls:
            denoise = control.guide(index, denoise)
        with controls[0].attach(model):
            x0 = denoise(latents, path[index])
        expected = (latents - path[index].sigma * noise) / path[index].alpha
        assert torch.allclose(x0, expected, atol=1e-4)
    assert 0 < masks.mean() < 0.5
    assert published[0][0] > 800 > published[1][0]  # above 800 the masks are by attention alone


def session_of(model: Any) -> editkit.Session:
    from editkit.editing.opening import open_session
    from editkit.editing.request import prepare

    request = prepare(installed(), "img2img", IMAGE, {"prompt": "", "seed": 0, "resolution": 64})
    return open_session(installed(), request, model, None, cache=False)


def edit(model: Any, *attach: str, operation: str = "prompt-edit", **more: Any) -> editkit.Result:
    prompts = (
        {"source": "a red apple", "target": "a red apple"} if operation == "prompt-edit" else {"prompt": "an apple"}
    )
    params = {"steps": 3, "seed": 0, "resolution": 64, **prompts, **more}
    result: editkit.Result = editkit.apply(operation, IMAGE, model=model, attach=attach, **params)
    return result


@pytest.mark.slow
def test_edits_act_together_and_an_edit_of_scale_0_does_not(model: Any) -> None:
    nothing = edit(model, "ledits:edit=a green pear,scale=0")
    assert np.array_equal(nothing.image, IMAGE)
    one, other = "ledits:edit=a green pear,scale=9", "ledits:edit=red,scale=-4,mask=difference"
    alone, away, both = edit(model, one), edit(model, other), edit(model, one, other)
    images = [IMAGE, *(np.asarray(result.image) for result in (alone, away, both))]
    assert not any(np.array_equal(*pair) for pair in itertools.combinations(images, 2))
    assert both.report.recon_psnr == pytest.approx(both.report.vae_psnr, abs=1e-6)  # the source row has no edit
    assert not both.report.warnings
    # One call computes the terms of all edits: two rows without a prompt and two for each edit beside the guided ones.
    assert both.report.network_calls == alone.report.network_calls
    assert both.report.network_samples == alone.report.network_samples + 3 * 2


@pytest.mark.slow
def test_the_mask_of_an_edit_limits_it_and_replays(model: Any) -> None:
    call = "ledits:edit=a green pear,scale=9"
    result = edit(model, call, operation="img2img", strength=0.5)
    assert np.array_equal(editkit.replay(result, model=model).image, result.image)
    plain = np.asarray(edit(model, operation="img2img", strength=0.5).image, int)
    masked = [
        np.asarray(edit(model, f"{call},{options}", operation="img2img", strength=0.5).image, int)
        for options in ("mask=none", "threshold=0.5", "threshold=0.95")
    ]
    distance = [np.abs(image - plain).mean() for image in masked]
    assert distance[0] > distance[1] > distance[2] > 0


@pytest.mark.slow
def test_each_edit_returns_its_mask(model: Any, deep_folder: Path, tmp_path: Path) -> None:
    small = "ledits:edit=a green pear,scale=9,mask=difference,threshold=0.9"
    large = "ledits:edit=red,scale=4,mask=difference,threshold=0.5"
    result = edit(model, small, large, operation="img2img", strength=0.5)
    shares = {call: np.asarray(mask).mean() / 255 for call, mask in result.masks_of_controls.items()}
    assert shares == {small: pytest.approx(0.1, abs=0.01), large: pytest.approx(0.5, abs=0.01)}
    assert result.mask is None and result.masks == tuple(result.masks_of_controls.values())
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    words = ["img2img", tmp_path / "a.png", "--prompt", "an apple", "--steps", "3", "--seed", "0", "-m", deep_folder]
    words += ["--resolution", "64", "--strength", "0.5", "--attach", small, "--attach", large]
    done = CliRunner().invoke(main, [str(word) for word in [*words, "--mask-out", tmp_path / "mask.png"]])
    assert done.exit_code == 0, done.output
    for number, mask in enumerate(result.masks, 1):
        assert np.array_equal(Image.open(tmp_path / f"mask-{number}.png"), mask)


def test_every_edit_has_a_mask_of_the_image_where_it_acts(tiny_model: Any, tiny_folder: Path, tmp_path: Path) -> None:
    image = Image.fromarray(IMAGE[:20, :24])
    painted = Image.new("L", image.size)
    painted.paste(255, (14, 10, 20, 16))
    acting, idle = "ledits:edit=red,mask=none", "ledits:edit=red,start=0.9"
    given = {"prompt": "a pear", "mask": painted, "context": 0.2, "steps": 2, "seed": 0}
    result = editkit.apply("inpaint", image, model=tiny_model, attach=[idle, acting, acting], **given)
    masks = {name: np.asarray(mask) for name, mask in result.masks_of_controls.items()}
    assert list(masks) == [idle, acting, f"{acting} (2)"] and {mask.shape for mask in masks.values()} == {(20, 24)}
    assert not masks[idle].any() and not masks[acting][:, :8].any() and (masks[acting][10:16, 14:20] == 255).all()
    image.save(tmp_path / "a.png")
    painted.save(tmp_path / "m.png")
    words = [
        "inpaint",
        tmp_path / "a.png",
        "--mask",
        tmp_path / "m.png",
        "-m",
        tiny_folder,
        "--steps",
        2,
        "--context",
        0,
    ]
    words += ["--attach", acting, "--attach", idle, "--mask-out", tmp_path / "out.png", "-o", tmp_path / "b.png"]
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert [np.asarray(Image.open(tmp_path / f"out-{n}.png")).any() for n in (1, 2, 3)] == [True, True, False]


def test_an_edit_whose_own_mask_misses_the_painted_one_is_named(tiny_model: Any) -> None:
    call = "ledits:edit=red,mask=difference"
    given = {"model": tiny_model, "prompt": "a pear", "strength": 0.5, "steps": 2, "seed": 0, "attach": [call]}
    image = Image.fromarray(IMAGE[:32, :32])
    own = np.asarray(editkit.apply("img2img", image, **given).masks_of_controls[call])
    for missed, marked in ((True, own == 0), (False, np.tri(32, k=30, dtype=bool))):
        mask = Image.fromarray(255 * marked.astype(np.uint8))
        warnings = editkit.apply("img2img", image, mask=mask, **given).report.warnings
        assert any("the mask that it finds marks nothing inside the mask" in text for text in warnings) == missed


def test_masks_by_attention_need_a_model_with_attention() -> None:
    toy = editkit.testing.ToyBackend()
    with pytest.raises(MissingCapability, match="attention"):
        edit(toy, "ledits:edit=a green pear", operation="img2img")
    assert edit(toy, "ledits:edit=a green pear,mask=difference", operation="img2img").image
