"""Agreement with diffusers' editing pipelines to 1e-4 in float32 latents, and laws of the models behind them."""

from __future__ import annotations

import contextlib
import functools
import itertools
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import (
    ControlNetModel,
    DDIMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLControlNetImg2ImgPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLInpaintPipeline,
)
from PIL import Image
from torch import Tensor

import editkit
from editkit import (
    Backend,
    Edit,
    InvalidParameter,
    PixelEdit,
    Session,
    WeightsUnavailable,
    fill,
    paint,
    start_at,
)
from editkit.editing.opening import open_session
from editkit.editing.request import prepare
from editkit.editing.results.composing import compose
from editkit.images.blending.pull_push_fill import erase
from editkit.images.tensors import to_tensor
from editkit.registry.registry import installed
from editkit.testing import (
    BackendTests,
    controlnet_folder,
    inpainting_folder,
    instruct_folder,
    stable_diffusion_folder,
)
from editkit.testing.suite import assert_agree, sample_image
from editkit.testing.tiny import controlnet_xl_folder, stable_diffusion_xl_folder

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")]

Family = Literal["sd", "xl"]

FOLDERS: dict[str, dict[Family, Any]] = {
    "text": {"sd": stable_diffusion_folder, "xl": stable_diffusion_xl_folder},
    "inpainting": {"sd": inpainting_folder, "xl": functools.partial(stable_diffusion_xl_folder, kind="inpainting")},
    "instructions": {"sd": instruct_folder, "xl": functools.partial(stable_diffusion_xl_folder, kind="instructions")},
}
INPAINTING = {"sd": StableDiffusionInpaintPipeline, "xl": StableDiffusionXLInpaintPipeline}
CONTROL = {"sd": StableDiffusionControlNetPipeline, "xl": StableDiffusionXLControlNetPipeline}
CONTROL_IMG2IMG = {"sd": StableDiffusionControlNetImg2ImgPipeline, "xl": StableDiffusionXLControlNetImg2ImgPipeline}
SCHEDULERS = {"ddim": DDIMScheduler, "dpmpp-2m": DPMSolverMultistepScheduler, "euler": EulerDiscreteScheduler}


class Made(NamedTuple):
    """The properties of a tiny model."""

    family: Family = "sd"
    prediction: str = "epsilon"


CASES = [
    ("ddim", Made()),
    ("ddim", Made(prediction="v_prediction")),
    ("dpmpp-2m", Made(prediction="v_prediction")),
    ("euler", Made()),
    ("ddim", Made("xl")),
    ("dpmpp-2m", Made("xl", "v_prediction")),
]
"""Sampler and model."""
PROMPT = "a red apple on white"
SOURCE_IMAGE = sample_image((16, 16))
STEPS = 8
"""Of these and of half of these, the fractions below are whole steps."""
SEED = 7

each_case = pytest.mark.parametrize(
    ("sampler", "created"), CASES, ids=["-".join((name, *created)) for name, created in CASES]
)
each_way = pytest.mark.parametrize(("strength", "guidance"), [(1.0, 7.5), (0.5, 1.0)])


@functools.cache
def both(kind: str, created: Made = Made()) -> tuple[Backend, Any]:  # noqa: B008 (it is frozen)
    """One tiny folder, loaded by editkit and by diffusers."""
    with tempfile.TemporaryDirectory() as place:
        folder = FOLDERS[kind][created.family](Path(place), prediction_type=created.prediction)
        return editkit.load_model(folder, device="cpu"), DiffusionPipeline.from_pretrained(folder)


@pytest.fixture(scope="module")
def nets_of(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, list[Path]]:
    """Two ControlNets of each family."""
    writers = {"sd": controlnet_folder, "xl": controlnet_xl_folder}
    return {
        family: [write(tmp_path_factory.mktemp("net"), seed=seed) for seed in (1, 2)]
        for family, write in writers.items()
    }


@pytest.fixture
def nets(nets_of: dict[Family, list[Path]]) -> list[Path]:
    return nets_of["sd"]


def theirs(pipeline: Any, sampler: str, prompt: str = PROMPT, **arguments: Any) -> Tensor:
    """The latents of a diffusers pipeline; its noise is of the seed that editkit's is of."""
    pipeline.scheduler = SCHEDULERS[sampler].from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    drawn: Tensor = pipeline(
        prompt,
        num_inference_steps=STEPS,
        generator=torch.Generator().manual_seed(SEED),
        output_type="latent",
        **arguments,
    ).images
    return drawn


