"""Laws of the gate: which changes it leaves out, what it leaves as it is, and that nothing is lost in silence."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import editkit
from editkit import Edit, Session, paint
from editkit.editing.opening import open_session
from editkit.editing.request import prepare
from editkit.images.animation.encoding import encode_animation
from editkit.images.animation.frames import Animation
from editkit.images.blending.compositing import apply_difference
from editkit.images.blending.faint_changes import WHOLE, gate_weight, smoothed_change
from editkit.images.stored.image import StoredImage
from editkit.registry.registry import installed
from editkit.sampling.params import DrawingParams
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image

PROMPTS: dict[str, Any] = {"source": "a red apple", "target": "a green pear", "seed": 0, "steps": 3}
GATE = 0.3
APPLE = Path(__file__).parents[2] / "samples" / "red-apple.png"
EVERYWHERE = torch.ones(())
"""Opacity of an edit without a mask."""
SIZES = [(16, 16), (40, 28), (10, 7)]


def gated_model() -> ToyBackend:
    """A model whose own gate is GATE."""
    model = ToyBackend()
    model.usual = {"gate": GATE}  # type: ignore[attr-defined]
    return model


class FadingModel(ToyBackend):
    """A model whose decoded pixels, and so all changes, fade to none at the left."""

    def decode(self, latents: Tensor) -> Tensor:
        pixels = super().decode(latents)
        share = torch.linspace(0, 1, pixels.shape[-1], dtype=pixels.dtype) ** 2
        return torch.lerp(torch.full_like(pixels, 0.5), pixels, share)


def session_with(gate: float, size: tuple[int, int], **params: Any) -> Session:
    request = prepare(installed(), "prompt-edit", sample_image(size), PROMPTS | params | {"gate": gate})
    return open_session(installed(), request, ToyBackend(), None, False)


def fading_edit(session: Session, kept: float = 1.0) -> Edit:
    """An edit whose change of the model's pixels grows from none at the left to half the range at the right."""
    pixels = session.model.decode(session.latents)
    share = torch.linspace(0, 1, pixels.shape[-1], dtype=pixels.dtype) ** 2
    grey = torch.full_like(pixels, 0.5)
    return Edit(session.model.encode(torch.lerp(pixels, grey, share)), reconstructed=session.latents, kept=kept)


def change_and_size(gate: float, size: tuple[int, int], kept: float = 1.0) -> tuple[Tensor, Tensor]:
    """Change of the source in the edit of :func:`fading_edit`, and its size at which the gate looks."""
    session = session_with(gate, size)
    edit = fading_edit(session, kept)
    decoded, reconstructed = (session.model.decode(one).float() for one in (edit.latents, session.latents))
    return paint(session, edit) - session.pixels, smoothed_change(session.canvas, decoded - reconstructed)


@pytest.mark.parametrize("size", SIZES)
def test_a_gated_change_lies_between_none_and_the_whole_one(size: tuple[int, int]) -> None:
    whole, strength = change_and_size(0, size)
    changes = [whole, *(change_and_size(gate, size)[0] for gate in (0.01, 0.05, 0.1, 0.3))]
    for less, more in pairwise(changes):  # it falls with the gate, too
        assert bool((more * whole >= -1e-6).all())
        assert bool((more.abs() <= less.abs() + 1e-6).all())
    share = strength / strength.max()
    faint, strong = (share <= 0.1).expand_as(whole), (share >= WHOLE * 0.1).expand_as(whole)
    assert bool(faint.any())
    assert bool(strong.any())
    assert bool((changes[3][faint] == 0).all())
    assert torch.equal(changes[3][strong], whole[strong])


@pytest.mark.parametrize("size", SIZES)
def test_a_gate_of_zero_leaves_every_pixel_as_it_was(size: tuple[int, int]) -> None:
    session = session_with(0, size)
    edit = fading_edit(session)
    decoded, reconstructed = (session.model.decode(one).float() for one in (edit.latents, session.latents))
    assert torch.equal(paint(session, edit), apply_difference(session.canvas, session.pixels, decoded, reconstructed))
    assert session.left_out is None


