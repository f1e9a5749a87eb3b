"""Laws of edits on a GPU: close to those of the CPU in any precision, and with options for less memory."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from editkit_diffusers.offload import SequentialOffload
from torch import Tensor

import editkit
from editkit import Backend
from editkit.model.execution import in_use
from editkit.testing.suite import sample_image
from editkit.testing.tiny import (
    FOLDERS,
    controlnet_folder,
    inpainting_folder,
    instruct_folder,
    stable_diffusion_folder,
    stable_diffusion_xl_folder,
)

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

DEVICE = "cuda"
SOURCE = sample_image((20, 14))
PROMPTS = {"DiTPipeline": ("1", "2")}
"""Prompts of models without text; pixel models take none."""
FAMILIES = sorted(FOLDERS)
CLOSE = {"float32": 2e-3, "bfloat16": 0.1, "float16": 0.02}
"""Largest root of the mean squared difference of latents after two steps, in deviations of those of the CPU.

Convolutions on a GPU round their inputs to TF32 unless told otherwise, and so float32 is not exact either.
"""


@functools.cache
def folder_of(family: str, root: Path) -> Path:
    return FOLDERS[family](root / family)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def drawn(model: Backend, family: str = "", **params: Any) -> editkit.Result:
    """The image edited by img2img at strength 0.5, with a prompt where the model takes one."""
    prompt = {"prompt": PROMPTS.get(family, ("a red apple",))[0]} if "text" in model.provides else {}
    arguments = {"strength": 0.5, "steps": 4, "seed": 1, **prompt, **params}
    result: editkit.Result = editkit.apply("img2img", SOURCE, model=model, **arguments)
    return result


def reprompted(model: Backend, family: str = "", **params: Any) -> editkit.Result:
    source, target = PROMPTS.get(family, ("a red apple", "a green apple"))
    arguments = {"source": source, "target": target, "steps": 4, "seed": 1, **params}
    result: editkit.Result = editkit.apply("prompt-edit", SOURCE, model=model, **arguments)
    return result


def apart(one: Tensor | None, other: Tensor | None) -> float:
    assert one is not None and other is not None
    actual, expected = one.double().cpu(), other.double().cpu()
    assert bool(torch.isfinite(actual).all())
    return float((actual - expected).square().mean().sqrt() / expected.std())


# Precision


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_edit_is_close_to_that_of_the_cpu(family: str, dtype: str, root: Path) -> None:
    folder = folder_of(family, root)
    expected = drawn(editkit.load_model(folder, device="cpu"), family)
    actual = drawn(editkit.load_model(folder, device=DEVICE, dtype=dtype), family)
    assert actual.report.device.startswith(DEVICE) and actual.report.dtype == dtype
    assert apart(actual.latents, expected.latents) < CLOSE[dtype]
    assert actual.report.network_samples == expected.report.network_samples
    assert 0 < actual.report.peak_memory_mb < 2048, "that of the device is reported, and the models are tiny"


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "DDPMPipeline"])
def test_the_source_comes_back_at_the_bound(family: str, dtype: str, root: Path) -> None:
    model = editkit.load_model(folder_of(family, root), device=DEVICE, dtype=dtype)
    report = reprompted(model, family, guidance=3.0).report
    assert report.recon_psnr == report.vae_psnr is not None


@pytest.mark.parametrize("dtype", CLOSE)
def test_the_same_seed_gives_the_same_pixels(dtype: str, root: Path, tmp_path: Path) -> None:
    model = editkit.load_model(folder_of("StableDiffusionPipeline", root), device=DEVICE, dtype=dtype)
    first, again = drawn(model), drawn(model)
    assert first.image.tobytes() == again.image.tobytes()
    assert (
        editkit.replay(first.save(tmp_path / "x.png", recipe="full"), model=model).image.tobytes()
        == first.image.tobytes()
    )


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("family", ["StableDiffusionPipeline", "FluxPipeline"])
def test_bits_of_a_row_do_not_depend_on_other_rows(family: str, dtype: str, root: Path) -> None:
    model = editkit.load_model(folder_of(family, root), device=DEVICE, dtype=dtype)
    rows = [{"operation": "generate", "prompt": f"a {word}", "steps": 2, "seed": 0} for word in ("cat", "dog", "fish")]
    together, alone = (dict(editkit.edit_rows(rows, model=model, batch=batch)) for batch in (3, 1))
    for number, result in together.items():
        assert isinstance(result, editkit.Result) and isinstance(alone[number], editkit.Result)
        assert result.image.tobytes() == alone[number].image.tobytes()


@pytest.mark.parametrize(
    ("make", "operation", "params"),
    [
        (inpainting_folder, "inpaint", {"prompt": "a red apple"}),
        (instruct_folder, "instruct", {"instruction": "make it green", "guidance": 2.0}),
        (stable_diffusion_folder, "outpaint", {"right": 6, "prompt": "a red apple"}),
        (stable_diffusion_folder, "flow-edit", {"source": "a red apple", "target": "a green apple"}),
        (stable_diffusion_xl_folder, "upscale", {"scale": 2, "prompt": "a red apple"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_kind_of_edit_runs_on_a_gpu(
    make: Callable[[Path], Path], operation: str, params: dict[str, Any], tmp_path: Path
) -> None:
    mask = sample_image(SOURCE.size, seed=2).convert("L").point(lambda level: 255 * (level > 128))
    arguments = params | ({"mask": mask} if operation in ("inpaint", "flow-edit") else {})
    model = editkit.load_model(make(tmp_path), device=DEVICE, dtype="bfloat16")
    result = editkit.apply(operation, SOURCE, model=model, steps=2, seed=1, **arguments)
    assert result.report.untouched_max_diff in (0, None)


def test_a_controlnet_steers_alike_on_a_gpu(tmp_path: Path) -> None:
    folder, weights = stable_diffusion_folder(tmp_path / "model"), controlnet_folder(tmp_path / "net")
    arguments = {"prompt": "a red apple", "steps": 2, "seed": 1, "controlnet": str(weights)}
    expected, actual = (
        editkit.apply("control", SOURCE, model=str(folder), device=device, **arguments) for device in ("cpu", DEVICE)
    )
    assert apart(actual.latents, expected.latents) < 10 * CLOSE["float32"]


# The cache of inversions


def test_an_inversion_is_kept_for_its_device_and_precision(root: Path) -> None:
    folder = folder_of("StableDiffusionPipeline", root)
    kinds = [("cpu", "float32"), (DEVICE, "float32"), (DEVICE, "float16"), (DEVICE, "bfloat16")]
    models = [editkit.load_model(folder, device=device, dtype=dtype) for device, dtype in kinds]
    first, second = ([reprompted(model) for model in models] for _ in range(2))
    assert [result.report.network_calls for result in first] == [8] * len(kinds)
    assert [result.report.network_calls for result in second] == [4] * len(kinds)
    assert all(torch.equal(one.latents, other.latents) for one, other in zip(first, second, strict=True)), (
        "what was kept is not what was made"
    )


# Execution options


@pytest.mark.slow
@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_compiled_network_agrees_with_the_eager_network(family: str, offload: bool, root: Path) -> None:
    if offload and family == "DDPMPipeline":
        pytest.skip("a model of one part is not offloaded")
    folder = folder_of(family, root)
    eager, compiled = (
        editkit.load_model(folder, device=DEVICE, dtype="float32", compile=compile, offload=compile and offload)
        for compile in (False, True)  # noqa: A001 (the name of the argument)
    )
    for params in ({}, {"resolution": 32}):  # pictures of another shape, also for a compiled network
        assert apart(drawn(compiled, family, **params).latents, drawn(eager, family, **params).latents) < 5e-3


@pytest.mark.parametrize("option", ["offload", "group_offload"])
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "DDPMPipeline"])
def test_an_offloaded_model_draws_the_same(family: str, option: str, root: Path) -> None:
    folder = folder_of(family, root)
    whole, offloaded = (editkit.load_model(folder, device=DEVICE, **{option: on}) for on in (False, True))
    assert str(offloaded.device).startswith(DEVICE)
    for make in (drawn, reprompted):
        expected, actual = (make(model, family, cache=False) for model in (whole, offloaded))
        assert apart(actual.latents, expected.latents) < 1e-3


def test_one_part_at_a_time_is_on_the_device(root: Path) -> None:
    model: Any = editkit.load_model(folder_of("FluxPipeline", root), device=DEVICE, offload=True)
    parts = [model.net, model.autoencoder.net, *(encoder.net for encoder in model.texts.values())]

    def there() -> list[Any]:
        return [part for part in parts if next(part.parameters()).device.type == DEVICE]

    assert not there(), "a model that was not asked yet takes no memory of the device"
    with torch.no_grad(), in_use(model):
        for ask, part in (
            (lambda: model.encode(torch.rand(1, 3, 16, 16, device=DEVICE)), parts[1]),
            (lambda: model.embed(["a red apple"]), None),
            (lambda: drawn(model), None),
        ):
            ask()
            assert len(there()) == 1 and (part is None or there() == [part])
    assert isinstance(model.net._hf_hook, SequentialOffload)
    assert not there(), "the device is free after an edit"


@pytest.mark.parametrize("family", ["StableDiffusionPipeline", "FluxPipeline", "ChromaPipeline"])
@pytest.mark.parametrize("way", ["none", "parts", "layers"])
def test_a_pipeline_in_memory_draws_as_its_folder(family: str, way: str, root: Path) -> None:
    """The modules of an offloaded pipeline are called as they are, whose convolutions have another layout."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder_of(family, root))
    if way == "parts":
        pipe.enable_model_cpu_offload(device=DEVICE)
    elif way == "layers":
        pipe.enable_group_offload(torch.device(DEVICE), offload_type="leaf_level")
    else:
        pipe.to(DEVICE)
    model = editkit.from_pipe(pipe)
    assert str(model.device).startswith(DEVICE)
    expected = drawn(editkit.load_model(folder_of(family, root), device=DEVICE, dtype="float32"), family)
    assert apart(drawn(model, family).latents, expected.latents) < 5e-3


def test_offloading_and_tiling_take_less_memory() -> None:
    """The bundled model is large enough to tell its parts apart, and images of 1024 pixels are for their tiles."""
    peaks = {}
    for name, how in {"whole": {}, "offload": {"offload": True}, "tiling": {"tiling": True}}.items():
        gc.collect()
        torch.cuda.empty_cache()
        model = editkit.load_model("emoji", device=DEVICE, **how)
        pixels = torch.rand(1, 3, 1024, 1024, device=DEVICE)
        with torch.no_grad():
            model.embed(["flat red heart"])
            torch.cuda.reset_peak_memory_stats()
            decoded = model.decode(model.encode(pixels))
            peaks[name] = torch.cuda.max_memory_allocated()
        assert decoded.shape == pixels.shape
        del model, pixels, decoded
    assert peaks["offload"] < peaks["whole"] and peaks["tiling"] < peaks["whole"], peaks