def grey(image: Image.Image) -> Tensor:
    """An image in mode L as (1, 1, H, W) in [0, 1]."""
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)[None, None]


@torch.no_grad()
def latents_of(pipeline: Any, pixels: Tensor) -> Tensor:
    """The mean of the autoencoder's distribution for pixels in [-1, 1]; the pipelines themselves sample from it."""
    mean: Tensor = pipeline.vae.encode(pixels).latent_dist.mode()
    return mean * pipeline.vae.config.scaling_factor


# Inpainting


def box(left: int, top: int, right: int, bottom: int) -> Image.Image:
    """A mask of the source's size, white in a box; latents are 2 x 2 pixels."""
    mask = Image.new("L", SOURCE_IMAGE.size)
    mask.paste(255, (left, top, right, bottom))
    return mask


MASK = box(2, 4, 10, 12)


def inpainting(kind: str, created: Made, mask: Image.Image = MASK, **params: Any) -> Session:
    values = {"mask": mask, "prompt": PROMPT, "steps": STEPS, "seed": SEED, **params}
    return open_session(
        installed(), prepare(installed(), "inpaint", SOURCE_IMAGE, values), both(kind, created)[0], None, False
    )


@torch.no_grad()
def filled(session: Session) -> Tensor:
    """The latents that inpaint paints in the place of its mask."""
    params: Any = session.params
    path = start_at(session.model.schedule, session.drawing_path(params.steps), params.strength)
    return fill(session, path, params.prompt, blank=params.strength == 1).latents


def kept_source(mask: Image.Image, strength: float) -> Tensor:
    """The source in [-1, 1]; at strength 1 without the pixels under the mask, as editkit encodes it."""
    pixels = to_tensor(SOURCE_IMAGE)
    return (erase(pixels, grey(mask)) if strength == 1 else pixels) * 2 - 1


def their_inpainting(pipeline: Any, sampler: str, mask: Image.Image, **arguments: Any) -> Tensor:
    pixels = kept_source(mask, arguments["strength"])
    left = pixels * (grey(mask) < 0.5)
    return theirs(
        pipeline,
        sampler,
        image=latents_of(pipeline, pixels),
        mask_image=mask,
        masked_image_latents=latents_of(pipeline, left),
        height=SOURCE_IMAGE.height,
        width=SOURCE_IMAGE.width,
        **arguments,
    )


class Held:
    """Holds what a mask protects to the noised source after each step, as diffusers does for models of 4 channels."""

    def __init__(self, pipeline: Any, mask: Image.Image, strength: float) -> None:
        self.clean = latents_of(pipeline, kept_source(mask, strength))
        self.noise = torch.randn(self.clean.shape, generator=torch.Generator().manual_seed(SEED))
        self.free = F.max_pool2d(grey(mask), 2)

    def __call__(self, pipeline: Any, step: int, timestep: Tensor, values: dict[str, Tensor]) -> dict[str, Tensor]:
        scheduler, held = pipeline.scheduler, self.clean
        following = scheduler.timesteps[len(scheduler.timesteps) - pipeline.num_timesteps :][step + 1 :]
        if len(following):
            held = scheduler.add_noise(self.clean, self.noise, following[:1])
        return {"latents": torch.where(self.free > 0, values["latents"], held)}


@each_case
@each_way
def test_inpainting_with_any_model(sampler: str, created: Made, strength: float, guidance: float) -> None:
    pipeline = INPAINTING[created.family].from_pipe(both("text", created)[1])
    expected = their_inpainting(pipeline, sampler, MASK, strength=strength, guidance_scale=guidance)
    ours = filled(inpainting("text", created, strength=strength, guidance=guidance, sampler=sampler))
    assert_agree(ours, expected)


@each_case
@each_way
def test_inpainting_with_a_model_made_for_it(sampler: str, created: Made, strength: float, guidance: float) -> None:
    """A full mask protects nothing; for a partial mask, a callback makes diffusers protect the rest."""
    pipeline = both("inpainting", created)[1]
    for mask in (box(0, 0, 16, 16), MASK):
        expected = their_inpainting(
            pipeline,
            sampler,
            mask,
            strength=strength,
            guidance_scale=guidance,
            callback_on_step_end=Held(pipeline, mask, strength),
        )
        ours = filled(inpainting("inpainting", created, mask, strength=strength, guidance=guidance, sampler=sampler))
        assert_agree(ours, expected)


