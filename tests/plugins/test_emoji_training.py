"""Training of the bundled model: the optimiser, the image-conditioned network, and its texts."""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionInstructPix2PixPipeline, StableDiffusionPipeline
from editkit_emoji.training import grammar, instructions, inverted_noise, muon, pairs, texts, wordings
from editkit_emoji.training.autoencoder import new_autoencoder
from editkit_emoji.training.data import Emoji
from editkit_emoji.training.model_folder import SMALLEST_IN_8_BITS, store_in_8_bits, write_models
from editkit_emoji.training.network import (
    OUTER,
    TextToLatents,
    new_network,
    with_image_channels,
    without_image_channels,
)
from editkit_emoji.training.tokenizer import new_tokenizer, tokens_of
from transformers import PreTrainedTokenizerFast

EMOJIS = [
    Emoji("flat", "red apple", "red apple", None),
    Emoji("flat", "green apple", "green apple", None),
    Emoji("3d", "red apple", "red apple", None),
    Emoji("flat", "woman curly hair", "woman curly hair", None),
    Emoji("flat", "woman red hair", "woman red hair", None),
    Emoji("flat", "waving hand", "waving hand", None),
    Emoji("flat", "waving hand dark", "waving hand", "dark"),
]


@pytest.fixture(scope="module")
def network() -> TextToLatents:
    torch.manual_seed(0)
    return new_network(new_tokenizer(EMOJIS), 16, 8, (16, 32)).eval()


def test_an_update_of_muon_has_singular_values_near_one() -> None:
    for shape in ((32, 96), (96, 32), (24, 200)):
        values = torch.linalg.svdvals(muon.orthogonal(torch.randn(shape, generator=torch.Generator().manual_seed(0))))
        assert 0.6 < float(values.min()) < float(values.max()) < 1.3, (shape, values)


def test_muon_finds_the_least_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(64, 8, generator=generator), torch.randn(64, 8, generator=generator)
    weight = torch.nn.Parameter(torch.zeros(8, 8))
    optimiser = muon.Muon([weight], lr=0.2)
    for step in range(400):
        optimiser.param_groups[0]["lr"] = 0.2 * (1 - step / 400)
        (inputs @ weight.T - targets).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    exact = torch.linalg.lstsq(inputs, targets).solution.T
    assert float((weight.detach() - exact).abs().max()) < 1e-2


def test_muon_updates_weights_of_a_shape_together_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "quick_bfloat16", lambda device: False)
    generator = torch.Generator().manual_seed(0)
    values, gradients = torch.randn(2, 3, 6, 2, 3, generator=generator)

    def updated(rows: list[int]) -> list[torch.nn.Parameter]:
        weights = [torch.nn.Parameter(values[row].clone()) for row in rows]
        optimiser = muon.Muon(weights, lr=0.1)
        for _ in range(2):
            for weight, row in zip(weights, rows, strict=True):
                weight.grad = gradients[row].clone()
            optimiser.step()
        return weights

    together, alone = updated([0, 1, 2]), [weight for row in range(3) for weight in updated([row])]
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_muon_trains_the_hidden_matrices_and_no_others(network: TextToLatents) -> None:
    muon_ids = {id(weight) for weight in muon.hidden_matrices(network, outer=OUTER)}
    named = {name: id(weight) in muon_ids for name, weight in network.named_parameters()}
    assert not any(included for name, included in named.items() if "conv_in" in name or "token_embedding" in name)
    assert not any(included for name, included in named.items() if name.endswith("bias"))
    assert named["unet.mid_block.resnets.0.conv1.weight"]


def test_added_image_channels_start_at_zero_and_can_be_removed(network: TextToLatents) -> None:
    with_image = with_image_channels(network.unet)
    words = torch.randn(2, 24, 256)
    x, emoji = torch.randn(2, 2, 16, 8, 8)
    alone = network.unet(x, 500, encoder_hidden_states=words).sample
    beside = with_image(torch.cat([x, emoji], 1), 500, encoder_hidden_states=words).sample
    assert torch.equal(alone, beside)
    again = without_image_channels(with_image).state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in network.unet.state_dict().items())


