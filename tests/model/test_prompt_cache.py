"""Laws of prompts that are not read twice."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image

import editkit
from editkit import Condition
from editkit.model import prompt_text
from editkit.model.prompt_text import MOST_LISTS, embed_cached
from editkit.testing import ToyBackend


class Reading(ToyBackend):
    """A model that records the prompts it embeds."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[tuple[str, ...]] = []

    def embed(self, prompts: Sequence[str]) -> Condition:
        self.read.append(tuple(prompts))
        return super().embed(prompts)


@pytest.fixture
def image() -> Image.Image:
    return Image.linear_gradient("L").resize((16, 16)).convert("RGB")


def test_a_second_edit_embeds_no_prompt_again_and_gives_the_same_image(image: Image.Image) -> None:
    model = Reading()
    arguments = {"prompt": "red", "guidance": 2.0, "strength": 0.5, "seed": 0, "steps": 4, "cache": False}
    results = [editkit.apply("img2img", image, model=model, **arguments).image for _ in range(2)]
    assert sorted(model.read) == [("",), ("red",)]
    assert np.array_equal(*map(np.asarray, results))


def test_a_changed_model_embeds_its_prompts_again() -> None:
    model = Reading()
    with torch.no_grad():
        embed_cached(model, ["red"])
        model.identity += " with an adapter"
        embed_cached(model, ["red"])
    assert model.read == [("red",), ("red",)]


def test_each_model_and_each_list_of_prompts_has_its_own_entry() -> None:
    models = Reading(), Reading()
    with torch.no_grad():
        for model in models:
            for prompts in (["red"], ["red", "red"], ["red", "red"]):
                assert len(embed_cached(model, prompts)["text"]) == len(prompts)
    assert [model.read for model in models] == [[("red",), ("red", "red")]] * 2


def test_the_prompts_used_last_are_kept() -> None:
    model = Reading()
    with torch.no_grad():
        for number in range(MOST_LISTS):
            embed_cached(model, [str(number)])
        embed_cached(model, ["0"])
        embed_cached(model, ["one more"])
        model.read.clear()
        embed_cached(model, ["0"])
        embed_cached(model, ["1"])
    assert model.read == [("1",)]


def test_a_tensor_added_to_a_condition_is_not_cached() -> None:
    model = Reading()
    with torch.no_grad():
        embed_cached(model, ["red"])["seen"] = torch.ones(1)
        assert set(embed_cached(model, ["red"])) == {"text"}


def test_gradients_are_followed_to_an_embedding_of_their_own() -> None:
    model = Reading()
    assert embed_cached(model, ["red"])["text"] is not embed_cached(model, ["red"])["text"]
    assert len(model.read) == 2


def test_the_entries_of_a_deleted_model_are_dropped() -> None:
    model = Reading()
    with torch.no_grad():
        embed_cached(model, ["red"])
    assert model in prompt_text.CONDITIONS
    kept = weakref.ref(model)
    del model
    assert kept() is None
