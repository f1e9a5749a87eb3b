"""Laws of models on pipelines in memory: results of the saved pipeline, shared weights, and a pipeline left alone."""

from __future__ import annotations

import functools
import inspect
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from accelerate import cpu_offload_with_hook
from diffusers.hooks import FirstBlockCacheConfig, apply_group_offloading
from diffusers.models.embeddings import MultiIPAdapterImageProjection
from torch import Tensor, nn

import editkit
from editkit import Adapter, Backend, InvalidParameter, WeightsUnavailable
from editkit.model.execution import in_use
from editkit.testing.suite import assert_agree, random_latents, sample_image
from editkit.testing.tiny import (
    FOLDERS,
    chroma_folder,
    dit_folder,
    flux_folder,
    pixel_ddpm_folder,
    stable_diffusion_folder,
)

SOURCE = sample_image((20, 14))
LARGEST = 64
"""Longest side at which models work here, in pixels: some have 4096 tokens at their own."""
FAMILIES = sorted(FOLDERS.keys() - {"AnimaModularPipeline"})
WORDS = {"source": "a red apple", "target": "a green apple", "steps": 2, "seed": 3, "guidance": 2.0}


def load(folder: Path, **options: Any) -> Any:
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder, **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@functools.cache
def folder_of(family: str) -> Path:
    return FOLDERS[family](Path(tempfile.mkdtemp()))


@pytest.fixture
def pipe(tiny_folder: Path) -> Any:
    return load(tiny_folder)


def edited(model: Backend, **params: Any) -> editkit.Result:
    prompt = {"prompt": "1" if type(model).__name__ == "Dit" else "a red apple", "guidance": 3.0}
    arguments = {"steps": 2, "strength": 0.7, "seed": 1, "resolution": min(model.native_size, LARGEST)}
    arguments |= {**(prompt if "text" in model.provides else {}), **params}
    result: editkit.Result = editkit.apply("img2img", SOURCE, model=model, **arguments)
    return result


def networks_of(pipe: Any) -> dict[str, nn.Module]:
    return {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}


def pointers(net: nn.Module) -> set[int]:
    return {weight.data_ptr() for weight in net.parameters()}


def state_of(pipe: Any) -> dict[str, Any]:
    """State of the networks that a user could notice: modules, flags, places and layouts of weights."""
    return {
        f"{part}.{name}": (type(module), module.training, list(vars(module)))
        for part, net in networks_of(pipe).items()
        for name, module in net.named_modules()
    } | {
        f"{part}.{name}": (weight.data_ptr(), weight.stride(), weight.requires_grad, weight.grad)
        for part, net in networks_of(pipe).items()
        for name, weight in net.named_parameters()
    }


# Results and weights


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_results_equal_those_of_the_folder_bit_for_bit(family: str) -> None:
    loaded, shared = editkit.load_model(folder_of(family)), editkit.from_pipe(load(folder_of(family)))
    assert (shared.provides, shared.native_size, shared.multiple, shared.grid) == (
        loaded.provides,
        loaded.native_size,
        loaded.multiple,
        loaded.grid,
    )
    expected, actual = edited(loaded), edited(shared)
    assert torch.equal(actual.latents, expected.latents) and actual.image.tobytes() == expected.image.tobytes()
    assert actual.report.warnings == expected.report.warnings


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_pipeline_is_left_as_it_was(family: str) -> None:
    pipe = load(folder_of(family))
    known = inspect.signature(type(pipe).__call__).parameters
    square = SOURCE.resize((16, 16))
    possible = {"prompt": "a red apple", "class_labels": [1], "num_inference_steps": 2}
    possible |= {"width": 32, "height": 32, "max_area": 32 * 32, "use_resolution_binning": False}
    possible |= {"image": square, "mask_image": square.convert("L"), "_auto_resize": False, "max_sequence_length": 8}
    if family == "FluxPipeline":
        del possible["image"]
    arguments = {name: value for name, value in possible.items() if name in known}

    def image() -> Tensor:
        random = torch.Generator().manual_seed(0)
        return torch.as_tensor(pipe(**arguments, generator=random, output_type="np").images)

    before, state, config = image(), state_of(pipe), dict(pipe.scheduler.config)
    edited(editkit.from_pipe(pipe))
    assert state_of(pipe) == state and dict(pipe.scheduler.config) == config
    assert torch.equal(image(), before)