@pytest.mark.slow
def test_both_folders_load_in_diffusers_and_differ_in_the_first_file_alone(
    network: TextToLatents, tmp_path: Path
) -> None:
    tokenizer, vae = new_tokenizer(EMOJIS), new_autoencoder(64)
    with_image = TextToLatents(network.text_encoder, with_image_channels(network.unet))
    write_models(with_image, vae, tokenizer, tmp_path)
    assert StableDiffusionPipeline.from_pretrained(tmp_path / "model").unet.config.in_channels == 16
    assert StableDiffusionInstructPix2PixPipeline.from_pretrained(tmp_path / "instruct").unet.config.in_channels == 32
    files = {file.relative_to(tmp_path / "model") for file in (tmp_path / "model").rglob("*.safetensors")}
    differing = {
        file.name
        for file in files
        if (tmp_path / "model" / file).read_bytes() != (tmp_path / "instruct" / file).read_bytes()
    }
    assert differing == {"diffusion_pytorch_model-00001-of-00002.safetensors"}


def test_large_weights_in_8_bits_come_back_within_their_rounding(tmp_path: Path) -> None:
    """E4M3 has three bits after the first one; diffusers reads it into float32."""
    autoencoder = new_autoencoder(16, (8, 32))
    autoencoder.save_pretrained(tmp_path)
    store_in_8_bits(tmp_path)
    read = AutoencoderKL.from_pretrained(tmp_path).state_dict()
    rounded = 0
    for name, weight in autoencoder.state_dict().items():
        assert read[name].dtype == torch.float32
        if weight.numel() < SMALLEST_IN_8_BITS:
            assert torch.equal(read[name], weight)
        else:
            rounded += 1
            assert bool(((read[name] - weight).abs() <= (weight.abs() / 16).clamp(min=2**-10)).all())
    assert rounded


def test_every_pair_has_instructions_excluded_from_training() -> None:
    found = pairs.all_pairs(EMOJIS)
    assert {pair.attribute for pair in found} >= {"colour", "style", "hair", "skin tone"}
    for pair in found:
        source = EMOJIS[pair.source]
        trained, unseen = (
            instructions.wordings(templates, pair.attribute, source, pair.was, pair.new)
            for templates in (instructions.TRAINED, instructions.UNSEEN)
        )
        assert trained
        assert unseen
        assert not set(trained) & set(unseen)
        assert all("{" not in text and "  " not in text for text in trained + unseen)


def test_instructions_read_as_a_person_would_write_them() -> None:
    hair = next(pair for pair in pairs.all_pairs(EMOJIS) if pair.attribute == "hair")
    request = instructions.wordings(instructions.TRAINED, "hair", EMOJIS[hair.source], hair.was, hair.new)
    assert request[0] == "give her red hair"
    tokenizer = new_tokenizer(EMOJIS)
    assert bool((tokens_of(tokenizer, ["change the skin tone to medium light"]) != tokenizer.pad_token_id).any())


def test_a_perturbation_keeps_the_named_values_and_their_order() -> None:
    generator = torch.Generator().manual_seed(0)
    request, kept = "replace the red hair with curly hair", ["red", "hair", "curly", "hair"]
    texts = {instructions.perturb(request, {*kept}, generator) for _ in range(200)}
    assert all([word for word in text.split() if word in kept] == kept for text in texts)
    assert len(texts) > 50


@pytest.fixture(scope="module")
def emojis() -> list[Emoji]:
    """Emojis of three styles and of colours, some of them held out, with pairs of all three attributes."""
    names = [f"{colour} thing {number}" for number in range(12) for colour in ("red", "green", "blue")]
    return [Emoji(style, name, name, None) for style in ("flat", "3d", "noto") for name in names]


@pytest.fixture(scope="module")
def tokenizer(emojis: list[Emoji]) -> PreTrainedTokenizerFast:
    return new_tokenizer(emojis)


@pytest.fixture(scope="module")
def pools(emojis: list[Emoji], tokenizer: PreTrainedTokenizerFast) -> dict[texts.Kind, texts.Texts]:
    return texts.sample_texts(emojis, tokenizer, 200)


def test_texts_are_of_training_images_and_hold_no_excluded_wording(
    emojis: list[Emoji], tokenizer: PreTrainedTokenizerFast, pools: dict[texts.Kind, texts.Texts]
) -> None:
    held_out = {place for place, emoji in enumerate(emojis) if emoji.held_out}
    assert held_out
    assert not any(held_out & {*rows.places.flatten().tolist()} for rows in pools.values())
    found = {(pair.source, pair.target): pair for pair in pairs.all_pairs(emojis)}
    rows = pools["instruction"]
    for (source, target), tokens in zip(rows.places.tolist(), rows.tokens[:, 1], strict=True):
        text = tokenizer.decode(tokens, skip_special_tokens=True).strip()
        assert (source == target) == (not text), "the target of an empty instruction is the source"
        if text:
            pair = found[source, target]
            excluded = instructions.wordings(instructions.UNSEEN, pair.attribute, emojis[source], pair.was, pair.new)
            assert not any(wording in text for wording in excluded)
    silent = (rows.places[:, 0] == rows.places[:, 1]).float().mean()
    assert 0 < float(silent) < 3 * texts.WITHOUT_INSTRUCTION


