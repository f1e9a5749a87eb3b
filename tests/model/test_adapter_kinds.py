"""Kinds of adapters beside plain LoRA, and LoRAs of transformers, against weights that are changed by hand."""

from __future__ import annotations

import copy
import functools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline
from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers
from editkit_diffusers.adapters.transformer_names import original_layers
from safetensors.torch import save_file
from torch import Tensor

import editkit
from editkit import InvalidParameter
from editkit.testing.tiny import (
    flux_folder,
    pixart_folder,
    stable_diffusion_3_folder,
    stable_diffusion_folder,
    stable_diffusion_xl_folder,
)

FOLDERS: dict[str, Callable[[Path], Path]] = {
    "sd": stable_diffusion_folder,
    "xl": stable_diffusion_xl_folder,
    "sd3": stable_diffusion_3_folder,
    "flux": flux_folder,
    "pixart": pixart_folder,
}
PLACE = tempfile.TemporaryDirectory(prefix="editkit-tests-")
"""Of the models that all tests here share, until Python ends."""
QUERY = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
CONVOLUTION = "down_blocks.0.resnets.0.conv1"
NORM = "down_blocks.0.resnets.0.norm1"
SCALE = 0.5
CLOSE = 1e-5
"""Tolerance of weights in float32, which are below 4 here."""


@functools.cache
def folder(family: str) -> Path:
    return FOLDERS[family](Path(PLACE.name) / family)


def random(*shape: int, seed: int = 0) -> Tensor:
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


@functools.cache
def plain(family: str) -> Any:
    return editkit.load_model(folder(family), device="cpu")


@functools.cache
def reused(family: str) -> Any:
    return editkit.load_model(folder(family), device="cpu")


def adapted(family: str, tensors: dict[str, Tensor], to: Path, scale: float = 1.0, **header: str) -> Any:
    """Return a model with an adapter of ``tensors``; the next call takes it back."""
    save_file({name: one.clone().contiguous() for name, one in tensors.items()}, to, metadata=header or None)
    model, original = reused(family), plain(family)
    for net, other in zip(networks(model), networks(original), strict=True):
        net.load_state_dict(other.state_dict())
    model.adapters, model._warnings = (), ()
    model.add_adapter(editkit.Adapter(to, scale))
    return model


def networks(model: Any) -> list[Any]:
    return [model.net, *(encoder.net for encoder in model.texts.values())]


def changed(model: Any, family: str) -> dict[str, Tensor]:
    """Return the parameters of the network and the text encoders that differ from those of the plain model."""
    nets = [("", model.net, plain(family).net)]
    nets += [(f"{part}.", one.net, plain(family).texts[part].net) for part, one in model.texts.items()]
    pairs = (
        (f"{prefix}{name}", new, old)
        for prefix, net, other in nets
        for (name, new), (_, old) in zip(net.named_parameters(), other.named_parameters(), strict=True)
    )
    return {name: new for name, new, old in pairs if not torch.equal(new, old)}


def weight(family: str, name: str) -> Tensor:
    found: Tensor = plain(family).net.get_parameter(name)
    return found


def kohya(name: str) -> str:
    return f"lora_unet_{name.replace('.', '_')}"


# Kinds, each as tensors by role and the change of a weight at alpha 1 and rank 2


def normalised(new: Tensor, size: Tensor, over: tuple[int, ...]) -> Tensor:
    return size * new / torch.linalg.vector_norm(new, dim=over, keepdim=True)


