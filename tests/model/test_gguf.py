"""Networks in GGUF files: bit-identical to diffusers' own reading, and errors that name a file that does not fit."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from editkit_diffusers.network_files.reading import read_network
from families.original_names import flux_network, sd3_network, weights_of
from safetensors.torch import save_file
from torch import Tensor

import editkit
from editkit import InvalidParameter, WeightsUnavailable
from editkit.testing.tiny import flux_folder, stable_diffusion_folder

gguf = pytest.importorskip("gguf")
load_gguf_checkpoint = pytest.importorskip("diffusers.models.model_loading_utils").load_gguf_checkpoint
dequantize_gguf_tensor = pytest.importorskip("diffusers.quantizers.gguf.utils").dequantize_gguf_tensor
KINDS = gguf.GGMLQuantizationType
HALVES = {"Q4_K": (0, 2), "Q6_K": (208,), "IQ4_XS": (0,)}
"""Places of the half-precision scales in a block, of kinds that the package only reads."""
SCALE = 1e-4
Tensors = Mapping[str, Tensor]


def quantised(values: np.ndarray[Any, Any], kind: Any) -> np.ndarray[Any, Any]:
    """Weights (N, D) as bytes; random ones for a kind that the package only reads."""
    if kind.name not in HALVES:
        written: np.ndarray[Any, Any] = gguf.quants.quantize(values, kind)
        return written
    size, held = gguf.GGML_QUANT_SIZES[kind]
    random = np.random.default_rng(0)
    blocks = random.integers(0, 256, (values.size // size, held), dtype=np.uint8)
    for place in HALVES[kind.name]:
        blocks[:, place : place + 2] = (random.random(len(blocks)) * SCALE).astype(np.float16)[:, None].view(np.uint8)
    return blocks.reshape(len(values), -1)


def write(tensors: Tensors, file: Path, kind: Any = KINDS.Q8_0, shapes: Mapping[str, list[int]] | None = None) -> Path:
    """Write a GGUF file whose matrices are quantised where their rows are whole blocks."""
    writer = gguf.GGUFWriter(file, "flux")
    for name, shape in (shapes or {}).items():
        writer.add_array(f"comfy.gguf.orig_shape.{name}", shape)
    for name, tensor in tensors.items():
        values = tensor.float().numpy()
        if values.ndim == 2 and values.shape[1] % gguf.GGML_QUANT_SIZES[kind][0] == 0:
            writer.add_tensor(name, quantised(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def theirs(file: Path, kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    compute = diffusers.GGUFQuantizationConfig(compute_dtype=dtype)
    return kind.from_single_file(str(file), config=str(folder), quantization_config=compute, torch_dtype=dtype)


def equal_outputs(one: Any, other: Any, inputs: Mapping[str, Any]) -> bool:
    cast = {name: value.to(one.dtype) if name != "timestep" else value for name, value in inputs.items()}
    with torch.inference_mode():
        outputs = [net(**cast, return_dict=False)[0] for net in (one, other)]
    assert outputs[0].isfinite().all() and outputs[0].std() > 0
    return torch.equal(*outputs)


FLUX_INPUTS = {
    "hidden_states": torch.linspace(-1, 1, 4 * 16).reshape(1, 4, 16),
    "encoder_hidden_states": torch.linspace(-1, 1, 3 * 256).reshape(1, 3, 256),
    "pooled_projections": torch.linspace(-1, 1, 256).reshape(1, 256),
    "timestep": torch.tensor([0.5]),
    "img_ids": torch.zeros(4, 3),
    "txt_ids": torch.zeros(3, 3),
}


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a transformer of FLUX.1 whose rows are whole blocks of every kind."""
    torch.manual_seed(0)
    net = diffusers.FluxTransformer2DModel(
        **{"in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 128},
        **{"num_attention_heads": 2, "joint_attention_dim": 256, "pooled_projection_dim": 256},
    )
    folder = tmp_path_factory.mktemp("flux") / "transformer"
    net.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["Q8_0", "Q5_1", "Q4_0", "BF16", *HALVES])