def test_only_texts_of_a_redrawn_image_omit_its_style_and_never_those_of_a_pair_of_styles(
    emojis: list[Emoji], tokenizer: PreTrainedTokenizerFast, pools: dict[texts.Kind, texts.Texts]
) -> None:
    of_styles = {(pair.source, pair.target) for pair in pairs.all_pairs(emojis) if pair.attribute == "style"}
    for kind in ("pair", "instruction"):
        restyled = pools[kind].places[pools[kind].restyled].tolist()
        assert restyled
        assert not of_styles & {(source, target) for source, target in restyled}
    redrawn = tokenizer.batch_decode(pools["single"].tokens[pools["single"].restyled, 0], skip_special_tokens=True)
    assert redrawn
    assert not any(style in text for text in redrawn for style in ("flat", "3d", "noto"))


@pytest.mark.slow
def test_texts_do_not_depend_on_the_number_of_workers(
    emojis: list[Emoji], tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "CHUNK", 20)
    here, there = (texts.sample_texts(emojis, tokenizer, 50, workers) for workers in (0, 1))
    assert here.keys() == there.keys() == {*texts.KINDS}
    for kind, rows in here.items():
        assert len(rows.places) == 50
        assert all(torch.equal(one, other) for one, other in zip(rows, there[kind], strict=True))


def test_the_grammar_keeps_the_named_values_and_no_wording_of_the_tests() -> None:
    generator = torch.Generator().manual_seed(0)
    for pair in pairs.all_pairs(EMOJIS):
        source = EMOJIS[pair.source]
        unseen = set(instructions.wordings(instructions.UNSEEN, pair.attribute, source, pair.was, pair.new))
        samples = {grammar.sample_instruction(pair, source, generator) for _ in range(60)}
        assert len(samples) > 20
        assert not any(wording in text for wording in unseen for text in samples)
        assert all(pair.new.replace("-", " ") in text for text in samples)
        assert not any(mark in text for text in samples for mark in "<>{}")


def test_training_of_wordings_changes_the_text_encoder_alone_and_keeps_the_embeddings_of_captions(
    emojis: list[Emoji],
    tokenizer: PreTrainedTokenizerFast,
    pools: dict[texts.Kind, texts.Texts],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wordings, "CAPTIONS", 4)
    network = new_network(tokenizer, 4, 8, (16, 32))
    network.unet = with_image_channels(network.unet).requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    latents = torch.randn(len(emojis), 4, 8, 8, generator=torch.Generator().manual_seed(0))
    options = argparse.Namespace(batch=4, device="cpu")
    loss = wordings.WordingLoss(network, latents, pools["instruction"], pools["single"], options)
    optimiser = torch.optim.AdamW([weight for weight in network.parameters() if weight.requires_grad], lr=1e-3)
    assert caption_error(loss) == 0
    loss(torch.Generator().manual_seed(0)).backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    changed = {name for name, weight in network.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed
    assert all(name.startswith("text_encoder.") for name in changed)
    worse = caption_error(loss)
    loss.bring_captions_back(10, 1e-3)
    assert 0 < caption_error(loss) < 0.5 * worse
    state = copy.deepcopy(network.state_dict())
    loss.reduce_changes(0)
    (name,) = (name for name, weight in network.state_dict().items() if not torch.equal(weight, before[name]))
    seen = pools["single"].tokens.unique().long()
    assert name.endswith("token_embedding.weight") and torch.equal(network.state_dict()[name][seen], before[name][seen])
    unseen = torch.ones(len(before[name]), dtype=torch.bool)
    unseen[seen] = False
    assert torch.equal(network.state_dict()[name][unseen], state[name][unseen])


@torch.no_grad()
def caption_error(loss: wordings.WordingLoss) -> float:
    return float(loss.caption_error(torch.Generator().manual_seed(0)))


def test_neighbours_correlate_in_smooth_noise_and_not_in_white_noise() -> None:
    white = 2 * torch.randn(50, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert inverted_noise.deviations(white).sub(2).abs().max() < 0.1
    assert inverted_noise.neighbour_correlations(white).abs().max() < 0.05
    smooth = torch.nn.functional.avg_pool2d(white, 2, stride=1)
    assert inverted_noise.neighbour_correlations(smooth).sub(0.5).abs().max() < 0.05
