"""ControlNets of FLUX.1 and Stable Diffusion 3: agreement with diffusers, intervals, masks, threads, refusals."""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from editkit_diffusers.checkpoint_detection import detect_flux, detect_flux_control
from editkit_diffusers.flux_tokens import pack, unpack
from safetensors.torch import load_file, save_file
from torch import Tensor

import editkit
from editkit import EditkitError, InvalidParameter, WeightsUnavailable
from editkit.images.tensors import to_tensor
from editkit.testing.suite import assert_agree, random_latents, sample_image
from editkit.testing.tiny import (
    controlnet_folder,
    flux_control_folder,
    flux_controlnet_folder,
    flux_folder,
    stable_diffusion_3_controlnet_folder,
    stable_diffusion_3_folder,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*FluxPosEmbed:FutureWarning"),
]

PROMPT, STEPS = "a red apple on white", 4
SHAPE = (16, 8, 8)
HINT = to_tensor(sample_image((16, 16)))
CALL: dict[str, Any] = {"num_inference_steps": STEPS, "output_type": "latent", "width": 16, "height": 16}
DEEP = {"num_layers": 3, "num_single_layers": 4}
"""Layers of the networks: more than those of the ControlNets, whose residuals are repeated."""


MODELS: dict[str, Callable[[Path], Path]] = {
    "flux": flux_folder,
    "schnell": functools.partial(flux_folder, distilled=False),
    "sd3": stable_diffusion_3_folder,
    "flux control": flux_control_folder,
}


@functools.cache
def home() -> Path:
    return Path(tempfile.mkdtemp(prefix="controlnets"))


@functools.cache
def model_folder(family: str) -> Path:
    """A tiny model whose network has several layers and whose autoencoder's distributions have no variance."""
    folder = MODELS[family](home() / family)
    part = folder / "transformer"
    config = json.loads((part / "config.json").read_text())
    kind = getattr(diffusers, config["_class_name"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        kind.from_config({name: DEEP.get(name, one) for name, one in config.items()}).save_pretrained(part)
    (weights,) = (folder / "vae").glob("*.safetensors")
    tensors = load_file(weights)
    tensors["quant_conv.weight"][16:], tensors["quant_conv.bias"][16:] = 0, -30
    save_file(tensors, weights, metadata={"format": "pt"})
    return folder


NETS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "flux": ("flux", functools.partial(flux_controlnet_folder, layers=(2, 2))),
    "flux double": ("flux", functools.partial(flux_controlnet_folder, layers=(2, 0))),
    "flux pixels": ("flux", functools.partial(flux_controlnet_folder, pixels=True, layers=(2, 0))),
    "flux union": ("flux", functools.partial(flux_controlnet_folder, kinds=7)),
    "schnell": ("schnell", functools.partial(flux_controlnet_folder, layers=(2, 1))),
    "sd3": ("sd3", functools.partial(stable_diffusion_3_controlnet_folder, layers=2)),
    "sd3 large": ("sd3", functools.partial(stable_diffusion_3_controlnet_folder, large=True, layers=2)),
}
FAMILIES = ("flux", "sd3")
MODES = {"flux union": "depth", "sd3 large": "depth"}


@functools.cache
def net_folder(kind: str, seed: int = 2) -> Path:
    return NETS[kind][1](home() / f"{kind} {seed}", seed=seed)  # type: ignore[call-arg]


@functools.cache
def model_of(kind: str) -> Any:
    return editkit.load_model(model_folder(NETS[kind][0]), device="cpu")


def attached(kind: str, **options: Any) -> Any:
    """Context in which the ControlNet of a kind steers its model."""
    options = {"scale": 0.7, "low": 0.0, "high": 1.0, "mode": MODES.get(kind)} | options
    return model_of(kind).with_controlnet(net_folder(kind), HINT, **options)


def path_of(model: Any) -> Any:
    return editkit.make_path(model.schedule.for_shape(SHAPE), 20, model.grid)


def estimate(kind: str, rows: int = 1) -> Tensor:
    """The estimate of some latents at a sigma between 0.3 and 0.8."""
    model: Any = model_of(kind)
    point = path_of(model)[12]
    with torch.no_grad():
        result: Tensor = model.denoise(random_latents(rows, shape=SHAPE).float(), point, model.embed([PROMPT] * rows))
    return result


# Agreement


def pipeline_latents(kinds: list[str], noise: Tensor, **call: Any) -> Tensor:
    """Latents of the family's ControlNet pipeline, from noise."""
    flux = NETS[kinds[0]][0] != "sd3"
    net = diffusers.FluxControlNetModel if flux else diffusers.SD3ControlNetModel
    nets: Any = [net.from_pretrained(net_folder(kind)) for kind in kinds]
    pipeline: Any = diffusers.FluxControlNetPipeline if flux else diffusers.StableDiffusion3ControlNetPipeline
    loaded = pipeline.from_pretrained(model_folder(NETS[kinds[0]][0]), controlnet=nets[0] if len(nets) == 1 else nets)
    loaded.set_progress_bar_config(disable=True)
    latents: Tensor = loaded(PROMPT, latents=pack(noise) if flux else noise, **CALL, **call).images
    return unpack(latents, *SHAPE[1:]) if flux else latents


def sampled(kind: str, guidance: float, contexts: Iterable[Any]) -> tuple[Tensor, Tensor]:
    """Noise and the latents that editkit samples from it while ControlNets are attached."""
    model = model_of(kind)
    with contextlib.ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        drawing = {"prompt": PROMPT, "steps": STEPS, "seed": 7, "width": 16, "height": 16, "guidance": guidance}
        latents: Tensor = editkit.apply("generate", model=model, **drawing).latents
    return torch.randn((1, *SHAPE), generator=torch.Generator().manual_seed(7)), latents


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETS)
def test_four_steps_agree_with_the_pipeline_of_diffusers(kind: str) -> None:
    guidance = 1.0 if kind == "schnell" else 3.0
    noise, latents = sampled(kind, guidance, [attached(kind)])
    mode = {"control_mode": 2} if kind == "flux union" else {}
    # A ControlNet of dev takes the guidance of dev, 3.5, beside a network without guidance.
    scale = {"controlnet_conditioning_scale": 0.7, "guidance_scale": 3.5 if kind == "schnell" else guidance}
    expected = pipeline_latents([kind], noise, control_image=HINT * 2 - 1, **scale, **mode)
    assert_agree(latents, expected)
    assert float((latents - sampled(kind, guidance, [])[1]).abs().max()) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAMILIES)
