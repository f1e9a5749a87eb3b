"""Measures of ``editkit evaluate`` by networks: real classes at tiny sizes, against computations of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from editkit_evaluate import EvaluateParams
from editkit_evaluate.metrics import Metrics
from editkit_evaluate.networks import ClipSimilarity, PerceptualDistance, StructureDistance
from editkit_evaluate.squeeze_net import FIRES, Lpips
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast, ViTConfig, ViTModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from editkit import WeightsUnavailable, evaluation

WORDS = ["[PAD]", "[UNK]", "[BOS]", "[EOS]", "a", "red", "green", "apple"]
SMALL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "initializer_range": 0.5,
}


def image(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of a CLIP model, a ViT without pooler, and LPIPS, with random weights."""
    root = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    text = {**SMALL, "vocab_size": len(WORDS), "max_position_embeddings": 8, "eos_token_id": 3}
    vision = {**SMALL, "image_size": 32, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(root / "clip")
    words = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", eos_token="[EOS]").save_pretrained(root / "clip")
    size = {"height": 32, "width": 32}
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size).save_pretrained(root / "clip")
    ViTModel(ViTConfig(**SMALL, image_size=224, patch_size=32), add_pooling_layer=False).save_pretrained(root / "dino")
    (root / "lpips").mkdir()
    weights = {
        name: tensor.abs() if name.startswith("lin") else tensor for name, tensor in Lpips().state_dict().items()
    }
    save_file(weights, root / "lpips" / "model.safetensors")
    return {name: str(root / name) for name in ("clip", "dino", "lpips")}


def test_clip_similarity_is_a_hundred_cosines_and_at_least_0(folders: dict[str, str]) -> None:
    model = CLIPModel.from_pretrained(folders["clip"]).eval()
    processor = CLIPImageProcessorPil.from_pretrained(folders["clip"])
    clip, values = ClipSimilarity(folders["clip"]), []
    for seed, text in ((0, "a red apple"), (1, "a red apple"), (0, "green"), (1, "green apple"), (2, "a a")):
        pixels = processor(image(seed), return_tensors="pt")["pixel_values"]
        ids = torch.tensor([[WORDS.index(word) for word in text.split()]])
        with torch.no_grad():
            outputs = model(input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids))
        values.append(100 * float(F.cosine_similarity(outputs.image_embeds, outputs.text_embeds)))
        assert clip.similarity(image(seed), text) == pytest.approx(max(values[-1], 0), abs=1e-3)
    assert min(values) < 0 < max(values)
    assert clip.similarity(image(0), "a " * 20) >= 0  # longer than the text encoder reads


@pytest.mark.parametrize("as_published", [False, True])
def test_structure_distance_compares_keys_of_the_last_layer(folders: dict[str, str], as_published: bool) -> None:
    model = ViTModel.from_pretrained(folders["dino"], add_pooling_layer=False).eval()
    similarities = []
    for one in (image(0), image(1)):
        levels = torch.from_numpy(np.float32(one)).permute(2, 0, 1)[None]
        resized = F.interpolate(levels, (224, 268), mode="bilinear", antialias=not as_published)
        mean, deviation = torch.tensor([[[0.485, 0.456, 0.406]], [[0.229, 0.224, 0.225]]]).permute(0, 2, 1)[..., None]
        pixels = (resized / (1 if as_published else 255) - mean) / deviation
        with torch.no_grad():
            states = model(pixels, interpolate_pos_encoding=True, output_hidden_states=True).hidden_states[-2]
            (layer,) = [part for name, part in model.named_modules() if name.endswith(".1")]
            (projection,) = [part for name, part in layer.named_modules() if name.endswith(("k_proj", "key"))]
            (norm,) = [part for name, part in layer.named_modules() if name.endswith("layernorm_before")]
            keys = projection(norm(states))[0]
        similarities.append(F.cosine_similarity(keys[:, None], keys[None], dim=-1))
    expected = float((similarities[0] - similarities[1]).square().mean())
    distance = StructureDistance(folders["dino"]).distance(image(0), image(1), as_published=as_published)
    assert distance == pytest.approx(expected, rel=1e-3)
    assert StructureDistance(folders["dino"]).distance(image(0), image(0)) == 0