@pytest.mark.parametrize("kind", ["text", "inpainting"])
def test_the_latents_compared_are_those_that_inpaint_paints(kind: str) -> None:
    session = inpainting(kind, Made())
    with torch.no_grad():
        painted = paint(session, Edit(filled(session), reconstructed=session.latents))
    values = {"mask": MASK, "prompt": PROMPT, "steps": STEPS, "seed": SEED}
    result = editkit.apply("inpaint", SOURCE_IMAGE, model=both(kind)[0], **values).image
    assert result.tobytes() == compose(session, PixelEdit(painted))[0].tobytes() != SOURCE_IMAGE.tobytes()


@pytest.mark.parametrize("sampler", SCHEDULERS)
def test_the_mask_changes_the_result_of_an_inpainting_model(sampler: str) -> None:
    one, other = (filled(inpainting("inpainting", Made(), mask, sampler=sampler)) for mask in (MASK, box(2, 4, 10, 14)))
    assert float((one - other)[..., 2:6, 1:5].abs().max()) > 1e-3


# Instructions


THREE, TWO = (7.5, 1.5, 3), ((7.5, 1.0, 2), (3.0, 3.0, 2))
"""Guidance by text and by image, and the branches that are evaluated."""


@pytest.mark.parametrize(
    ("sampler", "created", "text", "image", "branches"),
    [*((*case, *THREE) for case in CASES), *((*CASES[0], *scales) for scales in TWO)],
)
def test_instructions(sampler: str, created: Made, text: float, image: float, branches: int) -> None:
    model, pipeline = both("instructions", created)
    expected = theirs(
        pipeline, sampler, "a green pear", image=SOURCE_IMAGE, guidance_scale=text, image_guidance_scale=image
    )
    ours = editkit.apply(
        "instruct",
        SOURCE_IMAGE,
        model=model,
        instruction="a green pear",
        guidance=text,
        image_guidance=image,
        sampler=sampler,
        steps=STEPS,
        seed=SEED,
    )
    assert_agree(ours.latents, expected)
    assert ours.report.network_calls == STEPS
    assert ours.report.network_samples == branches * STEPS


def test_instructions_without_guidance_evaluate_one_branch() -> None:
    """Both scales at 1 leave the estimate under the instruction alone, which diffusers gives for any scale up to 1."""
    model, pipeline = both("instructions")
    expected = theirs(pipeline, "ddim", image=SOURCE_IMAGE, guidance_scale=1.0, image_guidance_scale=1.0)
    ours = editkit.apply(
        "instruct",
        SOURCE_IMAGE,
        model=model,
        instruction=PROMPT,
        guidance=1.0,
        image_guidance=1.0,
        steps=STEPS,
        seed=SEED,
    )
    assert_agree(ours.latents, expected)
    assert ours.report.network_samples == STEPS


# ControlNets

MAP = sample_image(SOURCE_IMAGE.size, seed=3).convert("L")
SCALE, START, END = 0.7, 0.3, 0.7  # of 8 steps they divide two
LINES = "edge"
"""Annotator whose maps are steered by where a ControlNet is attached by name."""


def hint_of(levels: Tensor) -> Tensor:
    """A map as diffusers takes one: (1, 3, H, W) in [0, 1]."""
    return levels.expand(1, 3, -1, -1)


def lines() -> Tensor:
    levels = installed().build("annotators", LINES)(SOURCE_IMAGE)
    return torch.as_tensor(levels, dtype=torch.float32)[None, None]


@functools.cache
def loaded_net(folder: Path) -> Any:
    return ControlNetModel.from_pretrained(folder)


def their_control(
    created: Made, sampler: str, nets: Sequence[Path], hints: Sequence[Tensor], strength: float, **arguments: Any
) -> Tensor:
    """One ControlNet or several; with a strength below 1 from the image."""
    loaded = [loaded_net(net) for net in nets]
    one = len(loaded) == 1
    kind = (CONTROL if strength == 1 else CONTROL_IMG2IMG)[created.family]
    pipeline = kind.from_pipe(both("text", created)[1], controlnet=loaded[0] if one else loaded)
    maps = hints[0] if one else list(hints)
    values: dict[str, Any] = {"image": maps}
    if strength < 1:
        source = latents_of(pipeline, to_tensor(SOURCE_IMAGE) * 2 - 1)
        values = {"image": source, "control_image": maps, "strength": strength}
    return theirs(pipeline, sampler, **values, **arguments)


def controlled(model: Backend, net: Path, **params: Any) -> Any:
    values = {"controlnet": str(net), "control_image": MAP, "prompt": PROMPT, "steps": STEPS, "seed": SEED}
    return editkit.apply("control", SOURCE_IMAGE, model=model, **{**values, **params})