def test_two_controlnets_agree_with_the_pipeline_of_diffusers(kind: str) -> None:
    noise, latents = sampled(kind, 1.0, [attached(kind), attached(kind, scale=0.3)])
    call = {"controlnet_conditioning_scale": [0.7, 0.3], "guidance_scale": 1.0}
    assert_agree(latents, pipeline_latents([kind, kind], noise, control_image=[HINT * 2 - 1] * 2, **call))


@pytest.mark.slow
def test_edges_have_the_levels_of_large_controlnets_of_version_3_5() -> None:
    """Their model card converts maps in [0, 1] by ``255 * 0.5 + 0.5`` in place of the pipeline's range [-1, 1]."""
    noise, latents = sampled("sd3 large", 1.0, [attached("sd3 large", mode="edge")])
    scale = {"controlnet_conditioning_scale": 0.7, "guidance_scale": 1.0}
    assert_agree(latents, pipeline_latents(["sd3 large"], noise, control_image=HINT * 255 * 0.5 + 0.5, **scale))
    with pytest.raises(InvalidParameter, match="control_mode"), attached("sd3 large", mode=None):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODES)
def test_an_operation_names_what_its_ready_made_map_shows(kind: str) -> None:
    params = {"prompt": PROMPT, "steps": 2, "seed": 7, "control_scale": 0.7, "controlnet": str(net_folder(kind))}
    image = sample_image((16, 16))
    result = editkit.apply(
        "control", image, model=model_of(kind), control_image=image, control_mode="depth", guidance=1.0, **params
    )
    assert result.report.warnings == ()
    with attached(kind):
        drawing = {name: one for name, one in params.items() if not name.startswith("control")}
        expected = editkit.apply("generate", model=model_of(kind), width=16, height=16, guidance=1.0, **drawing)
    assert_agree(result.latents, expected.latents, 1e-6)
    with pytest.raises(InvalidParameter, match="control_mode"):
        editkit.apply("control", image, model=model_of(kind), control_image=image, **params)


