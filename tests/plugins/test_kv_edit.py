"""``kv-edit`` computes only what a mask marks, by the formulas of its paper, and is refused where it cannot."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import editkit
from editkit import AttentionInputs, InvalidParameter, MissingCapability, apply, load_model, replay
from editkit.testing.suite import largest
from editkit.testing.tiny import FOLDERS

pytestmark = pytest.mark.slow
FAMILIES = (
    "FluxPipeline",
    "StableDiffusion3Pipeline",
    "PixArtAlphaPipeline",
    "ChromaPipeline",
)
IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
MASK = np.zeros((32, 32), np.uint8)
MASK[8:24, 8:24] = 255
PROMPTS = {"source": "a red apple", "target": "two green cats"}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_model(FOLDERS[request.param](tmp_path_factory.mktemp("kv") / "model"))


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_model(FOLDERS["FluxPipeline"](tmp_path_factory.mktemp("kv") / "model"))


def edit(model: Any, image: Any = IMAGE, **params: Any) -> Any:
    given = {**PROMPTS, "steps": 4, "seed": 0, "resolution": 32, "mask": MASK, "attach": ["kv-edit"], **params}
    return apply("prompt-edit", image, model=model, cache=False, **given)


@pytest.mark.parametrize("inverter", ["pinned", "aligned"])
def test_the_rest_stays_and_equal_prompts_return_the_source(model: Any, inverter: str) -> None:
    held, plain = edit(model, inverter=inverter), edit(model, inverter=inverter, attach=[])
    levels = np.asarray(held.image)
    assert np.array_equal(levels[MASK == 0], IMAGE[MASK == 0])
    assert not np.array_equal(levels, np.asarray(plain.image)) and not np.array_equal(levels, IMAGE)
    assert held.report.recon_psnr == pytest.approx(held.report.vae_psnr, abs=1e-6)
    assert held.report.network_samples == plain.report.network_samples
    assert not held.report.warnings
    assert np.array_equal(np.asarray(edit(model, inverter=inverter, target=PROMPTS["source"]).image), IMAGE)


def test_an_image_of_as_many_tokens_as_channels_is_edited(flux: Any) -> None:
    """As by FLUX.1, of 3,072 channels, at 1024 x 768 pixels; the vector of its modulations has no tokens."""
    held, plain = (edit(flux, resolution=16, attach=attach) for attach in (["kv-edit"], []))
    levels = np.asarray(held.image)
    assert held.latents.shape[-2:] == (8, 8) and flux.net.inner_dim == 16
    assert np.array_equal(levels[MASK == 0], IMAGE[MASK == 0]) and not np.array_equal(levels, np.asarray(plain.image))
    assert np.array_equal(np.asarray(edit(flux, resolution=16, target=PROMPTS["source"]).image), IMAGE)


def test_latents_of_the_rest_are_those_of_the_inversion_bit_for_bit(model: Any) -> None:
    inversion = editkit.invert(IMAGE, model=model, prompt=PROMPTS["source"], steps=4, resolution=32, cache=False)
    clean = inversion.trajectory[-1]
    change = torch.from_numpy(MASK).view(1, 1, 32, 32).float()
    marked = torch.nn.functional.adaptive_max_pool2d(change, clean.shape[-2:]) > 0
    latents = edit(model).latents
    assert torch.equal(latents.masked_select(~marked), clean.masked_select(~marked))
    assert largest((latents - clean) * marked) > 1e-3


def test_a_fresh_edit_does_not_depend_on_the_source_in_the_mask(model: Any) -> None:
    """At full strength, apart from the latents at its edge, whose pixels the autoencoder mixes with those outside."""
    other = np.where(MASK[..., None] > 0, 255 - IMAGE, IMAGE)
    one, two, kept = (
        edit(model, image=image, attach=[control])
        for image, control in ((IMAGE, "kv-edit:fresh=true"), (other, "kv-edit:fresh=true"), (other, "kv-edit"))
    )
    assert np.array_equal(np.asarray(one.image)[MASK == 0], IMAGE[MASK == 0])
    assert largest(one.latents - two.latents) < 0.5 * largest(one.latents - kept.latents)
    assert not np.array_equal(
        np.asarray(one.image), np.asarray(edit(model, seed=1, attach=["kv-edit:fresh=true"]).image)
    )
    assert np.array_equal(np.asarray(edit(model, attach=["kv-edit:fresh=true"]).image), np.asarray(one.image))


def keep(kept: dict[str, tuple[Tensor, Tensor]]) -> Callable[[AttentionInputs], Tensor]:
    """Return an edit that keeps the keys and values of every attention."""

    def edit(inputs: AttentionInputs) -> Tensor:
        kept[inputs.site.name] = inputs.key, inputs.value
        return inputs.unchanged()

    return edit


def insert(kept: dict[str, tuple[Tensor, Tensor]], marked: Tensor) -> Callable[[AttentionInputs], Tensor]:
    """Return an edit that takes kept keys and values for the image tokens that are not marked, (T,) of booleans."""

    def edit(inputs: AttentionInputs) -> Tensor:
        pair = []
        for own, other in zip((inputs.key, inputs.value), kept[inputs.site.name], strict=True):
            mixed, image = own.clone(), inputs.site.image_keys
            mixed[:, :, image] = torch.where(marked[:, None], own[:, :, image], other[:, :, image])
            pair.append(mixed)
        return inputs.attend(inputs.query, *pair, inputs.bias)

    return edit


@torch.no_grad()
def test_an_edit_of_the_marked_tokens_has_the_formulas_of_the_paper(flux: Any) -> None:
    """Here every token is evaluated, and those that are not marked lend the keys and values of the inversion.

    The steps are those of ``aligned``, in velocities.
    """
    inversion = editkit.invert(IMAGE, model=flux, prompt="a", steps=4, resolution=32, cache=False)
    rising, source, target = inversion.path[::-1], *(flux.embed([PROMPTS[name]]) for name in ("source", "target"))
    latents, steps = [inversion.trajectory[-1]], []
    for p, q in itertools.pairwise(rising):
        kept: dict[str, tuple[Tensor, Tensor]] = {}
        with flux.attending(keep(kept)):
            velocity = (latents[-1] - flux.denoise(latents[-1], q, source)) / q.sigma
        latents.append(latents[-1] + (q.sigma - p.sigma) * velocity)
        steps.append((p, q, latents[-2], latents[-1], kept))
    marked = torch.from_numpy(MASK > 0).view(1, 1, 32, 32)[..., ::2, ::2]  # the mask has the edges of tokens
    edited = latents[-1]
    for p, q, cleaner, noisier, kept in reversed(steps):
        shifted = edited + cleaner - noisier
        with flux.attending(insert(kept, marked[0, 0, ::2, ::2].flatten())):
            velocity = (shifted - flux.denoise(shifted, q, target)) / q.sigma
        edited = torch.where(marked, edited + (p.sigma - q.sigma) * velocity, cleaner)
    ours = edit(flux, inverter="aligned").latents
    assert largest(ours - edited) < 1e-5
    assert largest(edited - latents[0]) > 1e-3


def test_a_quarter_of_the_image_takes_fewer_operations(flux: Any) -> None:
    """Of 512 words and 2,304 image tokens, as of 768 x 768 pixels, an edit computes 1,088.

    The inversion computes all, or with ``fresh`` 2,240: then a whole edit takes less than 0.6 of the operations.
    """
    side, mask = 192, np.zeros((192, 192), np.uint8)
    mask[48:144, 48:144] = 255
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    call: dict[str, Any] = {"model": flux, "steps": 1, "resolution": side, "cache": False}

    def operations(operation: Callable[[], Any]) -> int:
        # Fused attention on CPUs is not counted.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            operation()
        return sum(counter.get_flop_counts()["FluxTransformer2DModel"].values())

    def edited(*controls: str) -> Any:
        params = {**PROMPTS, "mask": mask, "seed": 0, "attach": controls}
        return apply("prompt-edit", image, **call, **params)

    edited("kv-edit")  # finds the places of the tokens, once for each size
    inverted = operations(lambda: editkit.invert(image, prompt=PROMPTS["source"], method="pinned", **call))
    fewer, all_of_them = operations(lambda: edited("kv-edit")), operations(edited)
    assert fewer - inverted < 0.4 * (all_of_them - inverted)
    edited("kv-edit:fresh=true")
    assert operations(lambda: edited("kv-edit:fresh=true")) < 0.6 * all_of_them


def test_an_edit_replays_from_its_recipe(flux: Any) -> None:
    held = edit(flux)
    again = replay(held.encoded(".png", recipe="full"), model=flux)
    assert np.array_equal(np.asarray(again.image), np.asarray(held.image))


def test_less_strength_inverts_and_samples_less(flux: Any) -> None:
    whole, part = edit(flux), edit(flux, strength=0.5)
    assert part.report.network_samples < whole.report.network_samples
    assert np.array_equal(np.asarray(edit(flux, strength=0.0).image), IMAGE)


def test_a_part_of_a_saved_inversion_is_refused(flux: Any) -> None:
    inversion = editkit.invert(IMAGE, model=flux, prompt="a", steps=2, resolution=32, cache=False)
    with pytest.raises(InvalidParameter, match=r"strength=0.5 is not allowed: the inversion is of the whole path"):
        apply("prompt-edit", inversion, model=flux, target="b", strength=0.5)


def test_kv_edit_is_refused_where_it_cannot_act(flux: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="'kv-edit' is not allowed without a mask: give mask or auto_mask"):
        edit("no-such-model", mask=None)
    with pytest.raises(InvalidParameter, match="it reads inverter and source and target, and img2img has no"):
        apply("img2img", IMAGE, model="no-such-model", prompt="a", mask=MASK, attach=["kv-edit"])
    with pytest.raises(InvalidParameter, match="with inverter='ddim', which records no estimates"):
        edit(flux, inverter="ddim")
    with pytest.raises(InvalidParameter, match=r"'kv-edit:fresh=true' is not allowed with inverter='aligned'"):
        edit(flux, inverter="aligned", attach=["kv-edit:fresh=true"])
    with pytest.raises(InvalidParameter, match="not allowed beside other controls"):
        edit(flux, attach=["kv-edit", "value-injection"])
    inversion = editkit.invert(IMAGE, model=flux, prompt=PROMPTS["source"], steps=4, resolution=32, cache=False)
    with pytest.raises(InvalidParameter, match="it acts on the inversion too, which was made without it"):
        apply("prompt-edit", inversion, model=flux, target="b", mask=MASK, attach=["kv-edit"])
    unet = FOLDERS["StableDiffusionPipeline"](tmp_path / "model")
    with pytest.raises(MissingCapability, match=r"UNet2DConditionModel, whose convolutions take every place"):
        edit(unet)


def test_nothing_is_left_in_the_network(flux: Any) -> None:
    def hooks() -> int:
        return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in flux.net.modules())

    plain, before = np.asarray(edit(flux, attach=[]).image), hooks()
    edit(flux)
    assert hooks() == before
    assert np.array_equal(np.asarray(edit(flux, attach=[]).image), plain)