def kinds() -> Iterator[tuple[str, str, dict[str, Tensor], Callable[[Tensor], Tensor]]]:
    """Yield a name, a layer, tensors by role, and the changed weight at SCALE as a function of the weight."""
    one = torch.tensor(1.0)
    up, down = random(16, 2), random(2, 16)
    a, b = random(16, 2, seed=1), random(2, 16, seed=1)
    pair = {"lora_up.weight": up, "lora_down.weight": down, "alpha": one}
    half = 0.5 * up @ down
    rows = 1 + random(16, 1).abs()
    yield (
        "DoRA by rows",
        QUERY,
        {**pair, "dora_scale": rows},
        lambda w: w + SCALE * (normalised(w + half, rows, (1,)) - w),
    )
    columns = 1 + random(1, 16).abs()
    yield (
        "DoRA by columns",
        QUERY,
        {**pair, "dora_scale": columns},
        lambda w: w + SCALE * (normalised(w + half, columns, (0,)) - w),
    )
    yield (
        "DoRA of PEFT",
        QUERY,
        {"lora_A.weight": down, "lora_B.weight": up, "lora_magnitude_vector": rows[:, 0]},
        lambda w: normalised(w + SCALE * up @ down, rows, (1,)),
    )
    outputs, inputs = weight("sd", f"{CONVOLUTION}.weight").shape[:2]
    far, near = random(outputs, 2), random(2, inputs, 3, 3)
    kernel = torch.einsum("or,rikl->oikl", far, near)
    sizes = 1 + random(outputs).abs()
    for name, role, shape in (
        ("DoRA of a convolution", "dora_scale", (-1, 1, 1, 1)),
        ("DoRA of a convolution, PEFT", "lora_magnitude_vector", (1, -1, 1, 1)),
    ):
        yield (
            name,
            CONVOLUTION,
            {"lora_A.weight": near, "lora_B.weight": far[..., None, None], role: sizes.view(shape)},
            lambda w, role=role: (
                normalised(w + SCALE * kernel, sizes.view(-1, 1, 1, 1), (1, 2, 3))
                if role == "lora_magnitude_vector"
                else w + SCALE * (normalised(w + kernel, sizes.view(-1, 1, 1, 1), (1, 2, 3)) - w)
            ),
        )
    hada = {"hada_w1_a": up, "hada_w1_b": down, "hada_w2_a": a, "hada_w2_b": b, "alpha": one}
    yield "LoHa", QUERY, hada, lambda w: w + SCALE * 0.5 * (up @ down) * (a @ b)
    yield (
        "LoHa of DoRA",
        QUERY,
        {**hada, "dora_scale": rows},
        lambda w: w + SCALE * (normalised(w + 0.5 * (up @ down) * (a @ b), rows, (1,)) - w),
    )
    core = random(2, 2, 3, 3)
    p, q = random(2, outputs), random(2, inputs)
    yield (
        "LoHa in Tucker form",
        CONVOLUTION,
        {f"hada_{one}{n}{tail}": t for n in "12" for one, tail, t in (("w", "_a", p), ("w", "_b", q), ("t", "", core))},
        lambda w: w + SCALE * torch.einsum("rskl,ro,si->oikl", core, p, q) ** 2,
    )
    first, second = random(4, 2), random(4, 8)
    yield (
        "LoKr, whole",
        QUERY,
        {"lokr_w1": first, "lokr_w2": second, "alpha": torch.tensor(77.0)},
        lambda w: w + SCALE * torch.kron(first, second),
    )
    left, right = random(4, 2, seed=3), random(2, 8, seed=3)
    yield (
        "LoKr",
        QUERY,
        {"lokr_w1": first, "lokr_w2_a": left, "lokr_w2_b": right, "alpha": one},
        lambda w: w + SCALE * 0.5 * torch.kron(first, left @ right),
    )
    small = random(outputs // 2, 2), random(2, inputs // 2 * 9)
    square = random(2, 2, seed=4)
    yield (
        "LoKr of a convolution",
        CONVOLUTION,
        {"lokr_w1": square, "lokr_w2_a": small[0], "lokr_w2_b": small[1], "alpha": one},
        lambda w: w + SCALE * 0.5 * kron4(square, (small[0] @ small[1]).view(outputs // 2, inputs // 2, 3, 3)),
    )
    tucker = random(2, outputs // 2), random(2, inputs // 2)
    yield (
        "LoKr in Tucker form",
        CONVOLUTION,
        {"lokr_w1": square, "lokr_t2": core, "lokr_w2_a": tucker[0], "lokr_w2_b": tucker[1], "alpha": one},
        lambda w: w + SCALE * 0.5 * kron4(square, torch.einsum("rskl,ro,si->oikl", core, *tucker)),
    )
    full = random(outputs, inputs, 3, 3)
    yield "a full difference", CONVOLUTION, {"diff": full}, lambda w: w + SCALE * full
    scale = random(inputs)
    yield "a norm", NORM, {"w_norm": scale}, lambda w: w + SCALE * scale


def kron4(one: Tensor, kernel: Tensor) -> Tensor:
    """Kronecker product of a matrix and the matrices of a kernel, by its definition."""
    rows = [torch.cat([value * kernel for value in row], 1) for row in one]
    return torch.cat(rows)


@pytest.mark.parametrize("case", list(kinds()), ids=lambda case: case[0])
def test_a_kind_of_adapter_changes_a_weight_by_its_formula(tmp_path: Path, case: Any) -> None:
    _, layer, roles, formula = case
    tensors = {f"{kohya(layer)}.{role}": tensor for role, tensor in roles.items()}
    model = adapted("sd", tensors, tmp_path / "a.safetensors", SCALE)
    new = changed(model, "sd")
    assert set(new) == {f"{layer}.weight"}
    assert float((new[f"{layer}.weight"] - formula(weight("sd", f"{layer}.weight"))).abs().max()) < CLOSE


def test_biases_are_changed_beside_weights(tmp_path: Path) -> None:
    outputs = len(weight("sd", f"{CONVOLUTION}.bias"))
    tensors = {f"{kohya(CONVOLUTION)}.diff_b": random(outputs)}
    new = changed(adapted("sd", tensors, tmp_path / "a.safetensors", SCALE), "sd")
    assert set(new) == {f"{CONVOLUTION}.bias"}
    expected = weight("sd", f"{CONVOLUTION}.bias") + SCALE * random(outputs)
    assert float((new[f"{CONVOLUTION}.bias"] - expected).abs().max()) < CLOSE
    with pytest.raises(InvalidParameter, match="has none in the model"):
        adapted("sd", {f"{kohya(QUERY)}.diff_b": random(16)}, tmp_path / "a.safetensors")


def test_a_scale_of_0_leaves_a_dora_out(tmp_path: Path) -> None:
    roles = {"lora_A.weight": random(2, 16), "lora_B.weight": random(16, 2), "lora_magnitude_vector": torch.ones(16)}
    tensors = {f"unet.{QUERY}.{role}": tensor for role, tensor in roles.items()}
    assert not changed(adapted("sd", tensors, tmp_path / "a.safetensors", 0.0), "sd")
    assert changed(adapted("sd", tensors, tmp_path / "a.safetensors", 1.0), "sd")


UNSUPPORTED = {
    "unet.mid_block.attentions.0.proj_in.oft_R.default.weight": "OFT or BOFT",
    "unet.mid_block.attentions.0.proj_in.boft_R": "OFT or BOFT",
    "lora_unet_mid_block_attentions_0_proj_in.on_input": "IA3",
    "base_model.model.mid_block.attentions.0.proj_in.ia3_l": "IA3",
    "lora_unet_mid_block_attentions_0_proj_in.a1.weight": "GLoRA",
    "lora_unet_mid_block_attentions_0_proj_in.lambda_layer": "T-LoRA",
    "base_model.model.mid_block.attentions.0.proj_in.lora_diag": "KaSA",
    "base_model.model.mid_block.attentions.0.proj_in.delora_A": "no LoRA, LoHa or LoKr",
    "base_model.unilora_theta_d": "no LoRA, LoHa or LoKr",  # as long as a learned word
    "base_model.model.conv_out.weight": "whole layers",
    "base_model.model.mid_block.attentions.0.proj_in.base_layer.bias": "whole layers",
    "base_model.model.embeddings.token_embedding.token_adapter.trainable_tokens_delta": "trained tokens",
    "image_proj.proj.weight": "IP-Adapter",
    "text_encoder:0:up": "numbers layers",
    "down_blocks.1.attn2.processor.to_k_custom_diffusion.weight": "Custom Diffusion",
    "lllite_unet_input_blocks_1_1.down.0.weight": "LLLite",
    "controlnet_cond_embedding.conv_in.weight": "--controlnet",
    "double_blocks.0.img_attn.norm.key_norm.scale": "control LoRA of FLUX",
    "transformer.transformer_blocks.0.attn.norm_added_k.weight": "control LoRA of FLUX",
    "double_blocks.0.processor.ip_adapter_double_stream_k_proj.weight": "IP-Adapter",
    "model.diffusion_model.input_blocks.0.0.weight": "whole model",
    "adapter.body.0.resnets.0.block1.weight": "T2I-Adapter",
    "conv_in.weight": "a network: give it with --transformer",
    "text_model.encoder.layers.0.mlp.fc1.weight": "a text encoder",
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_other_files_are_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidParameter, match=UNSUPPORTED[name]) as raised:
        adapted("sd", {name: random(16, 16)}, tmp_path / "a.safetensors")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"peft_type": "PROMPT_TUNING"}, "prompt_embeddings"),  # as long as a learned word
        ({"peft_type": "LORA", "unet.alora_invocation_tokens": [1, 2]}, f"unet.{QUERY}.lora_A.weight"),
        ({"use_bdlora": {"nblocks": 2}}, f"unet.{QUERY}.lora_B.weight"),
    ],
)
def test_a_kind_that_only_its_settings_tell_is_refused(tmp_path: Path, settings: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidParameter, match=r"type PROMPT_TUNING|with alora_invocation_tokens|with use_bdlora"):
        adapted("sd", {name: random(2, 16)}, tmp_path / "a.safetensors", **header(**settings))


