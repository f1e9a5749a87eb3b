"""Generated bad calls in Python: every parameter of every operation, and the arguments beside them.

The oracle is the declaration itself, read as JSON schema: a value outside its type, range or choices has to be refused
by name, and one that is answered has to stand in the report as it was given.
"""

from __future__ import annotations

import decimal
import fractions
import functools
import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from reliability_oracle import is_allowed, schema_of
from reliability_outcomes import Outcomes

import editkit
from editkit.registry.registry import installed
from editkit.registry.specs import OperationSpec
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image

pytestmark = [pytest.mark.reliability, pytest.mark.slow]

SPECS: Mapping[str, OperationSpec] = installed().specs["operations"]
SIZE = (16, 12)
SOURCE = sample_image(SIZE)
LARGEST = 40
"""Largest valid number that is tried: the cost of a call grows with steps, sizes and frames."""


class Hostile:
    """An object of which nothing can be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


class Text(str):
    """A text of a class of its own."""


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def special_values() -> list[Any]:
    numbers = [-1, 0, 1, 2, 3, 41, 10**5000, -(10**30), 2**63, 2**64, True, False, 0.0, -0.0, 0.5, 1.0, 1.5, -1e-9]
    numbers += [5e-324, 1e308, math.nan, math.inf, -math.inf, 1j, decimal.Decimal("0.5"), fractions.Fraction(1, 2)]
    arrays = [np.float64(0.5), np.float32(math.nan), np.int64(3), np.True_, np.array(1.0), np.zeros(3)]
    arrays += [torch.tensor(0.5), torch.zeros(2), torch.tensor(True), Image.new("RGB", (1, 1))]
    texts = [
        "",
        " ",
        "a",
        "0.5",
        "3",
        "true",
        "nan",
        "ddim",
        "moon",
        "ddim:eta=9",
        ":",
        "a\0b",
        "\ud800",
        "x" * 100_000,
    ]
    texts += [Text("red"), b"red", bytearray(b"x"), memoryview(b"x"), "ddim:", "🍎", "a\nb", "edge:low"]
    others = [None, [], (), {}, set(), [1, "a"], {"a": 1}, nested(3000), range(3), iter([1]), Path("x"), object(), len]
    return [
        *numbers,
        *arrays,
        *texts,
        *others,
        Hostile(),
        Ellipsis,
        NotImplemented,
        type,
        ["a"],
        ("ddim",),
        frozenset("a"),
    ]


VALUES: st.SearchStrategy[Any] = st.one_of(
    st.integers(-5, LARGEST),
    st.integers(-(10**20), 10**20),
    st.floats(0, 2),
    st.floats(),
    st.text(st.characters(), max_size=20),
    st.text(st.characters(categories=["Cs", "Cc", "Lu"]), max_size=5),
    st.binary(max_size=8),
    st.lists(st.one_of(st.text(max_size=5), st.integers()), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@functools.cache
def generated() -> list[Any]:
    """Values that hypothesis generates, the same in every run."""
    values: list[Any] = []

    @settings(max_examples=300, derandomize=True, database=None, deadline=None, suppress_health_check=[*HealthCheck])
    @given(VALUES)
    def take(value: Any) -> None:
        values.append(value)

    take()
    return values


def values_for(place: str, long: bool) -> list[Any]:
    """Values to try in one place: all, or a choice that the place decides."""
    if long:
        return [*special_values(), *generated()]
    choice = random.Random(place)
    return [*choice.sample(special_values(), 24), *choice.sample(generated(), 10)]


def is_too_costly(value: Any) -> bool:
    """Whether a value that is allowed would cost seconds: many steps, a large image."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and value > LARGEST


def source_of(spec: OperationSpec) -> Any:
    return {"nothing": None, "image": SOURCE, "two images": (SOURCE, sample_image(SIZE, seed=1))}[spec.takes]


REQUIRED: Mapping[str, Any] = {
    "mask": Image.new("L", SIZE, 255),
    "instruction": "make it green",
    "source": "a red apple",
    "target": "a green apple",
    "right": 3,
}


