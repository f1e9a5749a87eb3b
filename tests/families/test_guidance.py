"""Guidance of each family is that of its own pipeline, and its usual settings are those of its publication."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AdaptiveProjectedMixGuidance
from editkit_diffusers.universal.description import facts_of_folder
from editkit_diffusers.universal.loading import share_pipeline
from torch import Tensor

import editkit
from editkit import InvalidParameter, MissingCapability, Session
from families.tables import FAMILIES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning"),
]
STEPS = 2
USUAL: dict[str, dict[str, Any]] = {
    "aura-flow": {"steps": 50, "guidance": 3.5},
    "bria": {"steps": 30, "guidance": 5.0},
    "chroma": {"steps": 35, "guidance": 5.0},
    "cogview3-plus": {"steps": 50, "guidance": 5.0},
    "cogview4": {"steps": 50, "guidance": 5.0},
    "ernie-image": {"steps": 50, "guidance": 4.0},
    "fibo": {"steps": 30, "guidance": 5.0},
    "flux2": {"steps": 50, "guidance": 4.0},
    "flux2-klein": {"steps": 4, "guidance": 1.0},
    "flux2-klein-base": {"steps": 50, "guidance": 4.0},
    "hidream": {"steps": 50, "guidance": 5.0},
    "hunyuan-dit": {"steps": 50, "guidance": 5.0},
    "hunyuan-image": {"steps": 50, "guidance": 1.0},
    "ideogram4": {"steps": 48, "guidance": 7.0},
    "kandinsky3": {"steps": 25, "guidance": 4.0},
    "kandinsky5": {"steps": 50, "guidance": 3.5},
    "krea2": {"steps": 28, "guidance": 5.5},
    "krea2-turbo": {"steps": 8, "guidance": 1.0},
    "longcat-image": {"steps": 50, "guidance": 4.5},
    "lumina-next": {"steps": 30, "guidance": 4.0},
    "lumina2": {"steps": 30, "guidance": 4.0},
    "nucleus-image": {"steps": 50, "guidance": 4.0},
    "ovis-image": {"steps": 50, "guidance": 5.0},
    "qwen-image": {"steps": 50, "guidance": 4.0},
    "qwen-image-21": {"steps": 40, "guidance": 1.0},
    "sana": {"steps": 20, "guidance": 4.5},
    "z-image": {"steps": 50, "guidance": 6.0},
    "z-image-turbo": {"steps": 8, "guidance": 1.0},
}
"""Steps and guidance, in editkit's terms: one more than the pipeline's where it is off at 0."""
OTHER_STEPS = ("kandinsky3", "cogview3-plus")
"""Families whose scheduler adds noise in each step, or steps to other timesteps than the next of its path."""


@pytest.fixture(params=USUAL, scope="module")
def model(request: pytest.FixtureRequest) -> Any:
    family = FAMILIES[request.param]
    if family.needs and not importlib.util.find_spec(family.needs):
        pytest.skip(f"diffusers needs {family.needs} for it")
    return share_pipeline(family.pipeline(), name=family.name)


@pytest.fixture
def session_noise(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Tensor]]:
    """A list whose first entry is the noise from which editkit samples."""
    noise: list[Tensor] = []
    monkeypatch.setattr(Session, "noise", lambda session: noise[0])
    yield noise


def draw(pipe: Any, arguments: dict[str, Any], shape: torch.Size) -> tuple[Tensor, Tensor]:
    """The image (1, 3, H, W) that a pipeline draws, and its noise as it packs it, of a shape but for the batch."""
    noises: list[Tensor] = []
    kind = type(pipe)
    options = {"num_inference_steps": STEPS, "output_type": "pt", "return_dict": False}
    if not hasattr(kind, "prepare_latents"):
        noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
        return pipe(latents=noise, **options, **arguments)[0], noise

    def prepare(*given: Any, **named: Any) -> Any:
        prepared = kind.prepare_latents(pipe, *given, **named)
        noises.append((prepared[0] if isinstance(prepared, tuple) else prepared).clone())
        return prepared

    pipe.prepare_latents = prepare
    image = pipe(generator=torch.Generator().manual_seed(0), **options, **arguments)[0]
    del pipe.prepare_latents
    return image, noises[0]


def generate(model: Any, arguments: dict[str, Any], **params: Any) -> Any:
    size = {"width": arguments["width"], "height": arguments["height"]}
    return editkit.apply("generate", model=model, prompt=arguments["prompt"], steps=STEPS, seed=0, **size, **params)


def test_guidance_is_that_of_the_pipeline(model: Any, session_noise: list[Tensor]) -> None:
    """Also with a negative prompt, where the pipeline takes one; 1 is the prompt alone, in one estimate."""
    family, layout = FAMILIES[model.name], model.call.layout(FAMILIES[model.name].size)
    if family.guided is None or model.name in OTHER_STEPS:
        pytest.skip("it is not guided, or steps otherwise")
    for negative in ("", "a grey pear") if model.takes_negative_prompt else ("",):
        arguments = family.arguments(guided=True)
        scale = arguments[model.call.scale_argument] + 1 - model.call.facts.unguided
        if "negative_prompt" in arguments or negative:
            arguments["negative_prompt"] = negative
        image, noise = draw(model.pipe, arguments, layout.sampled)
        session_noise[:] = [layout.unpack(noise)]
        ours = generate(model, arguments, guidance=scale, negative_prompt=negative)
        torch.testing.assert_close(model.decode(ours.latents), image[:, :3].clamp(0, 1), atol=1e-4, rtol=0)
        assert ours.report.network_samples == (1 if "own-guidance" in model.provides else 2) * STEPS
        assert ours.report.warnings == ()
    image, noise = draw(model.pipe, family.arguments(), layout.sampled)
    session_noise[:] = [layout.unpack(noise)]
    ours = generate(model, arguments, guidance=1.0)
    torch.testing.assert_close(model.decode(ours.latents), image[:, :3].clamp(0, 1), atol=1e-4, rtol=0)
    assert ours.report.network_samples == STEPS


def test_usual_settings_are_those_of_the_publication(model: Any) -> None:
    assert {key: model.usual[key] for key in ("steps", "guidance")} == USUAL[model.name]


def test_what_a_pipeline_that_guides_itself_does_not_take_is_refused(model: Any) -> None:
    if "own-guidance" not in model.provides:
        pytest.skip("guidance is by estimates")
    arguments = FAMILIES[model.name].arguments()
    with pytest.raises(InvalidParameter, match=r"guidance=0\.5 is not allowed: \w+ guides by itself"):
        generate(model, arguments, guidance=0.5)
    with pytest.raises(MissingCapability, match="guidance_rescale= needs guidance by two estimates"):
        generate(model, arguments, guidance=3.0, guidance_rescale=0.5)
    if not model.takes_negative_prompt:
        with pytest.raises(MissingCapability, match="negative_prompt= needs guidance by two estimates"):
            generate(model, arguments, guidance=3.0, negative_prompt="a pear")


def test_a_guider_of_another_kind_is_a_warning() -> None:
    pipe = FAMILIES["hunyuan-image"].pipeline()
    pipe.register_modules(guider=AdaptiveProjectedMixGuidance())
    model = share_pipeline(pipe, name="hunyuan-image")
    assert model.usual["guidance"] == AdaptiveProjectedMixGuidance().guidance_scale
    assert "guider (AdaptiveProjectedMixGuidance) is not used" in model.warnings[0]


@pytest.mark.parametrize("name", ["krea2-turbo", "flux2", "sana"])
def test_the_description_of_a_folder_has_its_usual_settings(name: str, family_folder: Callable[[str], Path]) -> None:
    assert {key: facts_of_folder(family_folder(name)).usual[key] for key in ("steps", "guidance")} == USUAL[name]
