"""Options of registered names, adapters and masks as mappings: they equal the texts with colons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import editkit
from editkit import InvalidParameter, MaskSpecification
from editkit.model.adapters import Adapter, adapter_calls
from editkit.registry.calls import read_call, write_call
from editkit.testing.toy import ToyBackend


class Unreadable(dict[str, Any]):
    """A mapping of a user whose entries cannot be read."""

    def keys(self) -> Any:
        raise RuntimeError


@pytest.mark.parametrize(
    ("parameter", "call", "text"),
    [
        ("sampler", {"name": "ddim", "eta": 0.5}, "ddim:eta=0.5"),
        ("sampler", {"name": "ddim", "eta": np.float64(0.5)}, "ddim:eta=0.5"),
        ("sampler", {"name": "ddim"}, "ddim"),
        ("attach", [{"name": "controlnet", "kind": "edge", "invert": True}], ("controlnet:kind=edge,invert=true",)),
        ("attach", [{"name": "style", "image": Path("a.png"), "model": "m"}], ("style:image=a.png,model=m",)),
    ],
)
def test_a_call_as_a_mapping_is_the_same_parameter_as_its_text(parameter: str, call: Any, text: Any) -> None:
    params = editkit.check_params("img2img", {parameter: call})
    assert getattr(params, parameter) == text
    assert params == editkit.check_params("img2img", {parameter: text})


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ({"eta": 0.5}, "give a name"),
        ({"name": "ddim", "eta": [1]}, "the option 'eta' is no number"),
        ({3: "ddim"}, "give a name"),
        (Unreadable(), "give a name"),
        ({"name": "ddim", "eta": "0.5"}, "numbers as text are not possible"),
        ({"name": "ddim", "eta": "a,b"}, "commas"),
        ({"name": "ddim", "etta": 1.0}, "sampler 'ddim' has no parameter 'etta'; did you mean 'eta'"),
    ],
)
def test_a_mapping_that_is_no_call_is_refused(call: Any, reason: str) -> None:
    with pytest.raises(InvalidParameter, match=reason):
        editkit.check_params("img2img", {"sampler": call})


@pytest.mark.parametrize("value", [True, False, 3, -0.1, 1e-7, "edge", "a b", "x=y:z"])
def test_options_of_a_call_return_from_its_text(value: Any) -> None:
    name, options = read_call(write_call({"name": "a", "max_tokens": value}))
    assert (name, options, type(options["max_tokens"])) == ("a", {"max_tokens": value}, type(value))


def test_a_mapping_of_words_is_the_text_of_their_weights() -> None:
    call = {"name": "prompt-to-prompt", "weights": {"hat": 1.3, "coat": 0.5}}
    assert write_call(call) == "prompt-to-prompt:weights=hat:1.3+coat:0.5"


def test_a_recipe_of_mappings_is_that_of_their_texts() -> None:
    image, model = Image.new("RGB", (16, 16), "red"), ToyBackend()
    recipes = [
        editkit.img2img(image, prompt="a", steps=2, seed=1, sampler=call, model=model).recipe
        for call in ({"name": "ddim", "eta": 0.5}, "ddim:eta=0.5")
    ]
    assert recipes[0] == recipes[1]


def test_adapters_are_files_mappings_and_objects() -> None:
    calls = ["a.safetensors:0.5", {"file": Path("a.safetensors"), "scale": 0.5}, Adapter(Path("a.safetensors"), 0.5)]
    assert set(adapter_calls(calls)) == {"a.safetensors:0.5"}
    for wrong in ({"scale": 1.0}, {"file": "a", "weight": 1.0}, {"file": "a", "scale": "1"}, ("a", 0.5)):
        with pytest.raises(InvalidParameter, match="mappings with file and scale"):
            adapter_calls([wrong])


def test_a_mask_of_words_or_points_may_be_a_mapping() -> None:
    assert MaskSpecification.parse({"words": "the hat"}) == MaskSpecification(words="the hat")
    points = {"inside": [[3, 4]], "outside": [(5, 6)]}
    assert MaskSpecification.parse(points) == MaskSpecification.parse("points:3,4-5,6")
    with pytest.raises(InvalidParameter, match="give words, or inside and outside"):
        MaskSpecification.parse({"word": "the hat"})
