"""A tiny folder of each family is an ordinary diffusers folder whose pipeline draws the same image each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from families.tables import FAMILIES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning"),
]
SAVED = [name for name, family in FAMILIES.items() if not family.needs]


def draw(pipeline: Any, arguments: dict[str, Any]) -> Tensor:
    """The image that a pipeline draws in two steps."""
    noise = torch.Generator().manual_seed(0)
    (drawn, *_) = pipeline(
        prompt="a red apple",
        num_inference_steps=2,
        generator=noise,
        output_type="pt",
        return_dict=False,
        **arguments,
    )
    return drawn


@pytest.mark.parametrize("name", SAVED)
def test_a_folder_of_each_family_loads_and_draws_as_built(name: str, family_folder: Callable[[str], Path]) -> None:
    family = FAMILIES[name]
    loaded = family.fit(diffusers.DiffusionPipeline.from_pretrained(family_folder(name), use_safetensors=True))
    drawn = draw(loaded, family.arguments())
    assert drawn.shape[-1:-3:-1] == family.size
    assert drawn.std() > 0.01, "an image without contrast would hide errors"
    assert torch.equal(drawn, draw(loaded, family.arguments()))
    # Weights of a file are aligned in memory otherwise than new ones, and sums are then taken in another order.
    torch.testing.assert_close(drawn, draw(family.pipeline(), family.arguments()), atol=1e-4, rtol=0)
    if family.guided is not None:
        assert not torch.equal(drawn, draw(loaded, family.arguments(guided=True)))