# Intervals, masks, rows, threads


@pytest.mark.parametrize("kind", ["flux", "sd3"])
def test_a_controlnet_has_no_effect_afterwards_outside_its_interval_or_at_scale_0(kind: str) -> None:
    plain = estimate(kind)
    with attached(kind):
        assert not torch.equal(estimate(kind), plain)
        assert len(model_of(kind).controlnets) == 1
    assert torch.equal(estimate(kind), plain)
    with pytest.raises(ZeroDivisionError), attached(kind):
        raise ZeroDivisionError
    assert model_of(kind).controlnets == []
    for idle in ({"high": 0.3}, {"low": 0.8}, {"scale": 0.0}, {"mask": torch.zeros(1, 1, 16, 16)}):
        with attached(kind, **idle):
            assert torch.equal(estimate(kind), plain)


@pytest.mark.parametrize("kind", ["flux pixels", "sd3 large"])
def test_a_mask_limits_the_first_residual_to_its_place(kind: str) -> None:
    left = torch.zeros(1, 1, 16, 16)
    left[..., :8] = 1
    with attached(kind):
        whole = residuals_of(kind)
    with attached(kind, mask=torch.ones(1, 1, 16, 16)):
        assert all(torch.equal(one, other) for one, other in zip(residuals_of(kind), whole, strict=True))
    with attached(kind, mask=left):
        for masked, part in zip(residuals_of(kind), whole, strict=True):
            squares, all_squares = (one.unflatten(1, (4, 4)) for one in (masked, part))
            assert torch.equal(squares[:, :, :2], all_squares[:, :, :2])
            assert not squares[:, :, 2:].any()


def residuals_of(kind: str) -> list[Tensor]:
    """The arguments that the network gets from the attached ControlNets."""
    model, seen = model_of(kind), []

    def keep(module: Any, args: Any, arguments: dict[str, Any]) -> None:
        seen.extend(tensor for name, one in arguments.items() if "controlnet" in name for tensor in one)

    hook = model.transformer.register_forward_pre_hook(keep, with_kwargs=True)
    estimate(kind)
    hook.remove()
    return seen


@pytest.mark.parametrize("kind", ["flux", "sd3"])
@torch.no_grad()
def test_rows_of_a_batch_do_not_mix(kind: str) -> None:
    """A row inside the interval and one outside have the estimates of each alone, to rounding in the batch."""
    model: Any = model_of(kind)
    path = path_of(model)
    points = (path[2], path[15])
    x, condition = random_latents(2, shape=SHAPE).float(), model.embed([PROMPT, "a green pear"])
    row = [{name: tensor[index : index + 1] for name, tensor in condition.items()} for index in range(2)]
    with attached(kind, low=path[5].sigma):
        both = model.denoise(x, editkit.PointBatch(points), condition)
        first = model.denoise(x[:1], points[0], row[0])
    assert_agree(both[:1], first, 1e-5)
    assert_agree(both[1:], model.denoise(x[1:], points[1], row[1]), 1e-5)


@pytest.mark.parametrize("kind", ["flux union", "sd3"])
def test_a_controlnet_steers_the_thread_that_attached_it(kind: str) -> None:
    options: list[dict[str, Any]] = [{"scale": 0.5}, {"scale": 2.0}]
    barrier = threading.Barrier(2)

    def alone(options: dict[str, Any]) -> Tensor:
        with attached(kind, **options):
            return estimate(kind)

    def at_once(options: dict[str, Any]) -> Tensor:
        with attached(kind, **options):
            barrier.wait(60)
            result = estimate(kind)
            barrier.wait(60)
            return result

    expected = [alone(one) for one in options]
    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(at_once, options))
    assert all(torch.equal(one, other) for one, other in zip(results, expected, strict=True))