@each_case
@each_way
def test_control(
    nets_of: dict[Family, list[Path]], sampler: str, created: Made, strength: float, guidance: float
) -> None:
    nets = nets_of[created.family]
    expected = their_control(
        created,
        sampler,
        nets[:1],
        [hint_of(grey(MAP))],
        strength,
        guidance_scale=guidance,
        controlnet_conditioning_scale=SCALE,
        control_guidance_start=START,
        control_guidance_end=END,
    )
    ours = controlled(
        both("text", created)[0],
        nets[0],
        control_scale=SCALE,
        control_start=START,
        control_end=END,
        strength=strength,
        guidance=guidance,
        sampler=sampler,
    )
    assert_agree(ours.latents, expected)


@pytest.mark.parametrize("family", ["sd", "xl"])
@each_way
def test_two_controls_at_once(
    nets_of: dict[Family, list[Path]], family: Family, strength: float, guidance: float
) -> None:
    created, sampler, nets = Made(family), "ddim", nets_of[family]
    expected = their_control(
        created,
        sampler,
        nets,
        [hint_of(grey(MAP)), hint_of(lines())],
        strength,
        guidance_scale=guidance,
        controlnet_conditioning_scale=[1.0, SCALE],
        control_guidance_start=[0.0, START],
        control_guidance_end=[1.0, END],
    )
    ours = controlled(
        both("text", created)[0],
        nets[0],
        strength=strength,
        guidance=guidance,
        sampler=sampler,
        attach=(f"controlnet:kind={LINES},weights={nets[1]},scale={SCALE},start={START},end={END}",),
    )
    assert_agree(ours.latents, expected)


def test_a_map_in_the_order_of_its_controlnet(nets: list[Path], tmp_path: Path) -> None:
    """Colours are swapped before a map is embedded; an embedded map stays as it is."""
    net = ControlNetModel.from_pretrained(nets[0])
    net.register_to_config(controlnet_conditioning_channel_order="bgr")
    net.save_pretrained(tmp_path)
    expected = their_control(Made(), "ddim", [tmp_path], [hint_of(grey(MAP))], 1.0, guidance_scale=1.0)
    assert_agree(controlled(both("text")[0], tmp_path, guidance=1.0).latents, expected)


# The cost of a ControlNet, and the state of the model afterwards


@contextlib.contextmanager
def counted() -> Iterator[Counter[str]]:
    """How often the modules of each class have been called."""
    calls: Counter[str] = Counter()
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, *_: calls.update([type(module).__name__])
    )
    try:
        yield calls
    finally:
        hook.remove()


@pytest.mark.parametrize(("start", "end", "requests"), [(0.0, 1.0, 8), (0.25, 0.75, 4), (0.0, 0.5, 4), (0.5, 0.5, 0)])
def test_a_controlnet_is_evaluated_only_inside_its_window(
    nets: list[Path], start: float, end: float, requests: int
) -> None:
    with counted() as calls:
        report = controlled(both("text")[0], nets[0], control_start=start, control_end=end).report
    assert calls["ControlNetModel"] == requests
    assert calls["UNet2DConditionModel"] == report.network_calls == STEPS
    assert calls["ControlNetConditioningEmbedding"] == 1


def test_each_controlnet_embeds_its_map_once(nets: list[Path]) -> None:
    with counted() as calls:
        controlled(both("text")[0], nets[0], attach=(f"controlnet:kind={LINES},weights={nets[1]}",))
    assert calls["ControlNetConditioningEmbedding"] == 2
    assert calls["ControlNetModel"] == 2 * STEPS


def test_a_controlnet_of_scale_0_is_not_even_loaded(nets: list[Path]) -> None:
    with counted() as calls:
        without = controlled(both("text")[0], nets[0], control_scale=0.0)
    assert not calls["ControlNetModel"] + calls["ControlNetConditioningEmbedding"]
    drawn = editkit.apply("generate", model=both("text")[0], prompt=PROMPT, steps=STEPS, seed=SEED, width=16, height=16)
    assert torch.equal(without.latents, drawn.latents)


class Interrupted(Exception):
    """The exception that ends a loop."""


