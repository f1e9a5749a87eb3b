"""Agreement of the backend of modular pipelines with their own results, and the laws of edits on them."""

from __future__ import annotations

import copy
import functools
import json
import re
import shutil
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import transformers
from diffusers.utils import is_torchvision_available
from editkit_diffusers.universal.without_torchvision import append_padding
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

import editkit
from editkit import Condition, WeightsUnavailable, classifier_free, make_path, walk
from editkit.model.files.hub import BELOW, CONFIGURATION
from editkit.sampling.loop import ddim_step
from editkit.testing import BackendTests
from editkit.testing.suite import sample_image
from families.modular import MODULAR, edit_index, flux3_folder
from families.parts import qwen_processor

SIZE = (96, 64)
FAMILY = pytest.mark.parametrize("family", ["anima", "flux3"])

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("modular")
    return functools.cache(lambda name: MODULAR[name](root / name))


@pytest.fixture(scope="module")
def load(folder: Callable[[str], Path]) -> Callable[[str], Any]:
    @functools.cache
    def model(name: str) -> Any:
        loaded: Any = editkit.load_model(folder(name))
        loaded.native_size = min(SIZE)  # at which edits sample; that of the class is large
        return loaded

    return model


@torch.no_grad()
def sample(
    model: Any,
    noise: Tensor,
    guidance: float = 1.0,
    condition: Condition | None = None,
    negative: Condition | None = None,
) -> Tensor:
    """Return the pixels of four Euler steps from ``noise``."""
    condition, negative = condition or model.embed(["a red apple"]), negative or model.embed([""])
    guided = classifier_free(model.denoise, condition, negative, guidance)
    path = make_path(model.schedule.for_shape(noise.shape[1:]), 4, model.grid)
    *_, latents = walk(lambda denoise, x, p, q, _: ddim_step(x, denoise(x, p), p, q), guided, noise, path)
    return model.decode(latents)


