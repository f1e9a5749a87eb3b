"""A tiny folder of each family is an ordinary diffusers folder whose pipeline draws the same image each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import ProcessorMixin

from families.tables import FAMILIES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning"),
]


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    family = FAMILIES[request.param]
    if not family.importable:
        pytest.skip(f"diffusers needs {family.needs} for it")
    for name, value in family.areas.items():
        monkeypatch.setattr(name, value)
    return family


def draw(pipeline: Any, arguments: dict[str, Any]) -> Tensor:
    """The image that a pipeline draws in two steps."""
    torch.manual_seed(0)  # some draw the latents of a hint
    noise = torch.Generator().manual_seed(0)
    (drawn, *_) = pipeline(num_inference_steps=2, generator=noise, output_type="pt", return_dict=False, **arguments)
    return drawn[0] if isinstance(drawn, list) else drawn


def references(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def with_reference(family: Any, seed: int, **options: Any) -> dict[str, Any]:
    """Arguments of a call, with a reference where the pipeline takes one."""
    image = references(seed)
    reference = {family.reference: [image] if family.several else image} if family.reference else {}
    return {**family.arguments(**options), **reference}


def test_a_folder_of_each_family_loads_and_draws_as_built(family: Any, family_folder: Callable[[str], Path]) -> None:
    """Guidance and another reference change the image: weights are shaken enough to let each part matter."""
    pipeline = family.pipeline()
    arguments = with_reference(family, 1)
    drawn = draw(pipeline, arguments)
    assert drawn.shape[-1:-3:-1] == family.size
    assert drawn.std() > 0.01, "an image without contrast would hide errors"
    if family.guided is not None:
        assert not torch.equal(drawn, draw(pipeline, with_reference(family, 1, guided=True)))
    if family.reference:
        assert not torch.equal(drawn, draw(pipeline, with_reference(family, 2)))

    folder = family_folder(family.name)
    if any(isinstance(part, ProcessorMixin) for part in pipeline.components.values()):
        pytest.importorskip("torchvision", reason="transformers loads its processor by torchvision")
    loaded = family.fit(diffusers.DiffusionPipeline.from_pretrained(folder, use_safetensors=True))
    # Weights of a file are aligned in memory otherwise than new ones, and sums are then taken in another order.
    torch.testing.assert_close(draw(loaded, arguments), drawn, atol=1e-4, rtol=0)
    assert torch.equal(draw(loaded, arguments), draw(loaded, arguments)), "the image is the same each time"