def base_params(spec: OperationSpec) -> dict[str, Any]:
    """Parameters of a call that is right and cheap."""
    fields = spec.params.model_fields
    needed = [name for name in REQUIRED if name in fields and (fields[name].is_required() or name == "right")]
    params = {**spec.example, **{name: REQUIRED[name] for name in needed}}
    params |= {"sampler": "lcm"} if spec.name == "few-step-edit" else {}
    return {**params, **{name: 2 for name in ("steps", "frames") if name in fields}}


def is_right(name: str, value: Any) -> Callable[[Any], bool]:
    """A check that a result reports the value of a parameter as it was given, and has pixels."""

    def check(result: Any) -> bool:
        if isinstance(result, editkit.Inversion):
            return bool(torch.isfinite(result.trajectory).all())
        reported = result.report.params.get(name, value)
        if isinstance(value, (set, frozenset, tuple, list)) or value is None or hasattr(value, "__array__"):
            return min(result.image.size) > 0
        return bool(reported == value) or str(reported) == str(value)

    return check


def try_value(
    tally: Outcomes, spec: OperationSpec, name: str, value: Any, model: Any, weights: Mapping[str, Any]
) -> None:
    allowed = is_allowed(schema_of(spec)[name], value)
    if allowed is not False and is_too_costly(value):
        return
    params = {**base_params(spec), **weights, name: value}
    tally.attempt(
        f"{spec.name} {name}={type(value).__name__} {_shown(value)}",
        lambda: editkit.apply(spec.name, source_of(spec), model=model, cache=False, **params),
        valid=False if allowed is False else None,
        check=is_right(name, value),
        names=name if allowed is False else None,
    )


def _shown(value: Any) -> str:
    try:
        return repr(value)[:40]
    except Exception:
        return "<hostile>"


EDITING = sorted(name for name, spec in SPECS.items() if spec.takes != "inversion")


@pytest.mark.parametrize("operation", EDITING)
def test_parameters_are_right_or_refused_by_name(
    operation: str, probe: Any, long: bool, tiny_model: Any, tiny_controlnet: Path
) -> None:
    spec, weights = SPECS[operation], {"controlnet": str(tiny_controlnet)} if operation == "control" else {}
    model = tiny_model if weights else ToyBackend()
    with probe(f"parameters in Python: {operation}") as tally:
        for name in spec.params.model_fields:
            for value in values_for(f"{operation} {name}", long):
                try_value(tally, spec, name, value, model, weights)


def test_arguments_besides_parameters_are_right_or_refused(probe: Any, long: bool) -> None:
    model = ToyBackend()
    calls: dict[str, Callable[[Any], Any]] = {
        "operation": lambda value: editkit.apply(value, SOURCE, model=model),
        "model": lambda value: editkit.apply("img2img", SOURCE, model=value, steps=2),
        "device": lambda value: editkit.load_model(device=value),
        "dtype": lambda value: editkit.load_model(dtype=value),
        "adapters": lambda value: editkit.load_model(adapters=value),
        "pipeline": editkit.Pipeline,
        "step": lambda value: editkit.Pipeline([value]),
        "replay": lambda value: editkit.replay(value, model=model),
        "inversion": lambda value: editkit.reconstruct(value, model=model),
        "inversion file": editkit.Inversion.load,
        "progress": lambda value: editkit.apply("img2img", SOURCE, model=model, steps=2, progress=value),
        "seeds": lambda value: editkit.apply_all("img2img", [SOURCE], model=model, steps=2, seeds=value),
        "each": lambda value: editkit.apply_all("img2img", [SOURCE], model=model, steps=2, each=value),
        "batch": lambda value: editkit.apply_all("img2img", [SOURCE], model=model, steps=2, batch=value),
        "images": lambda value: editkit.apply_all("img2img", value, model=model, steps=2),
        "pair": lambda value: editkit.apply("interpolate", value, model=model, steps=2),
        "image": editkit.open_image,
        "mask": lambda value: editkit.apply("img2img", SOURCE, model=model, steps=2, mask=value),
    }
    optional = {"model", "device", "dtype", "progress", "seeds", "mask", "adapters", "images", "batch"}
    with probe("other arguments in Python") as tally:
        for argument, call in calls.items():
            for value in special_values() if long else values_for(argument, long):
                if isinstance(value, Image.Image) or (argument == "model" and value is None):
                    continue
                valid = None if argument in optional else False
                tally.attempt(f"{argument}={_shown(value)}", functools.partial(call, value), valid=valid)