# Strength


def header(**settings: Any) -> dict[str, str]:
    return {"lora_adapter_metadata": json.dumps(settings)}


STRENGTHS: dict[str, tuple[dict[str, str], float]] = {
    "no alpha": ({}, 1.0),
    "a header of SimpleTuner": ({"unet.lora_alpha": "6", "unet.r": "2"}, 3.0),
    "a header without a part": ({"lora_alpha": "6.0"}, 3.0),
    "an alternative to a pattern": (header(**{"unet.lora_alpha": 2, "unet.alpha_pattern": {"(to_k|to_q)": 6}}), 3.0),
    "the beginning of a pattern": (header(**{"unet.lora_alpha": 2, "unet.alpha_pattern": {"^to_q": 6}}), 1.0),
    "a whole name": (header(**{"unet.lora_alpha": 2, "unet.alpha_pattern": {f"^{QUERY}": 6}}), 3.0),
    "a part of a word": (header(**{"unet.lora_alpha": 2, "unet.alpha_pattern": {"o_q": 6}}), 1.0),
    "rank-stabilised": (header(**{"unet.lora_alpha": 4, "unet.use_rslora": True}), 4 / 2**0.5),
    "another part": (header(**{"text_encoder.lora_alpha": 6}), 1.0),
}


@pytest.mark.parametrize("kind", STRENGTHS)
def test_the_strength_of_a_lora_is_read_from_its_header(tmp_path: Path, kind: str) -> None:
    entries, factor = STRENGTHS[kind]
    up, down = random(16, 2), random(2, 16)
    tensors = {f"unet.{QUERY}.lora_A.weight": down, f"unet.{QUERY}.lora_B.weight": up}
    new = changed(adapted("sd", tensors, tmp_path / "a.safetensors", **entries), "sd")[f"{QUERY}.weight"]
    assert float((new - weight("sd", f"{QUERY}.weight") - factor * up @ down).abs().max()) < CLOSE


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"unet.r": 16, "unet.lora_alpha": 16}, "states rank 16"), ({"unet.lora_alpha": 10**400}, "is damaged")],
)
def test_a_configuration_that_does_not_belong_to_the_weights_is_refused(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    tensors = {f"unet.{QUERY}.lora_A.weight": random(2, 16), f"unet.{QUERY}.lora_B.weight": random(16, 2)}
    with pytest.raises(editkit.EditkitError, match=said):
        adapted("sd", tensors, tmp_path / "a.safetensors", **header(**settings))


def test_a_lora_without_effect_is_warned_of(tmp_path: Path) -> None:
    pair = {f"{kohya(QUERY)}.lora_down.weight": random(2, 16), f"{kohya(QUERY)}.lora_up.weight": random(16, 2)}
    for alpha, count in ((0.0, 1), (1.0, 0)):
        tensors = {**pair, f"{kohya(QUERY)}.alpha": torch.tensor(alpha)}
        model = adapted("sd", tensors, tmp_path / "a.safetensors")
        assert sum("changes nothing" in text for text in model.warnings) == count


def test_an_alpha_of_kohyas_header_counts_where_no_tensor_has_one(tmp_path: Path) -> None:
    up, down = random(16, 2), random(2, 16)
    stated = {"ss_network_alpha": "6", "ss_network_dim": "2"}
    tensors = {f"{kohya(QUERY)}.lora_down.weight": down, f"{kohya(QUERY)}.lora_up.weight": up}
    old = weight("sd", f"{QUERY}.weight")
    new = changed(adapted("sd", tensors, tmp_path / "a.safetensors", **stated), "sd")[f"{QUERY}.weight"]
    assert float((new - old - 3 * up @ down).abs().max()) < CLOSE
    tensors[f"{kohya(QUERY)}.alpha"] = torch.tensor(2.0)
    new = changed(adapted("sd", tensors, tmp_path / "a.safetensors", **stated), "sd")[f"{QUERY}.weight"]
    assert float((new - old - up @ down).abs().max()) < CLOSE
    converted = {f"unet.{QUERY}.lora_A.weight": down, f"unet.{QUERY}.lora_B.weight": up}
    model = adapted("sd", converted, tmp_path / "a.safetensors", **stated)
    assert any("ss_network_alpha" in warning for warning in model.warnings)


@pytest.mark.parametrize(("arguments", "count"), [({"algo": "lokr", "rs_lora": "True"}, 1), ({"algo": "lokr"}, 0)])
def test_whole_matrices_that_lycoris_trained_at_the_root_of_the_rank_are_named(
    tmp_path: Path, arguments: dict[str, str], count: int
) -> None:
    tensors = {f"{kohya(QUERY)}.lokr_w1": random(4, 2), f"{kohya(QUERY)}.lokr_w2": random(4, 8)}
    model = adapted("sd", tensors, tmp_path / "a.safetensors", ss_network_args=json.dumps(arguments))
    assert sum("root of the rank" in text for text in model.warnings) == count
    expected = torch.kron(random(4, 2), random(4, 8))
    new = changed(model, "sd")[f"{QUERY}.weight"]
    assert float((new - weight("sd", f"{QUERY}.weight") - expected).abs().max()) < CLOSE


def test_a_folder_of_peft_is_read_with_its_configuration(tmp_path: Path) -> None:
    up, down = random(16, 2), random(2, 16)
    name = f"base_model.model.{QUERY}"
    file = tmp_path / "adapter_model.safetensors"
    save_file({f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}, file)
    alone = editkit.load_model(folder("sd"), device="cpu", adapters=[tmp_path])
    assert any("adapter_config.json" in warning for warning in alone.warnings)  # type: ignore[attr-defined]
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 6, "alpha_pattern": {}}))
    model: Any = editkit.load_model(folder("sd"), device="cpu", adapters=[tmp_path])
    new = changed(model, "sd")[f"{QUERY}.weight"]
    assert float((new - weight("sd", f"{QUERY}.weight") - 3 * up @ down).abs().max()) < CLOSE
    assert not model.warnings
    assert model.identity != alone.identity


