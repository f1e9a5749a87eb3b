"""LoRAs of models that are served by their pipeline: the weights that the pipeline merges itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from editkit_diffusers.adapters.pipelines import add_to_pipeline
from families.tables import FAMILIES
from safetensors.torch import save_file
from torch import Tensor, nn

import editkit
from editkit import Adapter, InvalidParameter

SCALE = 0.7
QUICK = ("chroma", "krea2", "qwen-image", "z-image")
SLOW = (
    *(
        "aura-flow",
        "cogview4",
        "ernie-image",
        "fibo-2",
        "flux",
        "flux2",
        "hidream",
        "ideogram4",
        "kandinsky5",
        "lumina2",
    ),
    *("qwen-image-21", "sana", "stable-diffusion-3", "stable-diffusion-xl"),
)


def pair(name: str, rows: int, columns: int, spelling: tuple[str, str] = ("lora_A", "lora_B")) -> dict[str, Tensor]:
    """The two matrices of a LoRA of rank 2."""
    down, up = spelling
    return {
        f"{name}.{down}.weight": torch.randn(2, columns) / 10,
        f"{name}.{up}.weight": torch.randn(rows, 2) / 10,
    }


def write(folder: Path, tensors: dict[str, Tensor]) -> Adapter:
    save_file(tensors, folder / "lora.safetensors")
    return Adapter(folder / "lora.safetensors", SCALE)


def network(pipeline: Any) -> Any:
    return pipeline.transformer if hasattr(pipeline, "transformer") else pipeline.unet


def merged_by_diffusers(pipeline: Any, adapter: Adapter) -> dict[str, Tensor]:
    """The weights of a pipeline that has loaded and merged a LoRA itself."""
    part = "transformer" if hasattr(pipeline, "transformer") else "unet"
    pipeline.load_lora_weights(str(adapter.file.parent), weight_name=adapter.file.name)
    pipeline.fuse_lora(components=[part], lora_scale=adapter.scale)
    pipeline.unload_lora_weights()
    weights: dict[str, Tensor] = network(pipeline).state_dict()
    return weights


def assert_equal_weights(net: nn.Module, expected: dict[str, Tensor]) -> None:
    """Merged in the same order of the same operations, up to the rounding of one sum."""
    weights = net.state_dict()
    assert weights.keys() == expected.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-6, rtol=0, msg=name)


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_lora_of_all_layers_is_merged_as_its_pipeline_merges_it(name: str, tmp_path: Path) -> None:
    ours, theirs = FAMILIES[name].pipeline(), FAMILIES[name].pipeline()
    part = "transformer" if hasattr(ours, "transformer") else "unet"
    layers = [(name, layer) for name, layer in network(ours).named_modules() if isinstance(layer, nn.Linear)]
    tensors: dict[str, Tensor] = {}
    for layer_name, layer in layers:
        tensors |= pair(f"{part}.{layer_name}", layer.out_features, layer.in_features)
    adapter = write(tmp_path, tensors)
    assert add_to_pipeline(adapter, ours) == ()
    assert_equal_weights(network(ours), merged_by_diffusers(theirs, adapter))


KOHYA = ("lora_down", "lora_up")
TRAINERS: dict[str, tuple[str, str, Callable[[int], dict[str, Tensor]]]] = {
    "flux2 of its authors": (
        "flux2-klein-base", "transformer_blocks.0.attn.to_q",
        lambda width: pair("diffusion_model.double_blocks.0.img_attn.qkv", 3 * width, width),
    ),
    "flux2 by kohya": (
        "flux2-klein-base", "transformer_blocks.0.attn.to_q",
        lambda width: {
            **pair("lora_unet_double_blocks_0_img_attn_qkv", 3 * width, width, KOHYA),
            "lora_unet_double_blocks_0_img_attn_qkv.alpha": torch.tensor(1.0),
        },
    ),
    "chroma by kohya": (
        "chroma", "transformer_blocks.0.attn.to_q",
        lambda width: {
            **pair("lora_unet_double_blocks_0_img_attn_qkv", 3 * width, width, KOHYA),
            "lora_unet_double_blocks_0_img_attn_qkv.alpha": torch.tensor(1.0),
        },
    ),
    "z-image with joined projections": (
        "z-image", "layers.0.attention.to_q",
        lambda width: {
            **pair("lora_unet_layers_0_attention_qkv", 3 * width, width, ("lora.down", "lora.up")),
            "lora_unet_layers_0_attention_qkv.alpha": torch.tensor(1.0),
        },
    ),
    "qwen-image of lightning": (
        "qwen-image", "transformer_blocks.0.attn.to_q",
        lambda width: {
            **pair("transformer_blocks.0.attn.to_q", width, width, KOHYA),
            "transformer_blocks.0.attn.to_q.alpha": torch.tensor(1.0),
        },
    ),
    "krea 2 of its authors": (
        "krea2", "transformer_blocks.0.attn.to_q",
        lambda width: pair("diffusion_model.blocks.0.attn.wq", width, width),
    ),
}  # fmt: skip


@pytest.mark.parametrize("trainer", TRAINERS)
def test_names_of_other_trainers_are_those_that_the_pipeline_converts(trainer: str, tmp_path: Path) -> None:
    name, layer, tensors = TRAINERS[trainer]
    ours, theirs = FAMILIES[name].pipeline(), FAMILIES[name].pipeline()
    before = {key: tensor.clone() for key, tensor in ours.transformer.state_dict().items()}
    adapter = write(tmp_path, tensors(ours.transformer.get_submodule(layer).in_features))
    assert add_to_pipeline(adapter, ours) == ()
    assert_equal_weights(ours.transformer, merged_by_diffusers(theirs, adapter))
    assert any(not torch.equal(tensor, before[key]) for key, tensor in ours.transformer.state_dict().items())


REFUSALS: dict[str, tuple[str, Callable[[], dict[str, Tensor]]]] = {
    "layer": (
        r"changes 'transformer.layers.99.attention.to_q', which the model does not have, as 1 of 1",
        lambda: pair("transformer.layers.99.attention.to_q", 32, 32),
    ),
    "shape": (
        r"changes transformer.layers.0.attention.to_q by .* \(2, 7\).* the model's weight is \(32, 32\)",
        lambda: pair("transformer.layers.0.attention.to_q", 32, 7),
    ),
    "half": (
        r"has only one half of the LoRA change",
        lambda: dict([*pair("transformer.layers.0.attention.to_q", 32, 32).items()][:1]),
    ),
    "words": (r"holds learned words, which this family", lambda: {"<red>": torch.zeros(1, 16)}),
    "joined, half known": (
        r"changes 'transformer.layers.0.attention.out'",
        lambda: {
            **pair("diffusion_model.layers.0.attention.out", 32, 32),
            **pair("diffusion_model.layers.0.attention.to_q", 32, 32),
        },
    ),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_lora_that_does_not_fit_is_refused_and_changes_nothing(kind: str, tmp_path: Path) -> None:
    message, tensors = REFUSALS[kind]
    pipeline = FAMILIES["z-image"].pipeline()
    before = {name: tensor.clone() for name, tensor in pipeline.transformer.state_dict().items()}
    with pytest.raises(InvalidParameter, match=message):
        add_to_pipeline(write(tmp_path, tensors()), pipeline)
    assert all(torch.equal(tensor, before[name]) for name, tensor in pipeline.transformer.state_dict().items())


def test_a_quantised_layer_takes_no_lora(tmp_path: Path) -> None:
    pipeline = FAMILIES["z-image"].pipeline()
    layer = pipeline.transformer.get_submodule("layers.0.attention.to_q")
    layer.weight = nn.Parameter(torch.zeros(32, 32, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(InvalidParameter, match=r"whose weights are quantised to torch\.uint8"):
        add_to_pipeline(write(tmp_path, pair("transformer.layers.0.attention.to_q", 32, 32)), pipeline)


def test_an_edit_with_a_lora_is_that_of_the_merged_pipeline(
    tmp_path: Path, family_folder: Callable[[str], Path]
) -> None:
    folder = family_folder("chroma")
    options: dict[str, Any] = {"prompt": "a red apple", "steps": 2, "width": 64, "height": 64, "seed": 0}
    plain = editkit.load_model(folder)
    layer = plain.pipe.transformer.get_submodule("transformer_blocks.0.ff.net.2")  # type: ignore[attr-defined]
    adapter = write(tmp_path, pair("transformer.transformer_blocks.0.ff.net.2", *layer.weight.shape))
    changed = editkit.load_model(folder, adapters=[f"{adapter.file}:{SCALE}"])
    result = editkit.apply("generate", model=changed, **options)
    assert result.report.adapters == (f"lora.safetensors:{SCALE:g}",) and result.report.warnings == ()
    assert changed.identity != plain.identity
    before = editkit.apply("generate", model=plain, **options).latents
    assert not torch.equal(result.latents, before)
    plain.add_adapter(adapter)  # type: ignore[attr-defined]
    assert torch.equal(editkit.apply("generate", model=plain, **options).latents, result.latents)
    assert_equal_weights(
        changed.pipe.transformer,  # type: ignore[attr-defined]
        merged_by_diffusers(type(plain.pipe).from_pretrained(folder), adapter),  # type: ignore[attr-defined]
    )
