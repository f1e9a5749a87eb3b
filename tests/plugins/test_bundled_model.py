"""The promises of the bundled model, on held-out images that no part of its training has seen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import editkit

pytestmark = pytest.mark.model

PICTURES = Path(__file__).parents[1] / "pictures"
LISTED = json.loads((PICTURES / "pictures.json").read_text())
HELD_OUT = LISTED["held_out"][::5]


def picture(caption: str) -> Image.Image:
    return editkit.open_image(PICTURES / f"{caption.replace(' ', '-')}.png")


@pytest.fixture(scope="module")
def model() -> editkit.Backend:
    return editkit.load_model()


def reconstructed(
    model: editkit.Backend, caption: str, method: str, guidance: float, steps: int
) -> tuple[editkit.Report, int]:
    """The report of a reconstruction, and the network calls of inversion and reconstruction together."""
    inversion = editkit.invert(picture(caption), model=model, prompt=caption, method=method, steps=steps)
    report = editkit.reconstruct(inversion, model=model, guidance=guidance).report
    assert inversion.report is not None
    return report, inversion.report.network_calls + report.network_calls


@pytest.mark.parametrize("caption", HELD_OUT)
def test_pinned_reaches_the_bound_of_the_autoencoder_at_any_guidance_and_no_cost(
    model: editkit.Backend, caption: str
) -> None:
    pinned, pinned_calls = reconstructed(model, caption, "pinned", 7.5, steps=10)
    _, plain_calls = reconstructed(model, caption, "ddim", 7.5, steps=10)
    assert pinned.recon_psnr == pytest.approx(pinned.vae_psnr, abs=0.05)
    assert pinned_calls == plain_calls


def test_plain_and_corrected_inversion_come_near_the_bound_without_guidance(model: editkit.Backend) -> None:
    def lost(method: str) -> float:
        reports = [reconstructed(model, caption, method, 1.0, steps=50)[0] for caption in HELD_OUT[::2]]
        return float(np.mean([(report.vae_psnr or 0) - (report.recon_psnr or 0) for report in reports]))

    assert lost("ddim") <= 3.0
    assert lost("ddim-corrected") <= 1.0


def test_edits_succeed_on_held_out_pairs(model: editkit.Backend) -> None:
    """Success means a distance to the target below 0.707 times that of the source."""

    def succeeds(pair: dict[str, str]) -> bool:
        source, target = (np.asarray(picture(pair[side]).convert("RGB"), dtype=float) for side in ("source", "target"))
        result = editkit.apply(
            "prompt-edit", picture(pair["source"]), model=model, source=pair["source"], target=pair["target"], seed=0
        )
        edited = np.asarray(result.image.convert("RGB"), dtype=float)
        return bool(((edited - target) ** 2).sum() < 0.5 * ((source - target) ** 2).sum())

    # The evaluation measures the rate on hundreds of pairs; of these few, more than half must succeed.
    pairs = LISTED["pairs"][::2]
    assert sum(succeeds(pair) for pair in pairs) > len(pairs) / 2


def test_an_edit_without_a_change_gives_the_file_back_bit_for_bit(model: editkit.Backend) -> None:
    source = picture("noto red apple")
    serving = [name for name, spec in editkit.inverters().items() if model.prediction in spec.predictions]
    for inverter in serving:
        result = editkit.apply(
            "prompt-edit",
            source,
            model=model,
            source="noto red apple",
            target="noto red apple",
            inverter=inverter,
            steps=2,
        )
        assert np.array_equal(np.asarray(result.image), np.asarray(source)), inverter


def test_diffusers_samples_the_same_image_from_the_same_folder(model: editkit.Backend) -> None:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(editkit.models()["emoji"].load(), torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        "flat red heart",
        width=64,
        height=64,
        num_inference_steps=10,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(7),
        output_type="latent",
    ).images
    ours = editkit.apply("generate", model=model, prompt="flat red heart", steps=10, guidance=3.0, seed=7)
    assert torch.allclose(ours.latents, theirs, atol=1e-4)


def test_weights_are_small_and_safe() -> None:
    folder = editkit.models()["emoji"].load().parent
    parts = ("model", "instruct", "upscaler", "controlnets")
    files = [file for part in parts for file in (folder / part).rglob("*.*")]
    assert sum(file.stat().st_size for file in files) <= 64e6
    assert max(file.stat().st_size for file in files) <= 15e6
    assert {file.suffix for file in files} == {".json", ".safetensors"}


def test_five_masked_edits_in_a_row_touch_nothing_twice(model: editkit.Backend) -> None:
    source = now = picture("gradient person playing handball")
    words = {"source": "gradient person playing handball", "steps": 4, "seed": 0}
    words["target"] = f"{words['source']} dark skin tone"
    drawn, never = np.asarray(source).copy(), np.ones((64, 64), bool)
    for stripe in range(5):
        mask = Image.new("L", source.size)
        mask.paste(255, (12 * stripe, 0, 12 * stripe + 10, 64))
        inside = np.asarray(mask) > 0
        never &= ~inside
        now = editkit.apply("prompt-edit", now, model=model, mask=mask, **words).image
        drawn[inside] = np.asarray(now)[inside]
    # Every edited pixel equals the result of its one edit: later edits neither blurred nor shifted it.
    assert np.array_equal(np.asarray(now), drawn)
    assert np.array_equal(np.asarray(now)[never], np.asarray(source)[never])
    assert not np.array_equal(np.asarray(now), np.asarray(source))
