"""Laws of the ControlNets' training: initialisation, trainable weights, measures of agreement."""

from __future__ import annotations

import dataclasses as dc
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from editkit_emoji.training import controlnet, evaluate_control
from editkit_emoji.training.autoencoder import new_autoencoder
from editkit_emoji.training.conditions import KINDS, correlation, f_score, to_control
from editkit_emoji.training.controlnet import ControlledDenoiser, Examples, Maps, load_base, new_controlnet
from editkit_emoji.training.data import Emoji
from editkit_emoji.training.model_folder import write_model
from editkit_emoji.training.network import TextToLatents, new_network
from editkit_emoji.training.noising import SCHEDULE
from editkit_emoji.training.texts import Texts
from editkit_emoji.training.tokenizer import new_tokenizer
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file

from editkit import to_x0

pytestmark = pytest.mark.slow

SIZE = 16
CHANNELS = 16


def disc(radius: float, *, ground: int = 255) -> NDArray[np.uint8]:
    """A dark disc (SIZE, SIZE, 3) on a plain ground."""
    row, column = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    return np.where((np.hypot(row, column) < radius)[..., None], [40, 80, 120], ground).astype(np.uint8)


def line(place: int) -> NDArray[np.uint8]:
    """A map (SIZE, SIZE) with one vertical line."""
    values = np.zeros((SIZE, SIZE), np.uint8)
    values[:, place] = 255
    return values


