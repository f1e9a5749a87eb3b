"""The promises of the bundled model, on held-out images that its training did not use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import editkit
from editkit.editing.steps.preview import preview_pixels
from editkit.images.tensors import to_tensor

pytestmark = pytest.mark.model

IMAGES = Path(__file__).parents[1] / "pictures"
LISTED = json.loads((IMAGES / "pictures.json").read_text())
HELD_OUT = LISTED["held_out"][::5]


def open_emoji(caption: str) -> Image.Image:
    return editkit.open_image(IMAGES / f"{caption.replace(' ', '-')}.png")


@pytest.fixture(scope="module")
def model(bundled_model: editkit.Backend) -> editkit.Backend:
    return bundled_model


def reconstruct(
    model: editkit.Backend, caption: str, method: str, guidance: float, steps: int
) -> tuple[editkit.Report, int]:
    """Report of a reconstruction, and the network calls of inversion and reconstruction together."""
    inversion = editkit.invert(open_emoji(caption), model=model, prompt=caption, method=method, steps=steps)
    report = editkit.reconstruct(inversion, model=model, guidance=guidance).report
    assert inversion.report is not None
    return report, inversion.report.network_calls + report.network_calls


@pytest.fixture(scope="module")
def plain_calls(model: editkit.Backend) -> int:
    """Network calls of a plain inversion and its reconstruction, which are the same for every image."""
    return reconstruct(model, HELD_OUT[0], "ddim", 7.5, steps=10)[1]


@pytest.mark.parametrize("caption", HELD_OUT)
def test_pinned_reaches_the_autoencoder_s_bound_at_no_extra_cost(
    model: editkit.Backend, caption: str, plain_calls: int
) -> None:
    pinned, pinned_calls = reconstruct(model, caption, "pinned", 7.5, steps=10)
    assert pinned.recon_psnr == pytest.approx(pinned.vae_psnr, abs=0.05)
    assert pinned_calls == plain_calls


def test_plain_and_corrected_inversion_approach_the_unguided_bound(model: editkit.Backend) -> None:
    def loss(method: str) -> float:
        reports = [reconstruct(model, caption, method, 1.0, steps=50)[0] for caption in HELD_OUT[::2]]
        return float(np.mean([(report.vae_psnr or 0) - (report.recon_psnr or 0) for report in reports]))

    assert loss("ddim") <= 3.0
    assert loss("ddim-corrected") <= 1.0


def test_edits_succeed_on_held_out_pairs(model: editkit.Backend) -> None:
    """An edit succeeds if its distance to the target is below 0.707 times that of the source."""

    def levels(image: Image.Image) -> np.ndarray:
        return np.asarray(image.convert("RGB"), dtype=float)

    def succeeds(pair: dict[str, str], edited: Image.Image) -> bool:
        source, target = (levels(open_emoji(pair[side])) for side in ("source", "target"))
        return bool(((levels(edited) - target) ** 2).sum() < 0.5 * ((source - target) ** 2).sum())

    # The evaluation measures the rate on hundreds of pairs; of these few, more than half must succeed.
    pairs = LISTED["pairs"][::2]
    sources = [open_emoji(pair["source"]) for pair in pairs]
    prompts = [{side: pair[side] for side in ("source", "target")} for pair in pairs]
    results = editkit.apply_all("prompt-edit", sources, model=model, each=prompts, seeds=[0] * len(pairs), exact=False)
    successes = [succeeds(pair, result.image) for pair, result in zip(pairs, results, strict=True)]
    assert sum(successes) > len(pairs) / 2


def test_an_edit_with_equal_prompts_returns_the_file_bit_for_bit(model: editkit.Backend) -> None:
    source = open_emoji("noto red apple")
    supported = [name for name, spec in editkit.inverters().items() if model.prediction in spec.predictions]
    for inverter in supported:
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
    assert sum(file.stat().st_size for file in files) <= 58e6
    assert max(file.stat().st_size for file in files) <= 15e6
    assert {file.suffix for file in files} == {".json", ".safetensors"}


def test_five_masked_edits_in_a_row_change_each_pixel_at_most_once(model: editkit.Backend) -> None:
    source = current = open_emoji("gradient person playing handball")
    options = {"source": "gradient person playing handball", "steps": 4, "seed": 0}
    options["target"] = f"{options['source']} dark skin tone"
    expected, unmasked = np.asarray(source).copy(), np.ones((64, 64), bool)
    for stripe in range(5):
        mask = Image.new("L", source.size)
        mask.paste(255, (12 * stripe, 0, 12 * stripe + 10, 64))
        inside = np.asarray(mask) > 0
        unmasked &= ~inside
        current = editkit.apply("prompt-edit", current, model=model, mask=mask, **options).image
        expected[inside] = np.asarray(current)[inside]
    # Every edited pixel equals the result of its one edit: later edits neither blurred nor shifted it.
    assert np.array_equal(np.asarray(current), expected)
    assert np.array_equal(np.asarray(current)[unmasked], np.asarray(source)[unmasked])
    assert not np.array_equal(np.asarray(current), np.asarray(source))


def test_previews_are_closer_to_the_decoded_image_than_its_mean_colour(model: editkit.Backend) -> None:
    with torch.no_grad():
        latents = model.encode(torch.cat([to_tensor(open_emoji(caption)) for caption in HELD_OUT]).to(model.dtype))
        size = latents.shape[-2], latents.shape[-1]
        decoded, preview = (
            F.adaptive_avg_pool2d(pixels.float(), size)
            for pixels in (model.decode(latents), preview_pixels(model, latents))
        )
    errors = [(decoded - other).square().mean() for other in (preview, decoded.mean((2, 3), keepdim=True))]
    assert errors[0] < 10**-0.6 * errors[1]  # by 6 dB
