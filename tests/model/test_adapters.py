"""LoRA and textual inversion: the formats of all trainers, files that do not fit, and the identity of the model."""

from __future__ import annotations

import functools
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
import torch
from click.testing import CliRunner
from diffusers import DiffusionPipeline, StableDiffusionXLPipeline
from editkit_diffusers.ldm_key_names import original_name
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

import editkit
from editkit import Backend, BadFile, InvalidParameter, MissingCapability
from editkit.cli import main
from editkit.images.png_metadata import encode_png
from editkit.testing.suite import sample_image
from editkit.testing.tiny import pixel_ddpm_folder, stable_diffusion_folder, stable_diffusion_xl_folder

Family = Literal["sd", "xl"]
FOLDERS: dict[Family, Callable[[Path], Path]] = {"sd": stable_diffusion_folder, "xl": stable_diffusion_xl_folder}
FAMILIES = tuple(FOLDERS)
PROMPT = "a red apple"
RANK, ALPHA = 2, 3.0
UNET = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")
"""The layers that every trainer can change, by the ends of their names."""
CONVOLUTIONS = ("conv1", "conv2", "conv_shortcut", "time_emb_proj", "downsamplers.0.conv", "upsamplers.0.conv")
TEXT = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")

PLACE = tempfile.TemporaryDirectory(prefix="editkit-tests-")
"""Of the models that all tests here share, until Python ends."""

each_family = pytest.mark.parametrize("family", FAMILIES)


class Low(NamedTuple):
    """A change of one layer: ``up @ down`` times ``alpha`` by rank."""

    part: str
    module: str
    up: Tensor
    down: Tensor
    alpha: float = ALPHA


@functools.cache
def folder(family: Family) -> Path:
    return FOLDERS[family](Path(PLACE.name) / family)


@functools.cache
def pipeline(family: Family) -> Any:
    created = DiffusionPipeline.from_pretrained(folder(family))
    created.set_progress_bar_config(disable=True)
    return created


def layers(net: Any, ends: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    return ((name, module) for name, module in net.named_modules() if name.endswith(ends))


@functools.cache
def change(family: Family, convolutions: bool = False) -> tuple[Low, ...]:
    """A random LoRA of all parts of a model."""
    random = torch.Generator().manual_seed(0)
    parts = {"unet": UNET + (CONVOLUTIONS if convolutions else ()), "text_encoder": TEXT, "text_encoder_2": TEXT}
    created = []
    for part, ends in parts.items():
        net = getattr(pipeline(family), part, None)
        for name, module in layers(net, ends) if net is not None else ():
            shape = module.weight.shape
            up = torch.randn(shape[0], RANK, *(1,) * (len(shape) - 2), generator=random)
            down = torch.randn(RANK, *shape[1:], generator=random)
            created.append(Low(part, name, 0.3 * up, 0.3 * down))
    return tuple(created)


# The spellings of trainers


def kohya_name(low: Low, family: Family) -> str:
    """One word a layer; of SDXL the layers of the UNet have their first names."""
    parts = {"unet": "unet", "text_encoder": "te" if family == "sd" else "te1", "text_encoder_2": "te2"}
    module = low.module.removeprefix("text_model.")
    if low.part != "unet":
        module = f"text_model.{module}"
    elif family == "xl":
        module = original_name(module, layers=1)
    return f"lora_{parts[low.part]}_{module.replace('.', '_')}"


def kohya(low: Low, family: Family) -> dict[str, Tensor]:
    name = kohya_name(low, family)
    return {
        f"{name}.lora_down.weight": low.down,
        f"{name}.lora_up.weight": low.up,
        f"{name}.alpha": torch.tensor(low.alpha),
    }


def scaled(low: Low) -> Tensor:
    """The ``up`` matrix in files without an alpha."""
    return low.up * low.alpha / RANK


def peft(low: Low, _: Family) -> dict[str, Tensor]:
    name = f"{low.part}.{low.module}"
    return {f"{name}.lora_A.weight": low.down, f"{name}.lora_B.weight": scaled(low)}


def processors(low: Low, _: Family) -> dict[str, Tensor]:
    """The first files of diffusers."""
    module, ends = low.module, ("to_q", "to_k", "to_v", "to_out.0")
    early = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}
    stem, _, last = module.rpartition(".")
    if low.part == "unet" and module.endswith(ends):
        module = module.replace("attn1.", "attn1.processor.").replace("attn2.", "attn2.processor.")
        name = f"{low.part}.{module.removesuffix('.0')}_lora"
    elif last in early:
        name = f"{low.part}.text_model.{stem.removeprefix('text_model.')}.{early[last]}_lora"
    else:
        name = f"{low.part}.{module}.{'lora' if low.part == 'unet' else 'lora_linear_layer'}"
    return {f"{name}.down.weight": low.down, f"{name}.up.weight": scaled(low)}