# Kinds, folders and files


def test_a_union_takes_the_kinds_of_its_family() -> None:
    allowed = r"one of edge, tile, depth, blur, pose, grey, low-quality$"
    for mode in (None, "normal"):
        with pytest.raises(InvalidParameter, match=allowed), attached("flux union", mode=mode):
            pass
    with attached("flux union", mode="edge"):
        edge = estimate("flux union")
    with attached("flux union", mode="blur"):
        assert not torch.equal(estimate("flux union"), edge)


def attach(family: str, location: Path) -> None:
    with model_of(family).with_controlnet(location, HINT, scale=1.0, low=0.0, high=1.0, mode="depth"):
        pass


def configured(kind: str, to: Path, **config: Any) -> Path:
    """The configuration of a ControlNet with changes, without weights, which are not read."""
    to.mkdir()
    original = json.loads((net_folder(kind) / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(original | config))
    return to


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "one of the other family": ("flux", {"_class_name": "SD3ControlNetModel"}, "of Stable Diffusion 3, and no .* FLUX"),
    "one of Qwen-Image": ("sd3", {"_class_name": "QwenImageControlNetModel"}, "a ControlNet of Qwen-Image, and no"),
    "a whole network": ("flux", {"_class_name": "FluxTransformer2DModel"}, "the network of a whole model"),
    "another width of text": ("flux", {"joint_attention_dim": 4096}, "joint_attention_dim 4096 and the model 16"),
    "other latents": ("flux", {"in_channels": 128}, "in_channels 128 and the model 64"),
    "more layers": ("flux", {"num_single_layers": 5}, "num_single_layers 5 and the model 4"),
    "no layers": ("flux", {"num_layers": 0, "num_single_layers": 0}, "no layers"),
    "other heads": ("sd3", {"num_attention_heads": 4}, "num_attention_heads 4 and the model 2"),
    "a mask in tokens": ("flux", {"extra_condition_channels": 4}, "extra_condition_channels 4, as one for"),
    "a mask beside the map": ("sd3", {"extra_conditioning_channels": 1}, "extra_conditioning_channels 1, as one for"),
    "a million layers": ("sd3", {"num_layers": 10**6}, "beyond all networks"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_folder_is_refused_by_its_configuration(reason: str, tmp_path: Path) -> None:
    kind, config, complaint = REFUSED[reason]
    with pytest.raises(EditkitError, match=complaint) as raised:
        attach(kind, configured(kind, tmp_path / "net", **config))
    assert "\n" not in str(raised.value)


def test_a_controlnet_of_stable_diffusion_is_refused_by_flux(tmp_path: Path) -> None:
    folder = controlnet_folder(tmp_path / "sd")
    with pytest.raises(WeightsUnavailable, match=r"of Stable Diffusion or SDXL, and no ControlNet of FLUX\.1"):
        attach("flux", folder)
    (file,) = folder.glob("*.safetensors")
    file.rename(tmp_path / "sd.safetensors")
    with pytest.raises(WeightsUnavailable, match=r"of Stable Diffusion or SDXL, and no ControlNet of FLUX\.1"):
        attach("flux", tmp_path / "sd.safetensors")


@pytest.mark.parametrize("kind", ["flux", "flux pixels", "flux union"])
def test_a_file_of_flux_is_loaded_without_its_configuration(kind: str, tmp_path: Path) -> None:
    (file,) = net_folder(kind).glob("*.safetensors")
    save_file(load_file(file), tmp_path / "net.safetensors")
    with attached(kind):
        expected = estimate(kind)
    options: dict[str, Any] = {"scale": 0.7, "low": 0.0, "high": 1.0, "mode": MODES.get(kind)}
    with model_of(kind).with_controlnet(tmp_path / "net.safetensors", HINT, **options):
        assert_agree(estimate(kind), expected, 1e-6)  # weights at other addresses are added in another order


def test_a_file_without_a_weight_is_refused_with_its_name(tmp_path: Path) -> None:
    (file,) = net_folder("flux").glob("*.safetensors")
    tensors = load_file(file)
    del tensors["controlnet_blocks.1.bias"]
    save_file(tensors, tmp_path / "net.safetensors")
    with pytest.raises(WeightsUnavailable, match=r"1 missing weights, such as controlnet_blocks\.1\.bias"):
        attach("flux", tmp_path / "net.safetensors")


def test_a_file_that_does_not_hold_its_configuration_is_refused(tmp_path: Path) -> None:
    (file,) = net_folder("sd3").glob("*.safetensors")
    save_file(load_file(file), tmp_path / "net.safetensors")
    with pytest.raises(WeightsUnavailable, match="give its folder"):
        attach("sd3", tmp_path / "net.safetensors")
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.ones(2)}, tmp_path / "xlabs.safetensors")
    with pytest.raises(WeightsUnavailable, match="give its folder"):
        attach("flux", tmp_path / "xlabs.safetensors")