def test_the_gate_acts_as_far_as_the_source_is_kept() -> None:
    """Detail that an edit erased must not come back as a faint change that is left out."""
    size = (40, 28)
    for kept in (0.0, 0.5, 1.0):
        whole, strength = change_and_size(0, size, kept)
        gated, _ = change_and_size(0.1, size, kept)
        assert torch.allclose(gated, whole * gate_weight(strength, 0.1, kept, EVERYWHERE), rtol=0, atol=1e-6)
        assert torch.equal(gated, whole) == (kept == 0)
    nothing_kept_at_the_left = torch.linspace(0, 1, 40).round()
    weight = gate_weight(torch.zeros(1, 1, 28, 40), 0.1, nothing_kept_at_the_left, EVERYWHERE)
    assert torch.equal(weight, (1 - nothing_kept_at_the_left).expand_as(weight))


def deep_image(size: tuple[int, int]) -> Image.Image:
    """An image of 16 bits with a hole in its alpha."""
    levels = np.random.default_rng(0).integers(0, 65536, (size[1], size[0], 4)).astype(np.uint16)
    levels[..., 3] = 65535
    levels[:4, :6, 3] = 0
    return editkit.open_image(levels)


@pytest.mark.parametrize("scale", [1e-6, 0.03, 1.0])
@pytest.mark.parametrize("gate", [0.001, 0.05, 1 / 3])
def test_a_gate_is_a_share_of_the_largest_change_that_a_mask_shows(scale: float, gate: float) -> None:
    size = torch.rand(2, 1, 5, 7, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 1, 5, 7)
    mask[..., :3] = 0
    weight = gate_weight(size, gate, 1.0, mask)
    assert torch.allclose(gate_weight(size * scale, gate, 1.0, mask), weight, rtol=0, atol=1e-4)
    for row, own in zip(size, weight, strict=True):
        shown = torch.where(mask[0] > 0, row, 0)
        assert own.flatten()[shown.argmax()] == pytest.approx(1, abs=1e-6)  # the largest change is taken
        assert bool((own[row <= gate * shown.max()] == 0).all())


def test_an_edit_without_a_change_does_not_warn_of_its_gate() -> None:
    result = editkit.apply("prompt-edit", sample_image((16, 16)), model=gated_model(), **PROMPTS | {"strength": 0.0})
    assert result.report.gated_share == 0
    assert result.report.warnings == ()


def test_a_gated_pixel_of_16_bits_with_alpha_keeps_its_levels() -> None:
    source = deep_image((20, 16))
    result = editkit.apply("prompt-edit", source, model=FadingModel(), **PROMPTS | {"steps": 20, "gate": 0.2})
    assert result.levels.dtype == np.uint16
    kept = (result.levels == StoredImage.of(source).levels).all(-1).mean()
    assert result.report.gated_share <= kept < 1


def assert_share_of_levels(source: Image.Image, gated: editkit.Result, plain: editkit.Result) -> None:
    """Check the share of a report by the levels of the results, which are rounded: it lies between two counts."""
    before, with_gate, without = (np.asarray(image).astype(int) for image in (source, gated.image, plain.image))
    lost, left = (np.abs(one - before).max(2) for one in (without, with_gate))
    least, most = float(((lost >= 2) & (left == 0)).mean()), float(((lost >= 1) & (left <= 1)).mean())
    assert 0 < least <= gated.report.gated_share <= most