@pytest.mark.parametrize("make", [stable_diffusion_folder, flux_folder, dit_folder, pixel_ddpm_folder])
def test_weights_are_shared_and_stay_trainable(make: Callable[[Path], Path], tmp_path: Path) -> None:
    pipe = load(make(tmp_path))
    networks = networks_of(pipe)
    for net in networks.values():
        net.requires_grad_(True)
    model: Any = editkit.from_pipe(pipe)
    theirs = set().union(*(pointers(net) for net in networks.values()))
    for ours in (
        getattr(model, "net", None) or model.unet,
        *([model.autoencoder.net] if hasattr(model, "autoencoder") else []),
        *(encoder.net for encoder in getattr(model, "texts", {}).values()),
    ):
        assert pointers(ours) <= theirs
        assert not any(weight.requires_grad for weight in ours.parameters())
    assert all(weight.requires_grad for net in networks.values() for weight in net.parameters())


def test_an_inverter_with_gradients_leaves_no_gradients_in_the_pipeline(pipe: Any) -> None:
    pipe.unet.requires_grad_(True)
    editkit.apply("prompt-edit", SOURCE, model=editkit.from_pipe(pipe), inverter="null-text", **WORDS)
    assert all(weight.grad is None for weight in pipe.unet.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_dtype_is_that_of_the_pipeline(dtype: torch.dtype, pipe: Any, tmp_path: Path) -> None:
    """Of a pipeline in float16 the autoencoder is in float32, as that of a loaded model."""
    pipe.to(dtype).save_pretrained(tmp_path)
    model = editkit.from_pipe(pipe)
    assert model.dtype is dtype
    assert torch.equal(edited(model).latents, edited(editkit.load_model(tmp_path, dtype=dtype)).latents)


def test_the_pipeline_may_change_the_precision_of_the_shared_autoencoder(pipe: Any) -> None:
    model, exact = editkit.from_pipe(pipe), random_latents(1).float()
    before = model.decode(exact)
    pipe.vae.to(torch.float64)  # as pipe.upcast_vae() changes it
    assert_agree(model.decode(exact).float(), before, 1e-4)
    pipe.vae.to(torch.float32)
    assert torch.equal(model.decode(exact), before)


@pytest.mark.slow
def test_a_modular_pipeline_gives_the_results_of_its_folder() -> None:
    loaded: Any = editkit.load_model(folder_of("AnimaModularPipeline"))
    shared: Any = editkit.from_pipe(loaded.pipe)
    assert shared.pipe is loaded.pipe and shared.identity == editkit.from_pipe(loaded.pipe).identity
    assert torch.equal(edited(shared).latents, edited(loaded).latents)


# State of the pipeline: scheduler, adapters, words, offloading


def test_the_schedule_is_that_of_the_pipelines_scheduler(pipe: Any, tmp_path: Path) -> None:
    pipe.scheduler = diffusers.EulerDiscreteScheduler.from_config(
        pipe.scheduler.config, timestep_spacing="trailing", prediction_type="v_prediction", beta_end=0.02
    )
    model = editkit.from_pipe(pipe)
    pipe.save_pretrained(tmp_path)
    loaded = editkit.load_model(tmp_path)
    assert (model.grid, model.prediction) == (loaded.grid, loaded.prediction)
    assert model.grid.spacing == "trailing" and model.prediction == "v_prediction"
    assert torch.equal(edited(model).latents, edited(loaded).latents)


def lora(net: nn.Module, scale: float) -> Mapping[str, Tensor]:
    """A LoRA of rank 2 for the queries of a UNet, in the names of diffusers."""
    random, tensors = torch.Generator().manual_seed(5), {}
    for name, module in net.named_modules():
        if name.endswith("to_q") and isinstance(module, nn.Linear):
            tensors[f"unet.{name}.lora_A.weight"] = torch.randn(2, module.in_features, generator=random) * scale
            tensors[f"unet.{name}.lora_B.weight"] = torch.randn(module.out_features, 2, generator=random)
    return tensors


def estimate(model: Backend) -> Tensor:
    with torch.no_grad():
        x = random_latents(1, shape=model.latent_shape(16, 16)).float()
        return model.denoise(x, model.schedule.point(500), model.embed(["a red apple"]))


def test_a_loaded_adapter_stays_in_effect_and_counts_in_the_identity(pipe: Any, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    plain = editkit.from_pipe(pipe)
    expected = estimate(plain)
    pipe.load_lora_weights(dict(lora(pipe.unet, 1.0)), adapter_name="one")
    model = editkit.from_pipe(pipe)
    changed = estimate(model)
    assert not torch.allclose(changed, expected, atol=1e-3)
    pipe.set_adapters(["one"], [0.5])
    halved = editkit.from_pipe(pipe)
    assert len({plain.identity, model.identity, halved.identity}) == 3
    assert not torch.allclose(estimate(halved), changed, atol=1e-3)
    assert torch.equal(estimate(model), changed) and torch.equal(estimate(plain), expected), "of its own moment"
    pipe.set_adapters(["one"], [1.0])
    pipe.fuse_lora()
    pipe.unload_lora_weights()
    pipe.save_pretrained(tmp_path)
    assert_agree(estimate(editkit.load_model(tmp_path)), changed, 1e-4)


def test_an_adapter_is_not_added_to_shared_weights(pipe: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"would change the weights of the pipeline"):
        editkit.from_pipe(pipe).add_adapter(Adapter(tmp_path / "x.safetensors", 1.0))  # type: ignore[attr-defined]


def test_a_learned_word_of_two_vectors_is_read_as_the_pipeline_reads_it(pipe: Any) -> None:
    vectors = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    pipe.load_textual_inversion({"<cat>": vectors}, token="<cat>")
    model: Any = editkit.from_pipe(pipe)
    with torch.no_grad():
        expected, _ = pipe.encode_prompt("a <cat>", "cpu", 1, False)
    assert torch.equal(model.embed(["a <cat>"])["text"], expected)
    assert len(pipe.tokenizer) == len(model.texts["text_encoder"].tokenizer)


def offload_by_accelerate(pipe: Any) -> None:
    hook = None
    for net in networks_of(pipe).values():
        _, hook = cpu_offload_with_hook(net, "cpu", prev_module_hook=hook)


def offload_by_groups(pipe: Any) -> None:
    for net in networks_of(pipe).values():
        apply_group_offloading(net, torch.device("cpu"), offload_type="leaf_level")


@pytest.mark.parametrize("offload", [offload_by_accelerate, offload_by_groups])
def test_an_offloaded_pipeline_moves_its_own_weights(offload: Callable[[Any], None], tiny_folder: Path) -> None:
    """Its modules are called with their hooks; convolutions are rounded in another layout, then."""
    pipe = load(tiny_folder)
    offload(pipe)
    model: Any = editkit.from_pipe(pipe)
    assert model.net is pipe.unet and model.identity == editkit.from_pipe(load(tiny_folder)).identity
    assert_agree(edited(model).latents, edited(editkit.load_model(tiny_folder)).latents, 1e-4)


@pytest.mark.slow
def test_a_pipeline_that_offloads_its_parts_draws_as_its_folder() -> None:
    """Chroma is called as a whole, with stand-ins for some parts; at its end a pipeline attaches its hooks again."""
    pipe = load(folder_of("ChromaPipeline"))
    pipe.enable_model_cpu_offload(device="cpu")
    hooks = list(pipe._all_hooks)
    actual = edited(editkit.from_pipe(pipe))
    assert_agree(actual.latents, edited(editkit.load_model(folder_of("ChromaPipeline"))).latents, 1e-4)
    assert len(pipe._all_hooks) == len(hooks) > 0
    assert all(hasattr(hook.model, "_hf_hook") for hook in pipe._all_hooks), "the pipeline goes on as before"


@pytest.mark.slow
@pytest.mark.parametrize("make", [stable_diffusion_folder, chroma_folder])
def test_an_offloaded_pipeline_frees_the_device_when_an_edit_ends(
    make: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, freed = load(make(tmp_path)), []
    monkeypatch.setattr(pipe, "maybe_free_model_hooks", lambda: freed.append(True))
    model = editkit.from_pipe(pipe)
    with in_use(model):
        editkit.apply("generate", model=model, prompt="a red apple", steps=1, width=64, height=64, seed=1)
        before = len(freed)  # of calls of the pipeline itself
    assert len(freed) == before + 1


# Refused pipelines


def test_anything_but_a_pipeline_is_refused() -> None:
    for other in (None, "folder", nn.Linear(1, 1)):
        with pytest.raises(InvalidParameter, match="is no pipeline of diffusers"):
            editkit.from_pipe(other)


def test_a_class_that_is_not_served_is_refused_with_the_reason(tmp_path: Path) -> None:
    unet = load(pixel_ddpm_folder(tmp_path)).unet
    pipe = diffusers.ConsistencyModelPipeline(unet, diffusers.CMStochasticIterativeScheduler())
    with pytest.raises(WeightsUnavailable, match=r"is a ConsistencyModelPipeline, which .*: it takes no prompt"):
        editkit.from_pipe(pipe)


def test_a_pipeline_without_a_part_is_refused_by_its_name(tiny_folder: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="this StableDiffusionPipeline has no text_encoder: load it with one"):
        editkit.from_pipe(load(tiny_folder, text_encoder=None))


def test_an_ip_adapter_is_refused(pipe: Any) -> None:
    pipe.unet.encoder_hid_proj = MultiIPAdapterImageProjection([nn.Identity()])
    with pytest.raises(InvalidParameter, match=r"has an IP-Adapter.*unload_ip_adapter\(\) first"):
        editkit.from_pipe(pipe)


def test_a_cache_of_outputs_of_other_steps_is_refused(tmp_path: Path) -> None:
    pipe = load(flux_folder(tmp_path))
    pipe.transformer.enable_cache(FirstBlockCacheConfig())
    with pytest.raises(InvalidParameter, match=r"the transformer of this pipeline has the hook 'fbc_.*disable_cache"):
        editkit.from_pipe(pipe)


def test_weights_that_are_not_in_memory_are_refused(pipe: Any) -> None:
    pipe.unet.to("meta")
    with pytest.raises(InvalidParameter, match="the unet of this pipeline has no weights in memory"):
        editkit.from_pipe(pipe)


def test_a_scheduler_that_its_configuration_does_not_describe_is_refused(pipe: Any) -> None:
    own = pipe.scheduler
    pipe.scheduler = type(own).from_config(own.config)
    pipe.scheduler.alphas_cumprod = pipe.scheduler.alphas_cumprod**2
    with pytest.raises(InvalidParameter, match="alphas_cumprod of the scheduler"):
        editkit.from_pipe(pipe)
    pipe.scheduler = type(type(own).__name__, (type(own),), {}).from_config(own.config)
    with pytest.raises(InvalidParameter, match="not that of diffusers"):
        editkit.from_pipe(pipe)
    pipe.scheduler = None
    with pytest.raises(WeightsUnavailable, match="has no scheduler"):
        editkit.from_pipe(pipe)