def named_by_peft(low: Low, _: Family) -> dict[str, Tensor]:
    """PEFT's own files, with the name of the adapter."""
    part = "unet.base_model.model" if low.part == "unet" else low.part
    name = f"{part}.{low.module}"
    return {f"{name}.lora_A.default.weight": low.down, f"{name}.lora_B.default.weight": scaled(low)}


SPELLINGS = {"kohya": kohya, "peft": peft, "processors": processors, "named": named_by_peft}


def written(to: Path, family: Family, spelling: str = "kohya", lows: tuple[Low, ...] | None = None) -> Path:
    tensors: dict[str, Tensor] = {}
    for low in change(family) if lows is None else lows:
        tensors |= SPELLINGS[spelling](low, family)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, to)
    return to


def drawn(family: Family, *adapters: str | Path, prompt: str = PROMPT) -> Tensor:
    model = editkit.load_model(folder(family), device="cpu", adapters=adapters)
    latents: Tensor = editkit.apply("generate", model=model, prompt=prompt, steps=2, guidance=3.0, seed=0).latents
    return latents


def theirs(pipeline: Any, prompt: str = PROMPT) -> Tensor:
    random = torch.Generator().manual_seed(0)
    latents: Tensor = pipeline(
        prompt, num_inference_steps=2, guidance_scale=3.0, generator=random, output_type="latent"
    ).images
    return latents


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


# The effect of a LoRA


@pytest.mark.slow
@each_family
def test_all_spellings_mean_the_same(tmp_path: Path, family: Family) -> None:
    networks = [
        networks_of(
            editkit.load_model(folder(family), adapters=[written(tmp_path / f"{name}.safetensors", family, name)])
        )
        for name in SPELLINGS
    ]
    plain = networks_of(editkit.load_model(folder(family)))
    for one in networks:
        assert max(map(apart, one, networks[0])) < 1e-6
        assert max(map(apart, one, plain)) > 1e-2


def networks_of(model: Any) -> list[Tensor]:
    return [weight for net in (model.net, *(one.net for one in model.texts.values())) for weight in net.parameters()]


@each_family
def test_a_lora_adds_its_product_to_the_weights(tmp_path: Path, family: Family) -> None:
    """A folder whose weights have been changed by hand draws the same."""
    lows = change(family, convolutions=True)
    file = written(tmp_path / "style.safetensors", family, lows=lows)
    by_hand = FOLDERS[family](tmp_path / "by hand")
    for part in sorted({low.part for low in lows}):
        (weights,) = (by_hand / part).glob("*.safetensors")
        tensors = load_file(weights)
        for low in (low for low in lows if low.part == part):
            product = torch.einsum("or,r...->o...", low.up.flatten(1), low.down)
            tensors[f"{low.module}.weight"] += 0.5 * low.alpha / RANK * product
        save_file(tensors, weights, metadata={"format": "pt"})
    model = editkit.load_model(by_hand, device="cpu")
    expected = editkit.apply("generate", model=model, prompt=PROMPT, steps=2, guidance=3.0, seed=0).latents
    assert apart(drawn(family, f"{file}:0.5"), expected) < 1e-4
    assert apart(drawn(family), expected) > 1e-2