@pytest.mark.parametrize("masked", [False, True])
def test_the_report_has_the_share_of_pixels_that_the_gate_left_out(masked: bool) -> None:
    source, mask = sample_image((40, 28)), Image.new("L", (40, 28), 255)
    mask.paste(0, (0, 0, 20, 28))
    mask.paste(100, (20, 0, 24, 28))
    params = PROMPTS | {"steps": 20, "strength": 0.3} | ({"mask": mask} if masked else {})
    plain, gated = (editkit.apply("prompt-edit", source, model=FadingModel(), gate=gate, **params) for gate in (0, 0.2))
    assert_share_of_levels(source, gated, plain)
    assert gated.report.gated_share < (0.5 if masked else 1)
    assert gated.report.untouched_max_diff == (0 if masked else None)


def test_rows_of_a_batch_and_frames_have_the_pixels_and_share_of_their_own() -> None:
    images = [sample_image((24, 20), seed=seed) for seed in (0, 1)]
    params = PROMPTS | {"gate": 0.2}
    alone = [editkit.apply("prompt-edit", image, model=FadingModel(), **params) for image in images]
    together = editkit.apply_all("prompt-edit", images, model=FadingModel(), **params)
    assert [one.image.tobytes() for one in together] == [one.image.tobytes() for one in alone]
    file = encode_animation(Animation(tuple(images), (100.0, 100.0)), ".webp")
    moving = editkit.apply_to_animation("prompt-edit", file, model=FadingModel(), anchor=False, **params)
    shares = [one.report.gated_share for one in alone]
    assert all(shares)
    assert moving.report.gated_share == pytest.approx(sum(shares) / 2, abs=1e-6)


def test_recipes_record_the_gate_and_older_ones_have_none() -> None:
    source, model = sample_image((20, 16)), gated_model()
    gated, plain = (editkit.apply("prompt-edit", source, model=model, **PROMPTS | more) for more in ({}, {"gate": 0}))
    assert gated.recipe.steps[0].params["gate"] == GATE
    assert gated.image.tobytes() != plain.image.tobytes()
    for result, changes, wanted in [(gated, {}, gated), (plain, {}, plain), (gated, {"gate": 0.0}, plain)]:
        again = editkit.replay(result, model=model, set=changes)
        assert again.image.tobytes() == wanted.image.tobytes()
    step = gated.recipe.steps[0]
    older = step.model_copy(
        update={
            "params": {name: value for name, value in step.params.items() if name != "gate"},
            "explicit": tuple(name for name in step.explicit if name != "gate"),
        }
    )
    gated.recipe = gated.recipe.model_copy(update={"steps": (older,)})
    assert editkit.replay(gated, model=model).image.tobytes() == plain.image.tobytes()


def test_every_operation_with_a_gate_leaves_its_default_to_the_model() -> None:
    gated = [spec.params for spec in installed().specs["operations"].values() if "gate" in spec.params.model_fields]
    assert len(gated) >= 6
    assert all(issubclass(params, DrawingParams) and "gate" in params.from_model for params in gated)


def test_an_edit_of_an_inversion_has_the_gate_of_an_edit_of_the_image() -> None:
    source, model = sample_image((20, 16)), gated_model()
    inversion = editkit.invert(source, model=model, prompt=PROMPTS["source"], method="pinned", steps=3)
    target = {"target": PROMPTS["target"], "seed": 0}
    of_file = editkit.apply("prompt-edit", inversion, model=model, **target)
    assert of_file.report.params["gate"] == GATE
    assert of_file.image.tobytes() == editkit.apply("prompt-edit", source, model=model, **PROMPTS).image.tobytes()


@pytest.mark.model
@pytest.mark.slow
def test_the_gate_of_a_framed_edit_counts_pixels_of_the_whole_image() -> None:
    apple = Image.open(APPLE).convert("RGB").resize((64, 64), Image.Resampling.LANCZOS)
    source = Image.new("RGB", (96, 80), "white")
    source.paste(apple, (30, 10))
    params = {"source": "noto red apple", "target": "noto green apple", "steps": 2, "seed": 0}
    plain, gated = (editkit.apply("prompt-edit", source, **params, gate=gate) for gate in (0, 0.1))
    assert gated.report.frame is not None
    assert_share_of_levels(source, gated, plain)
