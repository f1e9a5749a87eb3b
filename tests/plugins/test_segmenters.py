"""Masks of words and points by real model classes at tiny configurations, against the output of transformers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, SamConfig, SamModel, SamProcessor
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import editkit
from editkit import InvalidParameter, MaskSpecification, WeightsUnavailable
from editkit.registry.registry import installed
from editkit.testing.tiny.parts import tokenizer

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "initializer_range": 0.5}
IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (23, 40, 3), dtype=np.uint8))
POINTS = MaskSpecification(inside=[(30, 5), (8, 12)], outside=[(3, 20)])


@pytest.fixture(scope="module")
def clipseg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clipseg") / "model"
    torch.manual_seed(0)
    words = tokenizer()
    text = {**SMALL, "num_hidden_layers": 2, "vocab_size": len(words), "max_position_embeddings": 16}
    text |= {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    vision = {**SMALL, "num_hidden_layers": 3, "image_size": 16, "patch_size": 4}
    config = CLIPSegConfig(
        text_config=text, vision_config=vision, projection_dim=16, reduce_dim=8, extract_layers=[0, 1, 2],
        decoder_num_attention_heads=2, decoder_intermediate_size=16,
    )  # fmt: skip
    CLIPSegForImageSegmentation(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sam") / "model"
    torch.manual_seed(1)
    vision = {"hidden_size": 16, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {
        "image_size": 32,
        "patch_size": 4,
        "mlp_dim": 32,
        "global_attn_indexes": [1],
        "window_size": 4,
        "num_pos_feats": 8,
    }
    prompt = {"hidden_size": 16, "image_size": 32, "patch_size": 4, "mask_input_channels": 4}
    decoder = {
        "hidden_size": 16,
        "mlp_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 16,
    }
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    model = SamModel(config)
    with torch.no_grad():  # random weights are undecided
        for part in model.mask_decoder.output_hypernetworks_mlps:
            part.proj_out.weight.mul_(1e6)
    model.save_pretrained(folder)
    SamImageProcessorPil(size={"longest_edge": 32}, pad_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def find(call: str, specification: MaskSpecification) -> Any:
    return installed().build("segmenters", call)(IMAGE, specification)


@torch.no_grad()
def test_words_mark_as_clipseg_of_transformers_does(clipseg: Path) -> None:
    model = CLIPSegForImageSegmentation.from_pretrained(clipseg).eval()
    words = tokenizer()
    masks = []
    for text in ("a red apple", "green"):
        pixels = ViTImageProcessorPil.from_pretrained(clipseg)(IMAGE, return_tensors="pt")["pixel_values"]
        logits = model(**words([text], return_tensors="pt"), pixel_values=pixels).logits
        whole = torch.nn.functional.interpolate(logits[None].view(1, 1, 16, 16), (23, 40), mode="bilinear")
        expected = whole.sigmoid()[0, 0].numpy()
        shares = find(f"clipseg:model={clipseg},threshold=0.5", MaskSpecification(text))
        assert np.allclose(shares, np.clip(2 * (expected / 0.5 - 1) + 0.5, 0, 1), atol=1e-5)
        masks.append(shares)
    assert np.abs(masks[0] - masks[1]).max() > 0.1


@torch.no_grad()
def test_points_mark_as_sam_of_transformers_does(sam: Path) -> None:
    model, processor = SamModel.from_pretrained(sam).eval(), SamProcessor(SamImageProcessorPil.from_pretrained(sam))
    inputs = processor(
        IMAGE, input_points=[[[[30, 5], [8, 12], [3, 20]]]], input_labels=[[[1, 1, 0]]], return_tensors="pt"
    )
    sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
    outputs = model(**inputs)
    published = processor.post_process_masks(outputs.pred_masks, *sizes)[0][0, int(outputs.iou_scores.argmax())].numpy()
    shares = find(f"sam:model={sam}", POINTS)
    assert np.array_equal(shares > 0.5, published)
    assert 0 < published.mean() < 1
    assert not np.array_equal(find(f"sam:model={sam}", MaskSpecification(inside=[(2, 2)])), shares)


@pytest.mark.parametrize(("kind", "where"), [("clipseg", MaskSpecification("red")), ("sam", POINTS)])
def test_a_segmenter_whose_files_change_is_loaded_anew(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, where: MaskSpecification
) -> None:
    folder = Path(shutil.copytree(request.getfixturevalue(kind), tmp_path / "model"))
    before = find(f"{kind}:model={folder}", where)
    weights = folder / "model.safetensors"
    save_file({name: -one for name, one in load_file(weights).items()}, weights, metadata={"format": "pt"})
    assert not np.array_equal(find(f"{kind}:model={folder}", where), before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("specification", "kind"), [("words:a red apple", "clipseg"), (str(POINTS), "sam"), (POINTS, "sam")]
)
def test_an_edit_under_words_or_points_keeps_the_rest_and_replays(
    tiny_model: Any, clipseg: Path, sam: Path, specification: Any, kind: str, tmp_path: Path
) -> None:
    segmenter = {"clipseg": f"clipseg:model={clipseg},threshold=0.5", "sam": f"sam:model={sam}"}[kind]
    given = {"mask": specification, "segmenter": segmenter, "prompt": "a pear", "steps": 2, "seed": 0}
    result = editkit.apply("img2img", IMAGE, model=tiny_model, **given)
    marked = np.asarray(result.mask)
    assert 0 < result.report.mask_share < 1 and result.report.untouched_max_diff == 0
    assert np.array_equal(np.asarray(result.image)[marked == 0], np.asarray(IMAGE)[marked == 0])
    file = result.save(tmp_path / "out.png")
    assert str(clipseg) not in result.recipe.model_dump_json() and str(sam) not in result.recipe.model_dump_json()
    with pytest.raises(InvalidParameter, match=r"found by '(words|points):.*or its segmenter \(--set segmenter="):
        editkit.replay(file, source=IMAGE, model=tiny_model)
    again = editkit.replay(file, source=IMAGE, model=tiny_model, segmenter=segmenter)
    assert np.array_equal(again.image, result.image) and not again.report.warnings
    assert np.array_equal(editkit.replay(file, source=IMAGE, model=tiny_model, mask=result.mask).image, result.image)
    inverted = editkit.apply("img2img", IMAGE, model=tiny_model, **given, invert_mask=True)
    assert np.array_equal(np.asarray(inverted.mask), 255 - marked)


def test_a_specification_is_read_from_its_own_text() -> None:
    for one in (MaskSpecification("the red hat"), POINTS, MaskSpecification(inside=[(0, 0)])):
        assert MaskSpecification.parse(str(one)) == one
    assert MaskSpecification.parse('words:"the hat"') == MaskSpecification("the hat")
    assert MaskSpecification.parse("mask.png") is None and MaskSpecification.parse(IMAGE) is None


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"mask": "words:"}, r"'words:' is not allowed: give either words"),
        ({"mask": "points:3"}, "write words:the hat"),
        ({"mask": "points:-3,4"}, "give either words, or points inside"),
        ({"mask": "points:3,4+50,2", "segmenter": "sam:model=x"}, "the point 50,2 is outside of an image of 40 x 23"),
        (
            {"mask": "words:the hat"},
            "needs a segmenter: give segmenter with its options, such as clipseg:",
        ),
        ({"mask": "words:the hat", "segmenter": "sam:model=x"}, "sam reads no words; give segmenter"),
        ({"mask": "points:3,4", "segmenter": "clipseg:model=x"}, "clipseg reads no points; give segmenter"),
        ({"segmenter": "clipseg"}, "needs the parameter 'model'"),
        ({"segmenter": "clipseg:model=x,threshold=0"}, "threshold=0 is not allowed"),
    ],
)
def test_a_wrong_specification_is_refused_before_a_model_is_loaded(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidParameter, match=problem):
        editkit.apply("img2img", IMAGE, model="no-such-model", **values)


def test_words_beyond_the_limit_and_missing_models_are_named(clipseg: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="the segmenter reads 16 tokens: shorten it"):
        find(f"clipseg:model={clipseg}", MaskSpecification("a red apple " * 9))
    for kind in ("clipseg", "sam"):
        with pytest.raises(WeightsUnavailable, match=r"segmentation model .* has no config"):
            find(f"{kind}:model={tmp_path}", POINTS)


def test_a_segmenter_beside_a_painted_mask_has_no_effect(tiny_model: Any) -> None:
    mask = np.zeros((23, 40), np.uint8)
    mask[:, 20:] = 255
    result = editkit.apply(
        "img2img", IMAGE, model=tiny_model, mask=mask, segmenter="sam:model=x", prompt="a pear", steps=2, seed=0
    )
    assert any("has no effect: the mask is an image, or there is none" in warning for warning in result.report.warnings)
    again = editkit.replay(result, source=IMAGE, model=tiny_model, mask=mask)  # the recipe holds no folder of it
    assert again.image.tobytes() == result.image.tobytes()