def test_outputs_are_those_of_the_file_in_diffusers(flux: Path, tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    tensors, net = weights_of(flux.parent, flux.name), diffusers.FluxTransformer2DModel
    file = write(tensors, tmp_path / "named.gguf", KINDS[kind])
    read, expected = read_network(net, flux, file, dtype), theirs(file, net, flux, dtype)
    assert read.dtype == dtype and read.is_quantized
    assert equal_outputs(read, expected, FLUX_INPUTS)
    original = write(dict(flux_network(tensors)), tmp_path / "original.gguf", KINDS[kind])
    if kind not in HALVES:  # their bytes are random
        assert equal_outputs(read_network(net, flux, original, dtype), expected, FLUX_INPUTS)


def test_names_of_the_original_code_are_read_as_in_diffusers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = diffusers.SD3Transformer2DModel(
        **{"sample_size": 8, "patch_size": 2, "in_channels": 4, "num_layers": 1, "attention_head_dim": 16},
        **{"num_attention_heads": 2, "joint_attention_dim": 32, "caption_projection_dim": 32},
        **{"pooled_projection_dim": 32, "out_channels": 4, "pos_embed_max_size": 8},
    )
    net.save_pretrained(tmp_path / "transformer")
    file = write(dict(sd3_network(net.state_dict())), tmp_path / "a.gguf")
    inputs = {
        "hidden_states": torch.linspace(-1, 1, 4 * 64).reshape(1, 4, 8, 8),
        "encoder_hidden_states": torch.linspace(-1, 1, 3 * 32).reshape(1, 3, 32),
        "pooled_projections": torch.linspace(-1, 1, 32).reshape(1, 32),
        "timestep": torch.tensor([500.0]),
    }
    read = read_network(type(net), tmp_path / "transformer", file, torch.float32)
    assert read.is_quantized
    assert equal_outputs(read, theirs(file, type(net), tmp_path / "transformer", torch.float32), inputs)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of FLUX.1, with ``network.gguf`` beside it."""
    place = tmp_path_factory.mktemp("model")
    folder = flux_folder(place / "folder")
    write(dict(flux_network(weights_of(folder, "transformer"))), place / "network.gguf")
    return folder


def draw(folder: Path, **options: Any) -> Tensor:
    call: dict[str, Any] = {"prompt": "a red apple", "steps": 2, "seed": 0, "width": 16, "height": 16}
    latents: Tensor = editkit.apply("generate", model=str(folder), **call, **options).latents
    return latents


def test_a_file_draws_as_its_dequantised_weights_do(model: Path, tmp_path: Path) -> None:
    file, plain = model.parent / "network.gguf", tmp_path / "plain.safetensors"
    read = load_gguf_checkpoint(str(file))
    assert any(hasattr(one, "quant_type") for one in read.values())
    save_file({name: dequantize_gguf_tensor(one) for name, one in read.items()}, plain)
    assert (draw(model, transformer=file) - draw(model, transformer=plain)).abs().max() < 1e-4
    assert not torch.equal(draw(model, transformer=file), draw(model))
    loaded = editkit.load_model(model, transformer=file, dtype="auto")
    assert loaded.dtype == torch.bfloat16
    others = (editkit.load_model(model), editkit.load_model(model, transformer=plain))
    assert len({loaded.identity, *(one.identity for one in others)}) == 3


def test_convolutions_that_are_quantised_are_read_by_their_values(tmp_path: Path) -> None:
    """Files of U-Nets hold them as matrices, with their shapes in a field of their own."""
    folder = stable_diffusion_folder(tmp_path / "model")
    tensors = weights_of(folder, "unet")
    name = next(name for name, one in tensors.items() if one.ndim == 4 and one[0].numel() % 32 == 0)
    shape = list(tensors[name].shape)
    file = write({**tensors, name: tensors[name].flatten(1)}, tmp_path / "a.gguf", shapes={name: shape})
    unet = editkit.load_model(folder, transformer=file).net  # type: ignore[attr-defined]
    bytes_ = gguf.quants.quantize(tensors[name].flatten(1).numpy(), KINDS.Q8_0)
    expected = torch.from_numpy(gguf.quants.dequantize(bytes_, KINDS.Q8_0)).reshape(shape)
    # Diffusers multiplies by the scales in float16.
    torch.testing.assert_close(unet.get_parameter(name).data, expected, atol=0, rtol=2**-10)
    assert draw(folder, transformer=file).isfinite().all()


def refused(model: Path, file: Path) -> str:
    with pytest.raises(WeightsUnavailable) as raised:
        editkit.load_model(model, transformer=file)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600
    return str(raised.value)


def unsupported(file: Path) -> Path:
    writer = gguf.GGUFWriter(file, "flux")
    writer.add_tensor("img_in.weight", np.zeros((1, 66), np.uint8), raw_dtype=KINDS.IQ2_XXS)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_a_file_that_is_no_such_network_is_refused_by_name(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    whole = (model.parent / "network.gguf").read_bytes()
    for damaged in (b"", b"GGUF", b"none of it", whole[: len(whole) // 2], whole[:2000], whole[:30], b"\xff" * 5000):
        file.write_bytes(damaged)
        assert "cannot be read" in refused(model, file)
    # An array of 2 ** 60 numbers in a file of some bytes.
    file.write_bytes(whole[:24] + b"\x01" + bytes(7) + b"a\x09\x00\x00\x00\x04\x00\x00\x00" + bytes(7) + b"\x10")
    assert "cannot be read" in refused(model, file)
    assert "as IQ2_XXS, which is not supported" in refused(model, unsupported(file))
    tensors = dict(flux_network(weights_of(model, "transformer")))
    del tensors["txt_in.bias"]
    assert "context_embedder.bias" in refused(model, write(tensors, file))
    llama = {"token_embd.weight": torch.ones(2, 32), "blk.0.attn_q.weight": torch.ones(32, 32)}
    assert "is a text encoder" in refused(model, write(llama, file))
    assert "needs a UNet2DConditionModel" in refused(
        stable_diffusion_folder(tmp_path / "sd"), model.parent / "network.gguf"
    )
    with pytest.raises(WeightsUnavailable, match=r"the network of FLUX.1, and is no whole model: .*-m.*transformer"):
        editkit.load_model(model.parent / "network.gguf")


def test_without_the_package_the_error_names_it(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = "needs gguf 0.13 or later: pip install 'editkit[gguf]'"
    with monkeypatch.context() as patch:
        patch.setattr("editkit_diffusers.network_files.gguf_file.version", lambda name: "0.11.0")
        assert needed in refused(model, model.parent / "network.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert needed in refused(model, model.parent / "network.gguf")


def test_an_adapter_on_quantised_weights_is_refused(model: Path, tmp_path: Path) -> None:
    save_file({"transformer.x_embedder.lora_A.weight": torch.ones(1, 16)}, tmp_path / "style.safetensors")
    with pytest.raises(InvalidParameter, match=r"adapter .*style.safetensors.* those of the transformer are quantised"):
        editkit.load_model(model, transformer=model.parent / "network.gguf", adapters=[tmp_path / "style.safetensors"])


@pytest.mark.slow
def test_families_without_a_backend_of_their_own_are_read(family_folder: Callable[[str], Path], tmp_path: Path) -> None:
    parts = Path(shutil.copytree(family_folder("z-image"), tmp_path / "parts"))
    tensors = weights_of(parts, "transformer")
    for file in (parts / "transformer").glob("*.safetensors"):
        file.unlink()
    file = write({f"model.diffusion_model.{name}": one for name, one in tensors.items()}, tmp_path / "z.gguf")
    loaded = editkit.load_model(parts, transformer=file)
    result = editkit.apply("generate", model=loaded, prompt="a red apple", steps=2, seed=0, width=64, height=64)
    assert result.latents.isfinite().all() and loaded.net.is_quantized  # type: ignore[attr-defined]