PEFT_CONFIGS: dict[str, dict[str, Any]] = {
    "LoraConfig": {"lora_alpha": 6, "rank_pattern": {"to_[qk]": 4}, "alpha_pattern": {"down_.*(to_q|conv1)": 5}},
    "LoHaConfig": {"alpha": 6, "use_effective_conv2d": True},
    "LoKrConfig": {"alpha": 6, "rank_pattern": {"to_k": 3}},
}


@pytest.mark.parametrize(
    ("kind", "more"),
    [("LoraConfig", {}), ("LoraConfig", {"use_dora": True}), ("LoraConfig", {"use_rslora": True, "lora_bias": True})]
    + [(kind, {}) for kind in ("LoHaConfig", "LoKrConfig")],
)
def test_what_peft_saves_is_what_peft_merges(tmp_path: Path, kind: str, more: dict[str, Any]) -> None:
    peft = pytest.importorskip("peft")
    layers = ["to_out.0", "conv1"] if "lora_bias" in more else ["to_q", "to_k", "to_out.0", "conv1", "proj_in"]
    config = getattr(peft, kind)(r=2, target_modules=layers, **PEFT_CONFIGS[kind], **more)
    wrapped = peft.get_peft_model(copy.deepcopy(plain("sd").net), config)
    noise = torch.Generator().manual_seed(0)
    for name, values in wrapped.named_parameters():
        if values.requires_grad:
            values.data += 0.1 * torch.rand(values.shape, generator=noise) * (3 if "magnitude" in name else 1)
    wrapped.save_pretrained(tmp_path)
    merged = dict(wrapped.merge_and_unload().named_parameters())
    model: Any = editkit.load_model(folder("sd"), device="cpu", adapters=[tmp_path])
    differences = [float((new - merged[name]).abs().max()) for name, new in model.net.named_parameters()]
    assert max(differences) < CLOSE
    assert len(changed(model, "sd")) >= 4
    assert not model.warnings