@each_family
@pytest.mark.parametrize("spelling", ["kohya", "peft", "trained"])
def test_a_lora_samples_what_diffusers_samples(tmp_path: Path, family: Family, spelling: str) -> None:
    pytest.importorskip("peft", reason="diffusers needs peft to load a LoRA")
    file = tmp_path / "style.safetensors"
    if spelling == "trained":
        written_with_metadata(file, family)
    else:
        written(file, family, spelling, change(family, convolutions=spelling == "kohya"))
    loaded = pipeline(family)
    loaded.load_lora_weights(tmp_path, weight_name=file.name)
    try:
        expected = theirs(loaded)
    finally:
        loaded.unload_lora_weights()
    ours = drawn(family, file)
    assert apart(ours, expected) < 1e-4
    assert apart(ours, theirs(loaded)) > 1e-2


def written_with_metadata(file: Path, family: Family) -> None:
    """As the training scripts of diffusers write one: alphas stand beside the tensors, some for single layers."""
    tensors: dict[str, Tensor] = {}
    message: dict[str, Any] = {}
    for low in change(family):
        tensors |= {name.removesuffix(".weight") + ".weight": tensor for name, tensor in peft(low, family).items()}
        message |= {
            f"{low.part}.r": RANK,
            f"{low.part}.lora_alpha": 5.0,
            f"{low.part}.target_modules": [one.module for one in change(family) if one.part == low.part],
            f"{low.part}.alpha_pattern": {"to_q": 1.0, "fc1": 7.0},
        }
    save_file(tensors, file, metadata={"lora_adapter_metadata": json.dumps(message)})


@each_family
def test_a_scale_of_0_changes_nothing(tmp_path: Path, family: Family) -> None:
    file = written(tmp_path / "style.safetensors", family)
    assert torch.equal(drawn(family, f"{file}:0"), drawn(family))


@pytest.mark.slow
def test_scales_add_up(tmp_path: Path) -> None:
    file = written(tmp_path / "style.safetensors", "sd")
    once = drawn("sd", file)
    assert torch.equal(drawn("sd", f"{file}:1.0"), once)
    assert apart(drawn("sd", f"{file}:0.25", f"{file}:0.75"), once) < 1e-4
    assert apart(drawn("sd", file, f"{file}:-1"), drawn("sd")) < 1e-4


def test_adapters_are_a_sequence_of_files(tmp_path: Path) -> None:
    file = written(tmp_path / "style.safetensors", "sd")
    for adapters in (str(file), file, 5, [5], None):
        for call in (
            editkit.load_model,
            lambda name, **arguments: editkit.apply("generate", model=str(name), **arguments),
        ):
            with pytest.raises(InvalidParameter, match="adapters is a sequence of files"):
                call(folder("sd"), adapters=adapters)  # type: ignore[operator]


def test_a_colon_may_be_in_the_name(tmp_path: Path) -> None:
    file = written(tmp_path / "style:2.safetensors", "sd")
    assert torch.equal(drawn("sd", file), drawn("sd", f"{file}:1"))
    numbered = written(tmp_path / "a.safetensors:2", "sd")
    with pytest.raises(InvalidParameter, match="can run code"):
        drawn("sd", numbered)


def test_half_precision_is_added_to_in_full(tmp_path: Path) -> None:
    file = written(tmp_path / "style.safetensors", "sd")
    models = {kind: editkit.load_model(folder("sd"), dtype=kind, adapters=[file]) for kind in ("float32", "bfloat16")}
    for half, full in zip(*(models[kind].unet.parameters() for kind in ("bfloat16", "float32")), strict=True):  # type: ignore[attr-defined]
        assert half.dtype is torch.bfloat16
        assert apart(half.float(), full) <= 2**-7 * float(full.abs().max())


# Files that do not fit


def half_loha(low: Low) -> dict[str, Tensor]:
    return {f"{kohya_name(low, 'sd')}.hada_w{half}": low.up.clone() for half in ("1_a", "1_b", "2_a")}


