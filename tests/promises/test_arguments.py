"""A wrong argument of a public function is refused by its name before any work."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import editkit
from editkit import EditkitError, InvalidParameter
from editkit.images.tensors import to_tensor
from editkit.registry.arguments import check_arguments
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image

SOURCE = sample_image((8, 8))
LONG = "x" * 5000
WRONG: dict[str, Any] = {
    "number": 5,
    "fraction": 0.5,
    "bytes": b"x",
    "list of a number": [5],
    "mapping": {"a": 1},
    "object": object(),
    "array": np.array([1, 2]),
    "square array": np.eye(9),
    "set": {5},
    "long text": LONG,
    "NUL": "a\0b",
    "class": ToyBackend,
}
ALLOWED = {
    ("batch", "number"),
    ("seeds", "list of a number"),
    ("seeds", "array"),
    ("images", "list of a number"),
    ("images", "array"),
    ("text", "long text"),
    ("text", "NUL"),
    ("set", "mapping"),
    ("argument", "long text"),
    ("argument", "NUL"),
    ("progress", "class"),
    ("clip_skip", "number"),
}
"""Values that are right, or wrong for another reason than their kind."""


def functions() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Public functions with arguments that are right."""
    result = editkit.apply("img2img", SOURCE, model=ToyBackend(), steps=1, seed=0)
    pipeline = editkit.Pipeline([("img2img", {"steps": 1})])
    model = {"model": ToyBackend()}
    return {
        "apply": (editkit.apply, {"operation": "img2img", "image": SOURCE, **model}),
        "apply_all": (editkit.apply_all, {"operation": "img2img", "images": [SOURCE], **model}),
        "load_model": (editkit.load_model, {}),
        "invert": (editkit.invert, {"image": SOURCE, **model}),
        "reconstruct": (editkit.reconstruct, {"inversion": 5, **model}),
        "Pipeline.__call__": (pipeline, {"image": SOURCE, **model}),
        "Pipeline.from_yaml": (editkit.Pipeline.from_yaml, {}),
        "replay": (editkit.replay, {"file": result, **model}),
        "Result.save": (result.save, {"path": "x.png"}),
        "Result.encoded": (result.encoded, {"suffix": ".png"}),
        "Inversion.load": (editkit.Inversion.load, {}),
        "check_file": (editkit.check_file, {"path": "x.png"}),
        "save_picture": (editkit.save_picture, {"image": result.image, "path": "x.png"}),
        "open_image": (editkit.open_image, {"source": SOURCE}),
        "read_map": (editkit.read_map, {"source": SOURCE}),
    }


CHECKED = {
    *("model", "name", "device", "dtype", "adapters", "compile", "offload", "tiling", "cache", "progress", "batch"),
    *("seeds", "images", "path", "text", "suffix", "argument", "size", "set", "keep_gps", "prediction", "variant"),
    *("revision", "vae", "accelerate", "clip_skip"),
}


def test_every_wrong_argument_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tried = 0
    for name, (function, right) in functions().items():
        signature = inspect.signature(function)
        for argument in signature.parameters.keys() & CHECKED:
            for kind, value in WRONG.items():
                if (argument, kind) in ALLOWED:
                    continue
                tried += 1
                with pytest.raises(EditkitError) as caught:
                    function(**{**right, argument: value})
                assert "\n" not in str(caught.value), (name, argument, kind)
    assert tried > 500 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["compile", "offload", "tiling", "cache"])
@pytest.mark.parametrize("value", ["no", 0, 1, None, []])
def test_a_flag_is_true_or_false(flag: str, value: Any) -> None:
    with pytest.raises(InvalidParameter, match=f"{flag}="):
        editkit.apply("img2img", SOURCE, **{"model": ToyBackend(), flag: value})


@pytest.mark.parametrize("batch", [np.int64(2), np.array(2), torch.tensor(2)], ids=["numpy", "array", "torch"])
def test_whole_numbers_of_numpy_and_torch_are_whole_numbers(batch: Any) -> None:
    results = editkit.apply_all("img2img", [SOURCE] * 3, model=ToyBackend(), steps=1, seed=0, batch=batch)
    assert len(results) == 3
    with pytest.raises(InvalidParameter, match=r"batch=.* is not allowed"):
        editkit.apply_all("img2img", [SOURCE], model=ToyBackend(), batch=batch > 1)


@pytest.mark.parametrize("make", [np.int64, torch.tensor], ids=["numpy", "torch"])
def test_numbers_of_numpy_and_torch_are_passed_on_as_pythons(make: Any, tmp_path: Path) -> None:
    result = editkit.apply("img2img", np.zeros((8, 8, 3), np.uint8), model=ToyBackend(), strength=0.0)
    files = [result.save(tmp_path / f"{number}.jpg", quality=one) for number, one in enumerate((50, make(50)))]
    assert files[0].read_bytes() == files[1].read_bytes()
    with pytest.raises(InvalidParameter, match="adapter 'no' is no file here"):
        editkit.load_model(adapters=[{"file": "no", "scale": make(2)}])
    with pytest.raises(InvalidParameter, match="clip_skip=100 is not allowed: the text_encoder"):
        editkit.load_model(clip_skip=make(100))


@pytest.mark.parametrize(
    "one", [np.asarray(SOURCE), np.asarray(SOURCE)[..., 0], to_tensor(SOURCE)[0]], ids=["rgb", "grey", "chw"]
)
def test_an_array_of_one_image_is_no_list_of_its_rows(one: Any) -> None:
    with pytest.raises(InvalidParameter, match="give a list of images"):
        editkit.apply_all("img2img", one, model=ToyBackend(), steps=1)
    stack = one[None].repeat(2, *[1] * one.ndim) if isinstance(one, torch.Tensor) else np.stack([one, one])
    if stack.ndim == 4:
        assert len(editkit.apply_all("img2img", stack, model=ToyBackend(), steps=1)) == 2


def test_a_decorated_function_keeps_its_signature_and_pythons_own_errors() -> None:
    @check_arguments()
    def write(path: str, *, cache: bool = True) -> str:
        return path

    assert list(inspect.signature(write).parameters) == ["path", "cache"]
    assert write("x", cache=np.True_) == "x"
    with pytest.raises(TypeError, match="path"):
        write()  # type: ignore[call-arg]
    with pytest.raises(InvalidParameter, match="path=5"):
        write(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "images", [5, [("a", 5)], [Image.new("L", (1, 1))], ["ab"]], ids=["number", "pair", "image", "text"]
)
def test_a_sheet_takes_labelled_images_only(images: Any) -> None:
    with pytest.raises(EditkitError):
        editkit.draw_sheet(images)