def own_result(model: Any, noise: Tensor, guidance: float = 1.0, **inputs: Any) -> Tensor:
    """Return the pixels of the modular pipeline's own call from ``noise``; ``inputs`` are further ones."""
    pipe = copy.copy(model.pipe)
    pipe._blocks = pipe.blocks  # a copy
    pipe._blocks.sub_blocks.pop("prompt_upsampler", None)
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
    pipe.guider = diffusers.ClassifierFreeGuidance(guidance_scale=guidance, enabled=guidance != 1.0)
    # Of the layouts of latents the pipelines take the one they sample, but FLUX.2 and FLUX.3 that with two axes.
    packed = model.call.layout(SIZE).pack(noise)
    if packed.dim() == 3:
        rows, columns = (side // (2 * model.reduction) for side in (SIZE[1], SIZE[0]))
        packed = packed.transpose(1, 2).unflatten(2, (rows, columns))
    negative = {"negative_prompt": ""} if guidance != 1.0 and "negative_prompt" in pipe.blocks.input_names else {}
    images: Tensor = pipe(
        prompt="a red apple",
        width=SIZE[0],
        height=SIZE[1],
        num_inference_steps=4,
        latents=packed,
        output_type="pt",
        output="images",
        **negative,
        **inputs,
    )
    return images


def noise_of(model: Any) -> Tensor:
    return torch.randn(1, *model.latent_shape(*SIZE), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("family", MODULAR)
def test_sampling_equals_the_own_loop_of_the_blocks(family: str, guidance: float, load: Callable[[str], Any]) -> None:
    model = load(family)
    noise = noise_of(model)
    own = own_result(model, noise, guidance)
    assert own.std() > 0.01, "an image without contrast would hide errors"
    # Both take the step in another order of the same operations.
    torch.testing.assert_close(sample(model, noise, guidance), own, atol=1e-5 * guidance, rtol=0)


@FAMILY
def test_an_edit_by_inversion_reconstructs_its_source_exactly(family: str, load: Callable[[str], Any]) -> None:
    options: dict[str, Any] = {"model": load(family), "source": "a red apple", "inverter": "pinned"}
    image = sample_image(SIZE)
    edited = editkit.apply("prompt-edit", image, target="a green pear", steps=2, seed=0, **options)
    assert edited.report.recon_psnr == edited.report.vae_psnr
    assert edited.report.warnings == ()
    assert not np.array_equal(edited.levels, np.asarray(image))
    same = editkit.apply("prompt-edit", image, target="a red apple", steps=2, seed=0, **options)
    assert np.array_equal(same.levels, np.asarray(image))


@FAMILY
def test_inpainting_changes_nothing_outside_the_mask(family: str, load: Callable[[str], Any]) -> None:
    image, mask = sample_image(SIZE), Image.new("L", SIZE)
    mask.paste(255, (32, 16, 64, 48))
    result = editkit.apply("inpaint", image, mask=mask, prompt="a red apple", model=load(family), steps=2, seed=0)
    changed = (result.levels != np.asarray(image)).any(-1)
    assert changed.any()
    assert not changed[np.asarray(mask) == 0].any()
    assert result.report.untouched_max_diff == 0


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("sizes", [[SIZE], [(70, 100)], [SIZE, (50, 64)]])
def test_flux_3_reads_references_as_its_blocks_do(
    sizes: list[tuple[int, int]], guidance: float, load: Callable[[str], Any]
) -> None:
    model = load("flux3")
    images = [sample_image(size, seed=seed) for seed, size in enumerate(sizes)]
    noise = noise_of(model)
    condition, negative = (model.instructed([prompt], images) for prompt in ("a red apple", ""))
    sampled = sample(model, noise, guidance, condition, negative)
    torch.testing.assert_close(sampled, own_result(model, noise, guidance, image=images), atol=1e-5 * guidance, rtol=0)
    assert not torch.equal(sampled, sample(model, noise, guidance))


def test_an_instruction_is_followed_with_flux_3(load: Callable[[str], Any]) -> None:
    values: dict[str, Any] = {"instruction": "make it green", "model": load("flux3"), "steps": 2, "seed": 0}
    result = editkit.apply("instruct", sample_image(SIZE), **values)
    assert result.report.warnings == ()
    assert result.report.network_samples == 4, "two estimates a step"
    other = editkit.apply("instruct", sample_image(SIZE), reference=[sample_image((40, 60))], **values)
    assert not torch.equal(result.latents, other.latents)


class TestFlux3(BackendTests):
    name = "modular"

    @classmethod
    def folder(cls, path: Path) -> Path:
        return flux3_folder(path)


def test_estimates_do_not_advance_the_generator_of_torch(folder: Callable[[str], Path]) -> None:
    model = editkit.load_model(folder("anima"))
    state = torch.get_rng_state()
    model.denoise(noise_of(model), model.schedule.point(500.0), model.embed(["a red apple"]))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_cut_end_of_a_long_prompt_is_named(load: Callable[[str], Any]) -> None:
    (report,) = load("anima").read_prompt(f"{'a red apple ' * 200}on white")[:1]
    assert report.limit == 512
    assert report.cut.endswith("on white")
    assert load("anima").read_prompt("a red apple") == []


@pytest.mark.skipif(not is_torchvision_available(), reason="torchvision is the reference")
def test_a_padding_mask_resized_by_torch_is_that_of_torchvision(load: Callable[[str], Any]) -> None:
    network = copy.deepcopy(load("anima").net)
    x, mask = torch.rand(2, 4, 1, 8, 12), torch.rand(1, 1, 32, 48).round()
    inputs = {"timestep": torch.tensor([0.5, 0.5]), "encoder_hidden_states": torch.rand(2, 8, 16), "padding_mask": mask}
    expected = network(x, return_dict=False, **inputs)[0]
    append_padding(network)
    assert torch.equal(network(hidden_states=x, return_dict=False, **inputs)[0], expected)


def pipeline_of(folder: Path) -> Any:
    pipe = diffusers.ModularPipeline.from_pretrained(folder)
    pipe.load_components()
    if "tokenizer" in pipe.null_component_names:  # without torchvision
        pipe.update_components(tokenizer=qwen_processor(transformers.Qwen3VLProcessor))
    return pipe


@FAMILY
def test_a_pipeline_in_memory_is_shared_and_left_as_it_was(family: str, folder: Callable[[str], Path]) -> None:
    pipe, loaded = pipeline_of(folder(family)), editkit.load_model(folder(family))
    parts, network = dict(pipe.components), dict(vars(pipe.transformer))
    model: Any = editkit.from_pipe(pipe)
    assert model.provides == loaded.provides and model.native_size == loaded.native_size
    x, point = noise_of(loaded), loaded.schedule.point(500.0)
    words = ["a red apple"]
    shared = model.denoise(x, point, model.embed(words))
    assert torch.equal(shared, loaded.denoise(x, point, loaded.embed(words)))
    assert {name: pipe.components[name] is part for name, part in parts.items()} == dict.fromkeys(parts, True)
    assert vars(pipe.transformer) == network
    ours = {weight.data_ptr() for weight in model.net.parameters()}
    assert ours == {weight.data_ptr() for weight in pipe.transformer.parameters()}


@FAMILY
def test_a_lora_of_the_transformer_changes_the_estimate(
    family: str, folder: Callable[[str], Path], tmp_path: Path
) -> None:
    model: Any = editkit.load_model(folder(family))
    name, layer = next((name, layer) for name, layer in model.net.named_modules() if name.endswith(".to_q"))
    down, up = torch.rand(2, layer.in_features), torch.rand(layer.out_features, 2)
    lora, file = f"transformer.{name}.lora", tmp_path / "lora.safetensors"
    save_file({f"{lora}_A.weight": down, f"{lora}_B.weight": up}, file)
    changed: Any = editkit.load_model(folder(family), adapters=[file])
    (weight,) = [one for place, one in changed.net.named_parameters() if place == f"{name}.weight"]
    torch.testing.assert_close(weight, layer.weight + up @ down, atol=1e-6, rtol=0)
    x, point = noise_of(model), model.schedule.point(500.0)
    one, other = (each.denoise(x, point, each.embed(["a red apple"])) for each in (model, changed))
    assert not torch.equal(one, other)


def test_a_processor_whose_class_the_index_leaves_open_is_read(folder: Callable[[str], Path], tmp_path: Path) -> None:
    copied = Path(shutil.copytree(folder("flux3"), tmp_path / "flux3"))
    hint = ["transformers", "AutoProcessor"]
    edit_index(copied, tokenizer=[None, None, {"subfolder": "tokenizer", "type_hint": hint}])
    model, other = (editkit.load_model(one) for one in (copied, folder("flux3")))
    x, point = noise_of(model), model.schedule.point(500.0)
    one, same = (each.denoise(x, point, each.embed(["a red apple"])) for each in (model, other))
    assert torch.equal(one, same)


def test_a_chat_template_is_fetched_and_part_of_the_identity(folder: Callable[[str], Path], tmp_path: Path) -> None:
    copied = Path(shutil.copytree(folder("flux3"), tmp_path / "flux3"))
    names = [file.relative_to(copied).as_posix() for file in copied.rglob("*") if file.is_file()]
    assert all(any(fnmatch(name, pattern) for pattern in (*CONFIGURATION, BELOW)) for name in names)
    (template,) = copied.rglob("*.jinja")
    before = editkit.load_model(copied).identity
    template.write_text(template.read_text().replace("assistant", "painter"))
    assert editkit.load_model(copied).identity != before


# Folders that are refused


def refusal(folder: Path) -> str:
    with pytest.raises(WeightsUnavailable) as error:
        editkit.load_model(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def damaged(folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of the tiny Anima that a test may change."""
    return Path(shutil.copytree(folder("anima"), tmp_path / "anima"))


def test_a_part_of_another_model_is_not_fetched(damaged: Path) -> None:
    hint = ["diffusers", "AutoencoderKLQwenImage"]
    entry = {"pretrained_model_name_or_path": "Qwen/Qwen-Image", "subfolder": "vae", "type_hint": hint}
    edit_index(damaged, vae=["diffusers", "AutoencoderKLQwenImage", entry])
    editkit.load_model(damaged)  # its files are there, so that their source is of no concern
    shutil.rmtree(damaged / "vae")
    assert re.search(
        r"vae is missing.*'Qwen/Qwen-Image', which editkit does not fetch: put them into", refusal(damaged)
    )


def test_a_part_that_no_index_names_is_missed_by_name(damaged: Path) -> None:
    shutil.rmtree(damaged / "text_conditioner")
    assert "text_conditioner" in refusal(damaged)


def test_blocks_with_code_of_their_own_are_refused(damaged: Path) -> None:
    (damaged / "block.py").write_text("raise SystemExit('ran')")
    (damaged / "modular_config.json").write_text(json.dumps({"auto_map": {"ModularPipelineBlocks": "block.Blocks"}}))
    assert "code of its own (modular_config.json)" in refusal(damaged)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"_blocks_class_name": "MyBlocks"}, "blocks 'MyBlocks'.*AnimaAutoBlocks"),
        ({"_class_name": "Flux3DistilledModularPipeline"}, "flow map"),
        ({"_class_name": "WanModularPipeline"}, "WanModularPipeline.*not supported"),
        ({"_class_name": "MyModularPipeline"}, "MyModularPipeline.*has no.*pipeline of this name"),
        ({"_class_name": ["pipeline", "Mine"]}, "code of its own.*modular_model_index.json"),
        ({"vae": [None, None, {"subfolder": "vae", "type_hint": ["os", "system"]}]}, "vae needs code from 'os'"),
        ({"vae": [None, None, {"subfolder": "vae", "type_hint": None}]}, "vae needs code from 'None'"),
        ({"vae": [None, None, {"subfolder": "vae", "type_hint": ["diffusers", "Nothing"]}]}, "Nothing.*no such class"),
        ({"vae": [None, None, {"subfolder": "../vae", "type_hint": ["diffusers", "Vae"]}]}, "outside the model's"),
        ({"vae": [None, None, {"subfolder": "/vae", "type_hint": ["diffusers", "Vae"]}]}, "outside the model's"),
    ],
)
def test_an_index_that_is_not_served_is_refused_with_its_reason(
    damaged: Path, entries: Mapping[str, Any], reason: str
) -> None:
    edit_index(damaged, **entries)
    assert re.search(reason, refusal(damaged))


def test_weights_that_do_not_fit_are_refused_by_name(damaged: Path) -> None:
    file = damaged / "transformer/diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    save_file({name: tensor for name, tensor in weights.items() if name != "proj_out.weight"}, file)
    assert "proj_out.weight" in refusal(damaged)
    save_file({**weights, "proj_out.weight": torch.zeros(3, 3)}, file)
    assert "proj_out.weight" in refusal(damaged)
    file.rename(file.with_name("diffusion_pytorch_model.bin"))
    assert "pickled" in refusal(damaged)


def test_a_network_of_a_flow_map_is_refused(tmp_path: Path) -> None:
    assert "flow map" in refusal(flux3_folder(tmp_path, flow_map=True))


def test_a_guider_of_another_rule_is_warned_of(damaged: Path) -> None:
    diffusers.AdaptiveProjectedGuidance().save_pretrained(damaged / "guider")
    hint = ["diffusers", "AdaptiveProjectedGuidance"]
    edit_index(damaged, guider=[None, None, {"subfolder": "guider", "type_hint": hint}])
    (warning,) = editkit.load_model(damaged).warnings
    assert "AdaptiveProjectedGuidance" in warning