def test_lpips_sums_differences_of_unit_features(folders: dict[str, str]) -> None:
    """One layer is computed by hand; the distance is additive over layers, so the heads of the others are set to 0."""
    lpips = PerceptualDistance(folders["lpips"])
    with torch.no_grad():
        for number in range(1, 7):
            getattr(lpips.model, f"lin{number}")["model"][1].weight.zero_()
    first = lpips.model.features["0"]
    features = []
    for one in (image(0), image(1)):
        pixels = torch.from_numpy(np.float32(one)).permute(2, 0, 1)[None] / 127.5 - 1
        shift, scale = torch.tensor([[-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]])[..., None, None]
        features.append(F.normalize(F.relu(first((pixels - shift) / scale)), dim=1))
    head = lpips.model.lin0["model"][1].weight[0, :, 0, 0]
    values = ((features[0] - features[1]).square() * head[:, None, None]).sum(1)
    assert lpips.distance(image(0), image(1)) == pytest.approx(float(values.mean()), rel=1e-4)
    assert lpips.distance(image(0), image(0)) == 0


def test_lpips_of_a_region_sees_no_change_elsewhere(folders: dict[str, str]) -> None:
    lpips = PerceptualDistance(folders["lpips"])
    left = np.zeros((64, 64), bool)
    left[:, :20] = True
    far = Image.composite(image(1, (64, 64)), image(0, (64, 64)), Image.fromarray(~left))
    whole, inside = lpips.distance(image(0, (64, 64)), far), lpips.distance(image(0, (64, 64)), far, left)
    assert whole is not None
    assert inside is not None
    assert 0 < inside < whole
    assert lpips.distance(far, image(0, (64, 64)), np.zeros_like(left)) is None
    assert lpips.distance(image(0, (20, 20)), image(1, (20, 20))) is None


def test_all_networks_add_their_measures_by_both_definitions(folders: dict[str, str]) -> None:
    mask = Image.new("L", (48, 40))
    mask.paste(255, (8, 8, 24, 24))
    case = evaluation.Case(name="one", source="a red apple", target="a green apple", image=image(0), mask=mask)
    measured: list[dict[str, Any]] = []
    for as_published in (False, True):
        values = {"folder": ".", "method": ["img2img"], "output": ".", "as_published": as_published, **folders}
        metrics = Metrics(EvaluateParams.parse("evaluate", values))
        measured.append(dict(metrics.measure(case, image(1))))
    own, published = measured
    assert {"clip_source", "clip_target", "clip_target_crop", "lpips_outside", "structure_distance"} <= set(own)
    assert list(published)[:8] == [
        *("structure_distance", "psnr_unedit_part", "lpips_unedit_part", "mse_unedit_part", "ssim_unedit_part"),
        *("clip_similarity_source_image", "clip_similarity_target_image", "clip_similarity_target_image_edit_part"),
    ]
    black = np.where((np.asarray(mask) > 0)[..., None], np.asarray(image(1)), 0).astype(np.uint8)
    black[[0, -1]], black[:, [0, -1]] = np.asarray(image(1))[[0, -1]], np.asarray(image(1))[:, [0, -1]]
    expected = ClipSimilarity(folders["clip"]).similarity(Image.fromarray(black), "a green apple")
    assert published["clip_similarity_target_image_edit_part"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("network", "message"), [("clip", "no config.json"), ("lpips", "lin*.model.1.weight")])
def test_folder_without_weights_is_refused_with_advice(tmp_path: Path, network: str, message: str) -> None:
    values = {"folder": ".", "method": ["img2img"], "output": ".", network: str(tmp_path)}
    with pytest.raises(WeightsUnavailable) as error:
        Metrics(EvaluateParams.parse("evaluate", values))
    assert message in str(error.value)


def test_fires_have_the_channels_of_the_layers_before_them() -> None:
    channels = 64
    for inputs, _, outputs in FIRES.values():
        assert inputs == channels
        channels = 2 * outputs