def training_and_held_out_emojis() -> list[Emoji]:
    """Eight training emojis, then four held-out ones."""
    named = [Emoji("flat", f"disc {number}", f"disc {number}", None) for number in range(300)]
    return [emoji for emoji in named if not emoji.held_out][:8] + [p for p in named if p.held_out][:4]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of a dozen discs."""
    folder = tmp_path_factory.mktemp("data")
    emojis = training_and_held_out_emojis()
    pixels = np.stack([disc(3 + 0.3 * place) for place in range(len(emojis))])
    np.save(folder / f"pictures-{SIZE}.npy", pixels)
    np.save(folder / f"alpha-{SIZE}.npy", np.where(pixels[..., 0] < 255, 255, 0).astype(np.uint8))
    (folder / "pictures.json").write_text(json.dumps([dc.asdict(emoji) for emoji in emojis]))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untrained tiny model."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    tokenizer = new_tokenizer(training_and_held_out_emojis())
    write_model(new_network(tokenizer, CHANNELS, SIZE // 8, (16, 32)), new_autoencoder(SIZE), tokenizer, folder)
    return folder


@pytest.fixture
def base(model: Path) -> TextToLatents:
    return load_base(model).network


def test_a_new_controlnet_changes_nothing_and_starts_from_the_unet(base: TextToLatents) -> None:
    untrained = new_controlnet(base.unet)
    noisy, timesteps = torch.randn(2, CHANNELS, 2, 2), torch.tensor([10, 900])
    tokens, control = torch.zeros(2, 5, dtype=torch.long), torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        torch.testing.assert_close(
            ControlledDenoiser(base, untrained)(noisy, timesteps, tokens, control),
            base(noisy, timesteps, tokens),
            rtol=0,
            atol=0,
        )
    trained = base.unet.state_dict()
    shared = [name for name in untrained.state_dict() if name in trained]
    assert all(torch.equal(untrained.state_dict()[name], trained[name]) for name in shared)
    assert {name.split(".")[0] for name in shared} == {"conv_in", "time_embedding", "down_blocks", "mid_block"}
    fresh = {name.split(".")[0] for name in untrained.state_dict()} - {name.split(".")[0] for name in shared}
    assert fresh == {"controlnet_cond_embedding", "controlnet_down_blocks", "controlnet_mid_block"}


def test_only_the_controlnet_is_trained(base: TextToLatents) -> None:
    network = ControlledDenoiser(base, new_controlnet(base.unet))
    learning = {name for name, weight in network.named_parameters() if weight.requires_grad}
    assert learning == {f"controlnet.{name}" for name, _ in network.controlnet.named_parameters()}


def test_a_batch_mirrors_a_condition_together_with_its_latents() -> None:
    """Latents equal to the maps of both kinds show which map belongs to which row."""
    count, rows = 6, 48
    values = torch.randint(0, 256, (2, count, SIZE, SIZE), dtype=torch.uint8)
    valid = torch.tensor([[True, True, True, True, False, False], [True, True, False, False, True, False]])
    latents = torch.stack([values, values.flip(-1)]).transpose(1, 2).float() / 255
    places = torch.arange(count).repeat(2)[:, None].expand(-1, 2)
    restyled = torch.arange(2 * count) >= count
    captions = Texts(places, torch.where(restyled, 9, 1)[:, None, None].expand(-1, 2, 1), restyled)
    batch = Examples(Maps(values, valid), latents, captions, torch.zeros(1, 1, dtype=torch.long)).batch(
        rows, torch.Generator().manual_seed(0)
    )
    seen = set()
    for noisy, timestep, tokens, control, v_target in zip(*batch, strict=True):
        clean = to_x0("v_prediction", v_target, noisy, SCHEDULE.point(int(timestep)))
        (side, place), *others = torch.nonzero((latents - clean).abs().amax((2, 3, 4)) < 1e-3).tolist()
        assert not others
        (kind,) = torch.nonzero((clean - control[0]).abs().amax((1, 2)) < 1e-3).flatten().tolist()
        assert bool(valid[kind, place])
        seen.add((side, kind))
        assert int(tokens) in {0, 1}, "no caption of a redrawn image"
    assert len(seen) == 4


def test_an_edge_counts_within_the_tolerance_and_not_beyond() -> None:
    assert f_score(line(5), line(7), tolerance=2) == 1
    assert f_score(line(5), line(8), tolerance=2) == 0
    both = np.maximum(line(5), line(12))
    assert f_score(both, line(5), tolerance=2) == pytest.approx(2 / 3)
    assert f_score(line(5), both, tolerance=2) == pytest.approx(2 / 3)


def test_maps_without_edges_agree_with_each_other_alone() -> None:
    empty = np.zeros((SIZE, SIZE), np.uint8)
    assert f_score(empty, empty, tolerance=2) == 1
    assert f_score(empty, line(3), tolerance=2) == f_score(line(3), empty, tolerance=2) == 0


def test_correlation_ignores_scale_and_is_zero_for_constant_maps() -> None:
    ramp = np.tile(np.arange(SIZE, dtype=np.uint8), (SIZE, 1))
    assert correlation(ramp, 3 * ramp + 7) == pytest.approx(1)
    assert correlation(ramp, 255 - ramp) == pytest.approx(-1)
    assert correlation(ramp, ramp.T) == pytest.approx(0, abs=1e-12)
    assert correlation(ramp, np.full_like(ramp, 9)) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_agrees_fully_with_its_own_condition_and_less_with_another(kind: str) -> None:
    small, large = (KINDS[kind].map_of(disc(radius)) for radius in (3.0, 7.0))
    assert small is not None and large is not None
    agreements = KINDS[kind].agreements([disc(3.0), disc(3.0)], [small, large])
    assert agreements[0] == pytest.approx(1)
    assert (agreements[1] < 0.9).all()


def test_an_image_without_a_plain_background_has_no_relief() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    assert KINDS["relief"].map_of(noise) is None
    assert np.isnan(KINDS["relief"].agreements([noise], [line(3)])).all()


def test_a_control_tensor_equals_that_of_diffusers() -> None:
    values = KINDS["relief"].map_of(disc(5.0))
    assert values is not None
    processor = VaeImageProcessor(vae_scale_factor=8, do_convert_rgb=True, do_normalize=False)
    torch.testing.assert_close(
        to_control(torch.from_numpy(values)[None]), processor.preprocess(Image.fromarray(values))
    )


def run_script(monkeypatch: pytest.MonkeyPatch, main: Callable[[], None], *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    main()


def test_a_run_writes_weights_that_the_evaluation_loads(
    rendered: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shared = ("--data", rendered, "--size", SIZE, "--model", model, "--threads", 1)
    own = ("--run", tmp_path, "--batch", 2, "--steps", 2, "--texts", 50, "--device", "cpu")
    run_script(monkeypatch, controlnet.main, *shared, *own, "--kinds", *KINDS)
    weights = load_file(tmp_path / "weights" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} <= {torch.float16, torch.float8_e4m3fn}
    assert "_name_or_path" not in json.loads((tmp_path / "weights" / "config.json").read_text())
    logged = [json.loads(entry) for entry in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in logged] == [1, 2]
    assert logged[-1].keys() >= {f"{kind}_agreement" for kind in KINDS}

    for kind in KINDS:
        sheets = tmp_path / kind
        measured = ("--kind", kind, "--controlnet", tmp_path / "weights", "--pictures", 3, "--steps", 2)
        run_script(monkeypatch, evaluate_control.main, *shared, *measured, "--sheets", sheets)
        printed = capsys.readouterr().out
        assert all(f"| {way} | 3 |" in printed for way in evaluate_control.WAYS)
        assert len(list(sheets.glob("*.png"))) == len(evaluate_control.WAYS)
