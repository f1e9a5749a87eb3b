"""Laws of edited attention on every family: nothing changes by an edit that changes nothing, and nothing is left."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from editkit import (
    AttentionControl,
    AttentionInputs,
    AttentionSite,
    ControlSpec,
    InvalidParameter,
    MissingCapability,
    apply,
    load_model,
)
from editkit.registry.registry import PluginSource, installed
from editkit.testing.tiny import FOLDERS

FAMILIES = [kind for kind in FOLDERS if kind not in ("DDPMPipeline", "StableDiffusionUpscalePipeline")]
KINDS = {"UNet2DConditionModel": {"self", "cross"}, "PixArtTransformer2DModel": {"self", "cross"}}
KINDS |= {
    "CosmosTransformer3DModel": {"self", "cross"},
    "DiTTransformer2DModel": {"self"},
    "SD3Transformer2DModel": {"self", "joint"},
}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_model(FOLDERS[request.param](tmp_path_factory.mktemp("attention") / "model"))


def inputs(model: Any, rows: int = 2) -> tuple[Any, ...]:
    """Return latents of an image twice as wide as high, a point and a condition."""
    side = model.multiple * 4
    x = torch.randn(rows, *model.latent_shape(2 * side, side), generator=torch.Generator().manual_seed(0))
    prompts = ["0", "1"] if "DiT" in type(model.net).__name__ else ["a red apple", "a pear"]
    return x, model.schedule.point(500), model.embed(prompts[:rows])


def hooks(model: Any) -> int:
    """Return the number of hooks of all modules of a network."""
    modules = list(model.net.modules())
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)


@torch.no_grad()
def test_an_edit_that_changes_nothing_is_bit_identical_at_every_site(model: Any) -> None:
    sites: list[AttentionSite] = []

    def edit(call: AttentionInputs) -> torch.Tensor:
        sites.append(call.site)
        return call.unchanged()

    plain = model.denoise(*inputs(model))
    before = hooks(model)
    with model.attending(edit):
        edited = model.denoise(*inputs(model))
    assert torch.equal(plain, edited)
    assert torch.equal(plain, model.denoise(*inputs(model)))
    assert hooks(model) == before
    modules = {name for name, part in model.net.named_modules() if hasattr(part, "get_processor")}
    assert {site.name.partition("#")[0] for site in sites} == modules
    assert {site.kind for site in sites} == KINDS.get(type(model.net).__name__, {"joint"})
    height, width = inputs(model)[0].shape[-2:]
    assert all(site.grid[0] * width == site.grid[1] * height for site in sites)


@torch.no_grad()
def test_nothing_is_left_after_an_exception_within_an_attention(model: Any) -> None:
    plain, before = model.denoise(*inputs(model)), hooks(model)

    def edit(call: AttentionInputs) -> torch.Tensor:
        raise KeyError(call.site.name)

    with pytest.raises(KeyError), model.attending(edit):
        model.denoise(*inputs(model))
    assert hooks(model) == before
    assert torch.equal(plain, model.denoise(*inputs(model)))


@torch.no_grad()
def test_other_threads_of_a_model_are_not_edited(model: Any) -> None:
    plain = model.denoise(*inputs(model))
    with model.attending(lambda call: torch.zeros_like(call.query)), ThreadPoolExecutor(1) as pool:
        assert torch.equal(pool.submit(torch.no_grad()(model.denoise), *inputs(model)).result(), plain)
        assert not torch.equal(model.denoise(*inputs(model)), plain)


@torch.no_grad()
def test_an_image_token_stands_for_its_square_of_latents(model: Any) -> None:
    if "UNet" in type(model.net).__name__:
        pytest.skip("convolutions mix the tokens of a UNet")
    x, point, condition = inputs(model, rows=1)
    queries: list[tuple[AttentionSite, torch.Tensor]] = []

    def edit(call: AttentionInputs) -> torch.Tensor:
        queries.append((call.site, call.query[0]))
        return torch.zeros_like(call.query)

    other = x.clone()
    other[:, :, -1, 0] += 1  # the first column of the last row
    with model.attending(edit):
        model.denoise(x, point, condition)
        model.denoise(other, point, condition)
    half = len(queries) // 2
    for (site, one), (_, two) in zip(queries[:half], queries[half:], strict=True):
        changed = (one != two).any(0).any(-1).nonzero().flatten().tolist()
        rows, columns = site.grid
        assert changed == [site.image.start + (rows - 1) * columns], site.name


class Source(AttentionControl):
    """Every token of the edit takes queries, keys and values of its source: an edit of the image is none."""

    def edit(self, inputs: AttentionInputs) -> torch.Tensor:
        query, key, value = (self.from_source(inputs, name) for name in ("query", "key", "value"))
        return inputs.attend(query, key, value, inputs.bias)


@pytest.fixture
def source_control() -> Iterator[str]:
    spec = ControlSpec(
        name="take-source",
        summary="Attention of the source.",
        load=lambda: lambda params: lambda session, path: Source(),
        needs=frozenset({"attention"}),
        reads=frozenset({"source", "target"}),
    )
    registry = installed()
    registry.insert(PluginSource("test", "test", "test", "0"), "controls", spec)
    yield spec.name
    del registry.specs["controls"][spec.name]


@pytest.mark.parametrize(
    "kind",
    # The prompts of Chroma have 512 tokens.
    ["StableDiffusionPipeline", "FluxPipeline", pytest.param("ChromaPipeline", marks=pytest.mark.slow)],
)
def test_attention_of_the_source_brings_the_edit_to_the_source(kind: str, tmp_path: Path, source_control: str) -> None:
    folder = FOLDERS[kind](tmp_path / "model")
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    call = {"model": folder, "source": "a red apple", "target": "a pear", "steps": 3, "seed": 0}
    plain = apply("prompt-edit", image, **call)
    held = apply("prompt-edit", image, attach=[source_control], **call)
    distance = [np.abs(np.asarray(one.image, int) - image.astype(int)).mean() for one in (plain, held)]
    # The image still follows the target where no attention is involved: residual blocks, modulation by pooled words.
    assert distance[1] < distance[0]
    assert held.report.recon_psnr == pytest.approx(held.report.vae_psnr, abs=1e-6)


def test_a_control_of_a_source_is_refused_where_there_is_none(tmp_path: Path, source_control: str) -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(InvalidParameter, match="reads source and target, and img2img has no source"):
        apply("img2img", image, model="no-such-model", prompt="a pear", attach=[source_control])
    folder = FOLDERS["StableDiffusionUpscalePipeline"](tmp_path / "model")
    with pytest.raises(MissingCapability, match=r"take-source.*needs attention"):
        apply("prompt-edit", image, model=folder, source="a", target="a pear", attach=[source_control])


@torch.no_grad()
def test_words_have_the_places_of_their_tokens(model: Any) -> None:
    if "DiT" in type(model.net).__name__:
        pytest.skip("classes are no words")
    words = [word for word in model.words("a red apple") if word.text in ("red", "apple")]
    assert [word.text for word in words][:2] == ["red", "apple"]
    others = {word.place: word.token for word in model.words("a green apple")}
    assert [others[word.place] == word.token for word in words][:2] == [False, True]


class Recorder(AttentionControl):
    """Counts the attentions of an inversion and of the sampling after it."""

    acts_on_inversion = True

    def __init__(self) -> None:
        super().__init__()
        self.directions: list[str] = []

    def edit(self, inputs: AttentionInputs) -> torch.Tensor:
        rises = self.path[0].sigma < self.path[-1].sigma
        self.directions.append(f"{'up' if rises else 'down'} {len(self.rows(inputs))} {self.sources}")
        return inputs.unchanged()


def test_a_control_may_act_on_the_inversion_and_on_the_sampling(tmp_path: Path) -> None:
    recorder = Recorder()
    spec = ControlSpec(
        name="recorder", summary="It counts.", load=lambda: lambda params: lambda session, path: recorder
    )
    registry = installed()
    registry.insert(PluginSource("test", "test", "test", "0"), "controls", spec)
    folder = FOLDERS["FluxPipeline"](tmp_path / "model")
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    call = {"model": folder, "source": "a red apple", "target": "a pear", "steps": 2, "seed": 0}
    try:
        recorded = apply("prompt-edit", image, attach=["recorder"], **call)
    finally:
        del registry.specs["controls"]["recorder"]
    assert list(dict.fromkeys(recorder.directions)) == ["up 1 (0,)", "down 2 (0, 0)"]
    plain = apply("prompt-edit", image, **call, cache=False)
    assert np.array_equal(np.asarray(recorded.image), np.asarray(plain.image))