@pytest.mark.parametrize("kind", ["HRAConfig", "FourierFTConfig", "VBLoRAConfig", "AdaLoraConfig"])
def test_other_adapters_of_peft_are_refused_with_and_without_configuration(tmp_path: Path, kind: str) -> None:
    peft = pytest.importorskip("peft")
    sizes = {
        "HRAConfig": {"r": 16},
        "FourierFTConfig": {"n_frequency": 16},
        "VBLoRAConfig": {"r": 2, "num_vectors": 16, "vector_length": 4},
        "AdaLoraConfig": {"total_step": 10},
    }
    config = getattr(peft, kind)(target_modules=["to_q"], **sizes[kind])
    peft.get_peft_model(copy.deepcopy(plain("sd").net), config).save_pretrained(tmp_path)
    alone = shutil.copy(tmp_path / "adapter_model.safetensors", tmp_path / "alone.safetensors")
    for file in (tmp_path / "adapter_model.safetensors", alone):
        with pytest.raises(InvalidParameter, match=r"not supported|are supported|no weight of an adapter"):
            editkit.load_model(folder("sd"), device="cpu", adapters=[file])


DAMAGED: dict[str, tuple[dict[str, str], str]] = {
    "nested brackets": ({"lora_adapter_metadata": "[" * 100_000}, "cannot be read"),
    "a list": ({"lora_adapter_metadata": "[1]"}, "JSON object"),
    "an open bracket": (header(**{"unet.alpha_pattern": {"(to_q": 6}}), r"alpha_pattern '\(to_q'"),
    "a slow pattern": (header(**{"unet.alpha_pattern": {"((.|..)+)+k": 6}}), "alpha_pattern"),
    "a changed base": (header(**{"unet.init_lora_weights": "pissa_niter_4"}), "changes the base model"),
    "a DoRA without magnitudes": (header(**{"unet.use_dora": True}), "holds no magnitudes"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_header_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("editkit_diffusers.adapters.strength._SECONDS", 0.2)
    entries, complaint = DAMAGED[kind]
    tensors = {f"unet.{QUERY}.lora_A.weight": random(2, 16), f"unet.{QUERY}.lora_B.weight": random(16, 2)}
    with pytest.raises(editkit.EditkitError, match=complaint) as raised:
        adapted("sd", tensors, tmp_path / "a.safetensors", **entries)
    assert len(str(raised.value)) < 1000


# Transformers


SPELLINGS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "flux, diffusers": ("flux", "transformer.transformer_blocks.0.attn.to_q", ("transformer_blocks.0.attn.to_q",)),
    "flux, no prefix": ("flux", "transformer_blocks.0.attn.to_q", ("transformer_blocks.0.attn.to_q",)),
    "flux, PEFT": ("flux", "base_model.model.transformer_blocks.0.ff.net.2", ("transformer_blocks.0.ff.net.2",)),
    "flux, OneTrainer": (
        "flux",
        "lora_transformer_single_transformer_blocks_0_proj_out",
        ("single_transformer_blocks.0.proj_out",),
    ),
    "flux, kohya": (
        "flux",
        "lora_unet_double_blocks_0_txt_attn_qkv",
        tuple(f"transformer_blocks.0.attn.add_{one}_proj" for one in "qkv"),
    ),
    "flux, kohya single": (
        "flux",
        "lora_unet_single_blocks_0_linear1",
        (
            *(f"single_transformer_blocks.0.attn.to_{one}" for one in "qkv"),
            "single_transformer_blocks.0.proj_mlp",
        ),
    ),
    "flux, ComfyUI": (
        "flux",
        "diffusion_model.double_blocks.0.img_mod.lin",
        ("transformer_blocks.0.norm1.linear",),
    ),
    "flux, fal": (
        "flux",
        "base_model.model.double_blocks.0.img_attn.qkv",
        tuple(f"transformer_blocks.0.attn.to_{one}" for one in "qkv"),
    ),
    "flux, xlabs": (
        "flux",
        "double_blocks.0.processor.qkv_lora2",
        tuple(f"transformer_blocks.0.attn.add_{one}_proj" for one in "qkv"),
    ),
    "sd3, diffusers": ("sd3", "transformer.transformer_blocks.1.attn.to_q", ("transformer_blocks.1.attn.to_q",)),
    "sd3, kohya": (
        "sd3",
        "lora_unet_joint_blocks_0_x_block_attn_qkv",
        tuple(f"transformer_blocks.0.attn.to_{one}" for one in "qkv"),
    ),
    "pixart, diffusers": (
        "pixart",
        "transformer.transformer_blocks.1.attn2.to_k",
        ("transformer_blocks.1.attn2.to_k",),
    ),
    "pixart, original": (
        "pixart",
        "diffusion_model.blocks.1.cross_attn.kv_linear",
        ("transformer_blocks.1.attn2.to_k", "transformer_blocks.1.attn2.to_v"),
    ),
    "compiled": ("flux", "transformer._orig_mod.transformer_blocks.0.attn.to_q", ("transformer_blocks.0.attn.to_q",)),
    "twice": ("flux", "transformer.transformer.transformer_blocks.0.attn.to_q", ("transformer_blocks.0.attn.to_q",)),
    "LyCORIS": ("flux", "lycoris_transformer_blocks_0_attn_to_q", ("transformer_blocks.0.attn.to_q",)),
}


def halves(name: str) -> tuple[str, str]:
    """Return the endings of a spelling's two matrices."""
    if "processor" in name:
        return ".up.weight", ".down.weight"
    return (".lora_up.weight", ".lora_down.weight") if name.startswith("l") else (".lora_B.weight", ".lora_A.weight")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_transformers_lora_changes_the_layers_it_names(tmp_path: Path, spelling: str) -> None:
    family, name, layers = SPELLINGS[spelling]
    old = torch.cat([weight(family, f"{layer}.weight") for layer in layers])
    up, down = random(len(old), 2), random(2, old.shape[1])
    tensors = dict(zip((name + end for end in halves(name)), (up, down), strict=True))
    new = changed(adapted(family, tensors, tmp_path / "a.safetensors", SCALE), family)
    assert set(new) == {f"{layer}.weight" for layer in layers}
    rows = torch.cat([new[f"{layer}.weight"] for layer in layers])
    assert float((rows - old - SCALE * up @ down).abs().max()) < CLOSE


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("flux", "lora_unet_final_layer_adaLN_modulation_1"),
        ("sd3", "lora_unet_final_layer_adaLN_modulation_1"),
        ("sd3", "lora_unet_joint_blocks_1_context_block_adaLN_modulation_1"),
    ],
)
def test_shift_and_scale_are_swapped_where_diffusers_swaps_them(tmp_path: Path, family: str, name: str) -> None:
    layer = "transformer_blocks.1.norm1_context.linear" if "context" in name else "norm_out.linear"
    old = weight(family, f"{layer}.weight")
    diff = random(*old.shape)
    new = changed(adapted(family, {f"{name}.diff": diff}, tmp_path / "a.safetensors"), family)[f"{layer}.weight"]
    shift, scale = diff.chunk(2)
    assert float((new - old - torch.cat([scale, shift])).abs().max()) < CLOSE