# Networks that take the map as channels


def drawn(**params: Any) -> Any:
    model = editkit.load_model(model_folder("flux control"), device="cpu")
    drawing = {"prompt": PROMPT, "steps": STEPS, "seed": 7, "guidance": 3.0}
    return editkit.apply("control", sample_image((16, 16)), model=model, **drawing, **params)


@pytest.mark.slow
def test_a_map_in_channels_agrees_with_the_pipeline_of_diffusers() -> None:
    pipeline: Any = diffusers.FluxControlPipeline.from_pretrained(model_folder("flux control"))
    pipeline.set_progress_bar_config(disable=True)
    noise = pack(torch.randn((1, *SHAPE), generator=torch.Generator().manual_seed(7)))
    expected = pipeline(PROMPT, control_image=HINT * 2 - 1, latents=noise, guidance_scale=3.0, **CALL).images
    result = drawn(control_image=sample_image((16, 16)))
    assert_agree(result.latents, unpack(expected, *SHAPE[1:]))
    assert result.report.warnings == ()
    assert not torch.equal(drawn(kind="edge").latents, result.latents)


@pytest.mark.slow
def test_a_map_in_channels_attaches_to_any_operation_that_samples() -> None:
    model = editkit.load_model(model_folder("flux control"), device="cpu")
    image, params = sample_image((16, 16)), {"prompt": PROMPT, "steps": STEPS, "seed": 7, "model": model}
    result = editkit.apply("img2img", image, **params, strength=0.8, attach=("controlnet:kind=edge",))
    assert result.report.warnings == ()
    changed = {**params, "source": "an apple", "target": PROMPT}
    del changed["prompt"]
    edited = editkit.apply("prompt-edit", image, **changed, attach=("controlnet:kind=edge",))
    assert edited.report.network_calls  # the inversion takes the map too
    with pytest.raises(InvalidParameter, match="needs a condition map for every image"):
        editkit.apply("img2img", image, **params, strength=0.8)
    with pytest.raises(InvalidParameter, match="a second condition map"):
        editkit.apply("img2img", image, **params, strength=0.8, attach=("controlnet:kind=edge",) * 2)


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({"control_scale": 0.5}, "a scale, an interval and a mask of the map are not possible"),
        ({"control_end": 0.5}, "a scale, an interval and a mask of the map are not possible"),
        ({"control_mode": "depth"}, "control_mode='depth' is not allowed"),
        ({"controlnet": "nowhere"}, "controlnet='nowhere' is not allowed"),
    ],
)
def test_options_of_a_controlnet_are_refused_by_a_network_with_the_map_in_channels(
    params: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidParameter, match=complaint):
        drawn(**params)


def test_a_file_with_a_map_in_channels_differs_from_others_of_flux() -> None:
    attention = "double_blocks.0.img_attn"
    block = {f"{attention}.norm.key_norm.scale": (128,), f"{attention}.qkv.weight": (9216, 3072)}
    for inputs, base in ((64, None), (128, "black-forest-labs/FLUX.1-Depth-dev"), (384, None)):
        shapes = {**block, "img_in.weight": (3072, inputs)}
        assert detect_flux_control(shapes) == base
        assert (detect_flux(shapes) is None) == (inputs != 64)