BAD: dict[str, tuple[Callable[[Low], dict[str, Tensor]], str]] = {
    "an OFT": (lambda low: {"lora_unet_proj_in.oft_blocks": low.up}, "an OFT or BOFT adapter"),
    "a part of a LoHa": (lambda low: {**kohya(low, "sd"), **half_loha(low)}, "lacks hada_w2_b"),
    "magnitudes alone": (lambda low: {kohya_name(low, "sd") + ".dora_scale": torch.ones(1)}, "no change of"),
    "weights of a model": (lambda low: {"conv_in.weight": low.up}, "conv_in.weight.* a network: give it"),
    "another width": (lambda low: kohya(low._replace(down=torch.zeros(RANK, 99)), "sd"), "another shape"),
    "another depth": (lambda low: kohya(low._replace(module=f"x.{low.module}"), "sd"), "x_.* does not have"),
    "a second encoder": (lambda low: kohya(low._replace(part="text_encoder_2"), "sd"), "text_encoder_2.* not have"),
    "rank 0": (lambda low: kohya(low._replace(up=low.up[:, :0], down=low.down[:0]), "sd"), "rank 0"),
    "NaN": (lambda low: kohya(low._replace(up=low.up * torch.nan), "sd"), "holds NaN or infinity in .*lora_up"),
    "an alpha beyond all weights": (
        lambda low: kohya(low._replace(alpha=3e38, up=1e3 * low.up), "sd"),
        "infinite in torch.float32",
    ),
    "one half": (lambda low: dict(list(kohya(low, "sd").items())[:1]), "one half"),
}
"""Tensors beside a valid change, and the error for them."""


@pytest.mark.parametrize("kind", BAD)
def test_an_adapter_that_does_not_fit_is_one_line_and_changes_no_model(tmp_path: Path, kind: str) -> None:
    content, message = BAD[kind]
    first, *_, last = change("sd")
    file = tmp_path / "bad.safetensors"
    save_file({**kohya(last, "sd"), **content(first)}, file)
    model: Any = editkit.load_model(folder("sd"), device="cpu")
    before = model.identity, [weight.clone() for weight in model.unet.parameters()]
    with pytest.raises(InvalidParameter, match=f"bad.*{message}") as raised:
        model.add_adapter(editkit.Adapter(file))
    assert "\n" not in str(raised.value)
    assert (model.identity, model.adapters) == (before[0], ())
    assert all(map(torch.equal, before[1], model.unet.parameters()))


def test_a_file_without_weights_is_refused_before_the_model_loads(tmp_path: Path) -> None:
    (tmp_path / "pickled.pt").write_bytes(b"")
    for call, message in {
        tmp_path / "nowhere.safetensors": "no file here",
        tmp_path: "a folder",
        tmp_path / "pickled.pt": "can run code",
        f"{tmp_path / 'style.safetensors'}:nan": "finite",
    }.items():
        with pytest.raises(InvalidParameter, match=message):
            editkit.load_model("no such model", adapters=[call])


def test_a_folder_or_a_hub_id_stands_for_its_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path / "style.safetensors", "sd")
    snapshot = tmp_path / "hub" / "models--org--style" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    shutil.copy(file, snapshot / "pytorch_lora_weights.safetensors")
    (snapshot / "other.safetensors").write_bytes(b"")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    chosen = snapshot / "pytorch_lora_weights.safetensors"
    assert editkit.Adapter.parse(f"{snapshot}:0.5") == editkit.Adapter(chosen, 0.5)
    assert editkit.Adapter.parse("org/style:0.5").file.read_bytes() == file.read_bytes()
    shutil.copy(chosen, snapshot / "adapter_model.safetensors")
    with pytest.raises(InvalidParameter, match=r"a folder with adapter_model\.safetensors, pytorch_lora"):
        editkit.Adapter.parse(snapshot)
    with pytest.raises(InvalidParameter, match="a whole model"):
        editkit.Adapter.parse(folder("sd"))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "damaged.safetensors").write_bytes(b"not these")
    with pytest.raises(BadFile, match=r"damaged\.safetensors.*cannot be read"):
        drawn("sd", tmp_path / "damaged.safetensors")
    good = written(tmp_path / "good.safetensors", "sd", "peft")
    save_file(load_file(good), good, metadata={"lora_adapter_metadata": '{"unet.lora_alpha": "much"}'})
    with pytest.raises(BadFile, match="is damaged"):
        drawn("sd", good)