Q = "encoder.block.0.layer.0.SelfAttention.q"
FC1 = "encoder.layers.0.mlp.fc1"


@pytest.mark.parametrize(
    ("family", "name", "part", "layer"),
    [
        ("flux", f"lora_te1_text_model_{FC1.replace('.', '_')}", "text_encoder", FC1),
        ("flux", f"lora_te3_{Q.replace('.', '_')}", "text_encoder_2", Q),
        ("flux", f"text_encoders.t5xxl.transformer.{Q}", "text_encoder_2", Q),
        ("sd3", f"lora_te3_{Q.replace('.', '_')}", "text_encoder_3", Q),
        ("sd3", f"text_encoder_2.text_model.{FC1}", "text_encoder_2", f"text_model.{FC1}"),
        ("pixart", f"text_encoder.{Q}", "text_encoder", Q),
        ("sd", f"base_model.model.text_model.{FC1}", "text_encoder", FC1),
    ],
)
def test_a_lora_changes_the_text_encoder_it_names(
    tmp_path: Path, family: str, name: str, part: str, layer: str
) -> None:
    old = plain(family).texts[part].net.get_submodule(layer).weight
    up, down = random(len(old), 2), random(2, old.shape[1])
    tensors = dict(zip((name + end for end in halves(name)), (up, down), strict=True))
    new = changed(adapted(family, tensors, tmp_path / "a.safetensors"), family)
    assert set(new) == {f"{part}.{layer}.weight"}
    assert float((new[f"{part}.{layer}.weight"] - old - up @ down).abs().max()) < CLOSE


