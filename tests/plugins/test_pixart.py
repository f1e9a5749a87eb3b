"""PixArt: agreement with diffusers' two pipelines, the conditions of its network, and edits."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, PixArtAlphaPipeline, PixArtSigmaPipeline
from torch import Tensor

import editkit
from editkit import Backend, MissingCapability, WeightsUnavailable
from editkit.testing import BackendTests
from editkit.testing.suite import largest, sample_image
from editkit.testing.tiny import pixart_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

PIPELINES: dict[Any, Any] = {"PixArtAlphaPipeline": PixArtAlphaPipeline, "PixArtSigmaPipeline": PixArtSigmaPipeline}
SCHEDULERS = {"ddim": (DDIMScheduler, "leading"), "dpmpp-2m": (DPMSolverMultistepScheduler, "linspace")}
"""Each with a spacing at which diffusers steps from one of its timesteps to the next."""
DDIM_DEFAULTS = {"clip_sample": False, "set_alpha_to_one": False}
"""DDIM's defaults for values that the folder of another scheduler does not set."""
PROMPT = "A red apple on white "


class TestSigma(BackendTests):
    name = "pixart"

    @classmethod
    def folder(cls, path: Path) -> Path:
        return pixart_folder(path, kind="PixArtSigmaPipeline")


class TestSizeConditions(BackendTests):
    name = "pixart"

    @classmethod
    def folder(cls, path: Path) -> Path:
        return pixart_folder(path, sample_size=128)


@functools.cache
def load_both(kind: Any, sample_size: int = 8) -> tuple[Backend, Any]:
    """One tiny model, loaded by editkit and by diffusers."""
    with tempfile.TemporaryDirectory() as directory:
        folder = pixart_folder(Path(directory), kind=kind, sample_size=sample_size)
        return editkit.load_model(folder, device="cpu"), PIPELINES[kind].from_pretrained(folder)


def latents_of_both(
    kind: Any, size: tuple[int, int], sampler: str, sample_size: int = 8, **options: Any
) -> tuple[Tensor, Tensor]:
    """Latents of editkit and of diffusers for images of ``size`` (width, height)."""
    model, pipeline = load_both(kind, sample_size)
    scheduler, spacing = SCHEDULERS[sampler]
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, timestep_spacing=spacing, **DDIM_DEFAULTS)
    pipeline.set_progress_bar_config(disable=True)
    guidance, steps = options.get("guidance", 4.5), options.get("steps", 5)
    theirs = pipeline(
        PROMPT,
        width=size[0],
        height=size[1],
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(7),
        output_type="latent",
        use_resolution_binning=False,
        clean_caption=False,
    ).images
    ours = editkit.apply(
        "generate",
        model=model,
        prompt=PROMPT,
        width=size[0],
        height=size[1],
        sampler=sampler,
        steps=steps,
        spacing=spacing,
        guidance=guidance,
        seed=7,
    )
    assert float(theirs.std()) > 0.1, "nothing to compare"
    return ours.latents, theirs


@pytest.mark.parametrize("kind", PIPELINES)
@pytest.mark.parametrize("sampler", SCHEDULERS)
def test_generate_agrees_with_diffusers(kind: str, sampler: str) -> None:
    for guidance, steps in ((4.5, 5), (1.0, 5), (4.5, 20)):
        assert largest(torch.sub(*latents_of_both(kind, (16, 16), sampler, guidance=guidance, steps=steps))) < 1e-4


def test_size_conditions_equal_those_of_diffusers() -> None:
    wide = latents_of_both("PixArtAlphaPipeline", (32, 16), "ddim", sample_size=128)
    assert largest(torch.sub(*wide)) < 1e-4
    model = load_both("PixArtAlphaPipeline", 128)[0]
    x = torch.zeros(1, *model.latent_shape(32, 16))
    sizes = model.size_conditions(x)  # type: ignore[attr-defined]
    assert sizes["resolution"].tolist() == [[16, 32]]
    assert sizes["aspect_ratio"].tolist() == [[0.5]]


