"""Laws of editkit on every family: the same images as its own pipeline, exact edits, a conforming backend."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import SkipTest

import numpy as np
import pytest
import torch
from editkit_diffusers.comparison import compare_pipeline
from PIL import Image

import editkit
from editkit.images.tensors import to_tensor
from editkit.testing.backend_suites import BackendTests
from families.family import Family
from families.tables import SERVED

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning"),
]
TOLERANCE = 1e-4
"""Of float32: editkit takes the same step by another order of operations."""


@pytest.fixture(scope="module", params=SERVED)
def family(request: pytest.FixtureRequest) -> Family:
    family = SERVED[request.param]
    if not family.importable:
        pytest.skip(f"diffusers needs {family.needs} for it")
    return family


@pytest.fixture(scope="module")
def model(family: Family, family_folder: Callable[[str], Path]) -> Any:
    return editkit.load_model(family_folder(family.name))


@pytest.fixture(scope="module")
def source(family: Family) -> Image.Image:
    """Smooth colours and a square, in which an autoencoder of random weights keeps something."""
    width, height = family.size
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([rows * 255 / height, columns * 255 / width, np.full_like(rows, 90.0)], -1).astype(np.uint8)
    pixels[height // 4 : height // 2, width // 4 : width // 2] = (200, 40, 40)
    return Image.fromarray(pixels)


def edit(operation: str, image: Image.Image, model: Any, **parameters: Any) -> Any:
    settings = {"steps": 2, "guidance": 1.0, "seed": 3, "resolution": max(image.size), **parameters}
    return editkit.apply(operation, image, model=model, **settings)


def test_four_steps_equal_those_of_the_own_pipeline_unguided_and_guided(family: Family) -> None:
    differences = dict(compare_pipeline(family.pipeline(), family.size))
    assert set(differences) >= {"an unguided image of 4 steps"}
    assert len(differences) == 2 or family.guided is None or "guidance_scale" not in family.guided
    assert max(differences.values()) <= TOLERANCE, differences


@torch.no_grad()
def test_a_pinned_inversion_reconstructs_at_the_bound_of_the_autoencoder(
    family: Family, model: Any, source: Image.Image
) -> None:
    inversion = edit("invert", source, model, prompt=family.prompt, method="pinned")
    reconstructed = editkit.apply("reconstruct", inversion, model=model).latents
    clean = model.encode(to_tensor(source).to(model.dtype))
    assert float((reconstructed - clean).abs().max()) <= TOLERANCE * float(clean.abs().max())


def test_an_edit_without_a_change_returns_the_source_bit_for_bit(
    family: Family, model: Any, source: Image.Image
) -> None:
    same = edit("prompt-edit", source, model, source=family.prompt, target=family.prompt)
    assert np.array_equal(np.asarray(same.image.convert("RGB")), np.asarray(source))


def test_nothing_is_touched_outside_a_mask(family: Family, model: Any, source: Image.Image) -> None:
    mask = np.zeros(source.size[::-1], np.uint8)
    mask[: source.height // 2, : source.width // 2] = 255
    result = edit("inpaint", source, model, prompt="a green pear", mask=Image.fromarray(mask), feather=0)
    outside = mask == 0
    assert np.array_equal(np.asarray(result.image.convert("RGB"))[outside], np.asarray(source)[outside])


def test_the_backend_conforms(family: Family, model: Any, family_folder: Callable[[str], Path]) -> None:
    if family.name == "ideogram4":
        pytest.skip("its text encoder of 36 layers reads 2048 tokens, which takes too long for many prompts")

    class Conformance(BackendTests):
        name = "universal"

        @classmethod
        def make(cls) -> Any:
            return editkit.load_model(family_folder(family.name))

        @classmethod
        def backend(cls) -> Any:
            return model

    suite = Conformance()
    for check in set(BackendTests.checks()) - {"test_no_check_is_replaced_without_a_reason"}:
        with contextlib.suppress(SkipTest):  # of what the family does not provide
            getattr(suite, check)()