def test_kohyas_flux_layers_are_those_of_diffusers_conversion(tmp_path: Path) -> None:
    rows = {"qkv": 48, "proj": 16, "mlp_0": 64, "mlp_2": 16, "mod_lin": 96}
    columns = {"mlp_2": 64}
    tensors = {}
    for stream in ("img", "txt"):
        for layer, count in rows.items():
            name = f"lora_unet_double_blocks_0_{stream}_{layer if 'm' in layer else f'attn_{layer}'}"
            tensors[f"{name}.lora_up.weight"] = random(count, 2, seed=len(name))
            tensors[f"{name}.lora_down.weight"] = random(2, columns.get(layer, 16), seed=len(name))
            tensors[f"{name}.alpha"] = torch.tensor(3.0)
    new = changed(adapted("flux", tensors, tmp_path / "a.safetensors"), "flux")
    converted = FluxPipeline.lora_state_dict({name: one.clone() for name, one in tensors.items()})
    layers = {name.removeprefix("transformer.").partition(".lora_")[0] for name in converted}
    assert set(new) == {f"{layer}.weight" for layer in layers}
    for layer in layers:
        pair = (converted[f"transformer.{layer}.lora_{half}.weight"] for half in "BA")
        product = torch.matmul(*pair)
        assert float((new[f"{layer}.weight"] - weight("flux", f"{layer}.weight") - product).abs().max()) < CLOSE