def interrupting(steps: Iterable[Any], **_: Any) -> Iterator[Any]:
    """A progress callback that fails in the middle."""
    yield from itertools.islice(steps, STEPS // 2)
    raise Interrupted


def test_a_controlnet_leaves_no_trace(nets: list[Path]) -> None:
    model: Any = both("text")[0]
    drawing = {"prompt": PROMPT, "steps": 3, "seed": SEED}
    before = editkit.apply("generate", model=model, **drawing).latents
    with pytest.raises(Interrupted):
        controlled(model, nets[0], progress=interrupting, attach=(f"controlnet:kind={LINES},weights={nets[1]}",))
    assert model.controlnets == []
    assert torch.equal(editkit.apply("generate", model=model, **drawing).latents, before)
    controlled(model, nets[0])
    assert torch.equal(editkit.apply("generate", model=model, **drawing).latents, before)


SHAPES: dict[str, dict[str, Any]] = {
    "a map that becomes too small": {"conditioning_embedding_out_channels": (8, 8, 16)},
    "other texts": {"cross_attention_dim": 32},
    "other widths": {"block_out_channels": (8, 32)},
    "more layers": {"layers_per_block": 2},
    "more blocks": {
        "block_out_channels": (8, 16, 16),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    },
    "other latents": {"in_channels": 8},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_controlnet_of_another_shape_is_a_clear_error_before_any_step(
    nets: list[Path], tmp_path: Path, shape: str
) -> None:
    config = ControlNetModel.load_config(nets[0])
    ControlNetModel.from_config({**config, **SHAPES[shape]}).save_pretrained(tmp_path)
    model: Any = both("text")[0]
    with counted() as calls, pytest.raises(InvalidParameter, match="ControlNet") as raised:
        controlled(model, tmp_path)
    assert "\n" not in str(raised.value)
    assert not calls["UNet2DConditionModel"]
    assert model.controlnets == []


def test_a_damaged_controlnet_is_a_clear_error(nets: list[Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((nets[0] / "config.json").read_bytes())
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"no weights")
    with pytest.raises(WeightsUnavailable, match="is damaged"):
        controlled(both("text")[0], tmp_path)
    with pytest.raises(WeightsUnavailable, match="neither a folder nor a hub id"):
        controlled(both("text")[0], tmp_path / "nowhere")


# Models with extra input channels also support the other operations


class TestInpaintingBackend(BackendTests):
    name = "tiny-inpainting"

    @classmethod
    def make(cls) -> Backend:
        return both("inpainting")[0]


class TestInstructionBackend(BackendTests):
    name = "tiny-instructions"

    @classmethod
    def make(cls) -> Backend:
        return both("instructions")[0]


SPECIAL = pytest.mark.parametrize("kind", ["inpainting", "instructions"])
OTHERS: dict[str, dict[str, Any]] = {
    "img2img": {"prompt": "blue", "strength": 0.7},
    "prompt-edit": {"source": "red", "target": "blue", "guidance": 3.0},
}


@SPECIAL
def test_a_special_model_provides_its_capability(kind: str) -> None:
    assert both(kind)[0].provides == {"text", "controlnet", "adapters", "attention", "style", "feature-reuse", kind}


@SPECIAL
def test_a_special_model_draws_from_noise(kind: str, nets: list[Path]) -> None:
    drawn = editkit.apply("generate", model=both(kind)[0], prompt=PROMPT, steps=3, seed=SEED, width=13, height=7)
    assert drawn.image.size == (13, 7)
    assert bool(torch.isfinite(drawn.latents).all())
    assert bool(torch.isfinite(controlled(both(kind)[0], nets[0], steps=3).latents).all())


@SPECIAL
@pytest.mark.parametrize("operation", OTHERS)
def test_a_special_model_keeps_the_promises_of_every_edit(kind: str, operation: str) -> None:
    source = sample_image((37, 21), "RGBA")
    mask = Image.new("L", source.size)
    mask.paste(255, (0, 0, 20, 21))
    values = {"model": both(kind)[0], "steps": 3, "seed": SEED, **OTHERS[operation]}
    edited, again = (editkit.apply(operation, source, mask=mask, **values) for _ in range(2))
    assert bool(torch.isfinite(edited.latents).all())
    assert edited.image.size == source.size
    assert edited.report.untouched_max_diff == 0
    assert edited.image.tobytes() == again.image.tobytes() != source.tobytes()
    nothing = {"strength": 0.0} if operation == "img2img" else {"target": "red"}
    assert editkit.apply(operation, source, **{**values, **nothing}).image.tobytes() == source.tobytes()


@SPECIAL
def test_a_special_model_replays_an_inversion_at_the_bound_of_its_autoencoder(kind: str) -> None:
    inversion = editkit.invert(SOURCE_IMAGE, model=both(kind)[0], prompt="red", steps=3)
    report = editkit.reconstruct(inversion, model=both(kind)[0]).report
    assert report.recon_psnr == report.vae_psnr