def test_a_model_without_adapter_support_is_named(tmp_path: Path) -> None:
    file = written(tmp_path / "style.safetensors", "sd")
    with pytest.raises(MissingCapability, match=r"style\.safetensors:1 needs .* pixel-ddpm"):
        editkit.load_model(pixel_ddpm_folder(tmp_path / "pixel"), adapters=[file])
    model = editkit.load_model(folder("sd"))
    with pytest.raises(InvalidParameter, match="already loaded"):
        editkit.apply("generate", model=model, adapters=[file])


# Learned words

CAT = torch.randn(16, generator=torch.Generator().manual_seed(1))
DOG = torch.randn(3, 16, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(("word", "vectors"), [("<cat>", CAT), ("<dog>", DOG)])
def test_a_textual_inversion_is_read_as_diffusers_reads_it(tmp_path: Path, word: str, vectors: Tensor) -> None:
    file = tmp_path / "word.safetensors"
    save_file({word: vectors}, file)
    taught = DiffusionPipeline.from_pretrained(folder("sd"))
    taught.set_progress_bar_config(disable=True)
    taught.load_textual_inversion(str(file))
    prompt = f"a {word} on white"
    ours = drawn("sd", file, prompt=prompt)
    assert apart(ours, theirs(taught, prompt)) < 1e-4
    assert apart(ours, drawn("sd", prompt=prompt)) > 1e-4
    assert torch.equal(drawn("sd", file), drawn("sd"))


def test_a_word_for_two_encoders_is_called_like_its_file(tmp_path: Path) -> None:
    file = tmp_path / "dog.safetensors"
    longer = torch.randn(3, 32, generator=torch.Generator().manual_seed(3))
    save_file({"clip_l": DOG, "clip_g": longer}, file)
    taught = StableDiffusionXLPipeline.from_pretrained(folder("xl"))
    taught.set_progress_bar_config(disable=True)
    for vectors, number in ((DOG, ""), (longer, "_2")):
        parts = {part: getattr(taught, f"{part}{number}") for part in ("tokenizer", "text_encoder")}
        taught.load_textual_inversion({"dog": vectors}, token="dog", **parts)
    prompt = "a red dog"
    assert apart(drawn("xl", file, prompt=prompt), theirs(taught, prompt)) < 1e-4


def test_a_file_with_one_unnamed_embedding_names_the_token(tmp_path: Path) -> None:
    for name, tensors in {"cat": {"emb_params": CAT[None]}, "other": {"cat": CAT}}.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
    one, other = (drawn("sd", tmp_path / f"{name}.safetensors", prompt="a cat") for name in ("cat", "other"))
    assert torch.equal(one, other)


def test_embeddings_that_cannot_be_added_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "word.safetensors"
    for tensors, call, message in (
        ({"<cat>": CAT[:5]}, file, "length 5, and the model's words have 16"),
        ({"<cat>": CAT}, f"{file}:0.5", "leave out the scale"),
        ({"apple": CAT}, file, "'apple', which the model has already"),
    ):
        save_file(tensors, file)
        with pytest.raises(InvalidParameter, match=message):
            drawn("sd", call)


# The identity of a model with adapters


@pytest.mark.slow
def test_adapters_change_the_identity_of_a_model(tmp_path: Path) -> None:
    file = written(tmp_path / "style.safetensors", "sd")
    identities = [
        editkit.load_model(folder("sd"), adapters=adapters).identity
        for adapters in ((), (file,), (f"{file}:1",), (f"{file}:0.5",), (file, file))
    ]
    assert identities[1] == identities[2]
    assert len(set(identities)) == 4


def test_an_inversion_belongs_to_the_model_with_its_adapters(tmp_path: Path) -> None:
    file = written(tmp_path / "style.safetensors", "sd")
    plain, styled = (editkit.load_model(folder("sd"), adapters=adapters) for adapters in ((), (file,)))
    inversion = editkit.invert(sample_image((16, 16)), model=styled, steps=2)
    with pytest.raises(InvalidParameter, match=r"with style\.safetensors:1"):
        editkit.reconstruct(inversion, model=plain)
    report = editkit.reconstruct(inversion, model=styled).report
    assert report.recon_psnr == report.vae_psnr
    assert report.adapters == ("style.safetensors:1",)


def test_a_replay_wants_them_and_takes_none_from_the_file(tmp_path: Path) -> None:
    file = written(tmp_path / "style.safetensors", "sd")
    arguments: dict[str, Any] = {"prompt": PROMPT, "steps": 2, "seed": 0}
    created = editkit.apply("generate", model=str(folder("sd")), adapters=[f"{file}:0.5"], **arguments)
    image = created.save(tmp_path / "made.png")
    assert str(tmp_path).encode() not in image.read_bytes()
    with pytest.raises(InvalidParameter, match=r"style\.safetensors:0\.5; no path is taken from a file"):
        editkit.replay(image, model=str(folder("sd")))
    again = editkit.replay(image, model=str(folder("sd")), adapters=[f"{file}:0.5"])
    assert again.image.tobytes() == created.image.tobytes()
    assert not again.report.warnings
    other = editkit.replay(image, model=str(folder("sd")), adapters=[file])
    assert re.search(
        r"made with another model \(\S+ with style\.safetensors:0\.5, \S+ \w+\) than \S+ with style\.safetensors:1, ",
        other.report.warnings[0],
    )


def test_a_replay_of_a_named_model_requires_its_adapters(tmp_path: Path) -> None:
    recipe = editkit.apply("generate", model=str(folder("sd")), steps=1).recipe
    styled = recipe.model_dump(mode="json")
    styled["steps"][0]["drawn_by"] |= {"model": "emoji", "adapters": ["style.safetensors:1"]}
    image = encode_png(Image.new("RGB", (16, 16)), recipe=json.dumps(styled))
    with pytest.raises(InvalidParameter, match="pass them as adapters"):
        editkit.replay(image)


def test_the_command_line_accepts_adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "style.safetensors", "sd")
    save_file({"<cat>": CAT}, tmp_path / "cat.safetensors")
    words = ["generate", "--prompt", "a <cat>", "--steps", "2", "--seed", "0", "-m", str(folder("sd")), "--json"]
    words += ["--adapter", "style.safetensors:0.5", "--adapter", "cat.safetensors"]
    ran = CliRunner().invoke(main, words)
    assert ran.exit_code == 0, ran.stderr
    assert json.loads(ran.stdout)["adapters"] == ["style.safetensors:0.5", "cat.safetensors:1"]
    replay = ["replay", "generate.png", "-m", str(folder("sd"))]
    refused = CliRunner().invoke(main, replay)
    assert refused.exit_code == 2
    assert refused.stderr.count("\n") == 1
    again = CliRunner().invoke(main, [*replay, *words[-4:]])
    assert again.exit_code == 0, again.stderr
    pictures = [Image.open(name).tobytes() for name in ("generate.png", "generate-replay.png")]
    assert pictures[0] == pictures[1]


def test_the_command_line_does_not_overwrite_an_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = written(tmp_path / "style.safetensors", "sd").read_bytes()
    sample_image((16, 16)).save("a.png")
    words = ["invert", "a.png", "--adapter", "style.safetensors", "-o", "style.safetensors", "-m", str(folder("sd"))]
    assert CliRunner().invoke(main, words).exit_code == 2
    assert (tmp_path / "style.safetensors").read_bytes() == before


def test_backends_may_be_given_some_later(tmp_path: Path) -> None:
    file = written(tmp_path / "style.safetensors", "sd")
    model: Any = editkit.load_model(folder("sd"), device="cpu")
    model.add_adapter(editkit.Adapter(file, 0.5))
    backend: Backend = model
    latents = editkit.apply("generate", model=backend, prompt=PROMPT, steps=2, guidance=3.0, seed=0).latents
    assert torch.equal(latents, drawn("sd", f"{file}:0.5"))