def test_the_original_layers_of_sd3_are_those_of_diffusers_conversion(tmp_path: Path) -> None:
    """Full differences by the original names, which diffusers converts as it converts whole checkpoints."""
    net = plain("sd3").net
    modules = {name for name, _ in net.named_modules()}
    original: dict[str, Tensor] = {}
    for name, layers in original_layers("SD3Transformer2DModel", modules).items():
        for kind in ("weight", "bias"):
            parts = [getattr(net.get_submodule(layer), kind, None) for layer in layers.layers]
            if parts[0] is not None:
                shape = torch.cat([part for part in parts if part is not None]).shape
                original[f"{name}.{kind}"] = random(*shape, seed=len(original))
    endings = {"weight": "diff", "bias": "diff_b"}
    tensors = {
        f"diffusion_model.{name.rpartition('.')[0]}.{endings[name.rpartition('.')[2]]}": tensor
        for name, tensor in original.items()
    }
    new = changed(adapted("sd3", tensors, tmp_path / "a.safetensors"), "sd3")
    converted = convert_sd3_transformer_checkpoint_to_diffusers({**original, "pos_embed": torch.zeros(1)})
    assert set(new) == {name for name in converted if name != "pos_embed.pos_embed"}
    for name, tensor in new.items():
        assert float((tensor - net.get_parameter(name) - converted[name]).abs().max()) < CLOSE


BASES = {
    "lora_unet_double_blocks_0_img_attn_qkv": ("sd", "FLUX"),
    "transformer.single_transformer_blocks.0.attn.to_q": ("xl", "FLUX"),
    "lora_unet_joint_blocks_0_x_block_attn_qkv": ("flux", "Stable Diffusion 3"),
    "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q": ("flux", "Stable Diffusion or SDXL"),
    "lora_unet_input_blocks_4_1_transformer_blocks_7_attn1_to_q": ("sd", "SDXL"),
    "transformer.caption_projection.linear_1": ("flux", "PixArt"),
    "diffusion_model.blocks.0.self_attn.q": ("flux", "Wan"),
    "transformer.transformer_blocks.0.img_mlp.net.2": ("flux", "Qwen-Image"),
}


@pytest.mark.parametrize("name", BASES)
def test_a_lora_of_another_base_is_refused_with_its_name_and_counts(tmp_path: Path, name: str) -> None:
    family, base = BASES[name]
    up, down = halves(name)
    tensors = {name + up: random(16, 2), name + down: random(2, 16)}
    with pytest.raises(InvalidParameter, match=f"1 of 1 changed layers: it is for {base}"):
        adapted(family, tensors, tmp_path / "a.safetensors")


def test_layers_that_the_same_base_lacks_are_not_said_to_be_of_another(tmp_path: Path) -> None:
    name = "unet.down_blocks.9.attentions.0.proj_in\n"
    tensors = {f"{name}.lora_B.weight": random(16, 2), f"{name}.lora_A.weight": random(2, 16)}
    with pytest.raises(
        InvalidParameter, match="1 of 1 changed layers: it belongs to a model of another shape"
    ) as raised:
        adapted("sd", tensors, tmp_path / "a.safetensors")
    assert "\n" not in str(raised.value)
    with pytest.raises(InvalidParameter, match="name has 1000017 letters"):
        adapted("sd", {"unet." * 200_000 + "x.lora_up.weight.": random(2, 2)}, tmp_path / "a.safetensors")


def test_changes_by_zero_of_absent_layers_are_left_out(tmp_path: Path) -> None:
    up, down = random(16, 2), random(2, 16)
    tensors = {f"{kohya(QUERY)}.lora_up.weight": up, f"{kohya(QUERY)}.lora_down.weight": down}
    absent = "lora_te_text_projection"
    zero = {f"{absent}.lora_up.weight": 0 * up, f"{absent}.lora_down.weight": down}
    new = changed(adapted("sd", tensors | zero, tmp_path / "a.safetensors"), "sd")
    assert set(new) == {f"{QUERY}.weight"}
    with pytest.raises(InvalidParameter, match="1 of 2 changed layers"):
        adapted("sd", tensors | zero | {f"{absent}.lora_up.weight": up}, tmp_path / "a.safetensors")


def test_a_lora_of_an_absent_t5_encoder_is_left_out_with_a_warning(tmp_path: Path) -> None:
    without = stable_diffusion_3_folder(tmp_path / "sd3", t5=False)
    name = f"lora_te3_{Q.replace('.', '_')}"
    tensors = {f"{name}.lora_up.weight": random(16, 2), f"{name}.lora_down.weight": random(2, 16)}
    other = "transformer.transformer_blocks.1.attn.to_q"
    tensors |= {f"{other}.lora_B.weight": random(16, 2), f"{other}.lora_A.weight": random(2, 16)}
    save_file(tensors, tmp_path / "a.safetensors")
    model: Any = editkit.load_model(without, device="cpu", adapters=[tmp_path / "a.safetensors"])
    assert any("1 of 2 changed layers belong to a T5 encoder" in warning for warning in model.warnings)