def test_tokens_beyond_the_end_of_a_prompt_are_masked() -> None:
    model = load_both("PixArtAlphaPipeline")[0]
    condition = dict(model.embed(["a red apple"]))
    x, point = torch.zeros(1, *model.latent_shape(16, 16)), model.schedule.point(500)
    before = model.denoise(x, point, condition)
    assert condition["text"].shape[1] == 120
    masked = condition["seen"] == 0
    assert int((~masked).sum()) == 4  # three words and the end
    condition["text"] = condition["text"] + 100 * masked[..., None]
    assert torch.equal(model.denoise(x, point, condition), before)


def test_blended_prompts_change_the_estimate_continuously() -> None:
    model = load_both("PixArtAlphaPipeline")[0]
    prompts = model.embed(["a red apple", "a green apple on white"])
    x, point = torch.randn(1, *model.latent_shape(16, 16), generator=torch.Generator().manual_seed(0)), model.schedule
    estimates = []
    for share in (0.0, 1e-3, 0.5, 1.0):
        condition = editkit.blend_conditions(prompts, torch.tensor([[1 - share, share]]))
        estimates.append(model.denoise(x, point.point(500), condition))
    ends = [model.denoise(x, point.point(500), {k: v[i : i + 1] for k, v in prompts.items()}) for i in (0, 1)]
    assert largest(estimates[0] - ends[0]) < 1e-6
    assert largest(estimates[3] - ends[1]) < 1e-6
    assert largest(estimates[1] - ends[0]) < 0.05 * largest(ends[1] - ends[0])
    assert bool(torch.isfinite(estimates[2]).all())


def test_published_folders_that_name_an_older_class_load(tmp_path: Path) -> None:
    folder = pixart_folder(tmp_path / "old")
    config = folder / "transformer" / "config.json"
    older = {"_class_name": "Transformer2DModel", "num_vector_embeds": None, "only_cross_attention": False}
    config.write_text(json.dumps(json.loads(config.read_text()) | older))
    index = folder / "model_index.json"
    parts = json.loads(index.read_text()) | {"transformer": ["diffusers", "Transformer2DModel"]}
    index.write_text(json.dumps(parts))
    model, expected = editkit.load_model(folder), load_both("PixArtAlphaPipeline")[0]
    x, point = torch.ones(1, *model.latent_shape(16, 16)), model.schedule.point(500)
    estimates = [one.denoise(x, point, one.embed(["a red apple"])) for one in (model, expected)]
    assert torch.equal(*estimates)


def test_the_error_of_a_tokenizer_names_its_missing_package(tmp_path: Path) -> None:
    folder = pixart_folder(tmp_path / "published")
    for file in (folder / "tokenizer").iterdir():
        file.unlink()
    (folder / "tokenizer" / "spiece.model").write_bytes(b"")
    (folder / "tokenizer" / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer"}')
    with pytest.raises(WeightsUnavailable, match=r"tokenizer needs two packages.*: pip install sentencepiece protobuf"):
        editkit.load_model(folder)


@pytest.mark.parametrize("kind", PIPELINES)
def test_a_pinned_source_is_reconstructed(kind: str) -> None:
    model = load_both(kind)[0]
    edit = functools.partial(editkit.apply, "prompt-edit", sample_image((20, 14)), model=model, steps=4, seed=0)
    report = edit(source="a red apple", target="a green apple", inverter="pinned", guidance=4.5).report
    assert report.recon_psnr == report.vae_psnr
    same = edit(source="a red apple", target="a red apple", guidance=4.5).image
    assert same.tobytes() == sample_image((20, 14)).tobytes()


def test_the_error_for_an_unsupported_operation_names_both_sides() -> None:
    model = load_both("PixArtAlphaPipeline")[0]
    with pytest.raises(MissingCapability, match=r"control needs .*controlnet.*provides adapters, .*text"):
        editkit.apply("control", sample_image((16, 16)), model=model, kind="edge", prompt="a red apple")
