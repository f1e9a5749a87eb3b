"""Parameters take a value in Python's type and in its plain form, as recipes and manifests have it."""

from __future__ import annotations

import datetime
import enum
import math
from typing import Annotated, Any

import click
import pytest
from pydantic import Field

from editkit import EditkitError, InvalidParameter, Params
from editkit.cli.options import details_of, parameters_of
from editkit.registry.params import is_default
from editkit.registry.registry import installed


class Blend(enum.Enum):
    MIX = "mix"
    ADD = "add"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class OwnTypes(Params):
    blend: Blend = Field(Blend.MIX, description="A choice of texts.")
    level: Level | None = Field(None, description="A choice of numbers.")
    window: tuple[int, int] = Field((0, 4), description="Two numbers.")
    scales: tuple[float, ...] = Field((), description="Numbers.")
    names: frozenset[str] = Field(frozenset(), description="Names.")
    day: datetime.date | None = Field(None, description="A day.")
    share: Annotated[float, Field(ge=0, le=1)] = Field(0.5, description="A number.")


VALUES: dict[str, Any] = {
    "blend": Blend.ADD,
    "level": Level.HIGH,
    "window": (1, 2),
    "scales": (0.5, 1.0),
    "names": frozenset({"a", "b"}),
    "day": datetime.date(2026, 1, 2),
    "share": 0.25,
}


def test_plain_form_of_parameters_gives_the_same_parameters() -> None:
    given = OwnTypes.parse("tint", VALUES)
    assert OwnTypes.parse("tint", given.model_dump(mode="json")) == given
    assert OwnTypes.parse("tint", {}).model_dump(mode="json").keys() == VALUES.keys()


def test_plain_default_is_the_default() -> None:
    plain = OwnTypes.parse("tint", {}).model_dump(mode="json")
    assert all(is_default(field, plain[name]) for name, field in OwnTypes.model_fields.items())
    changed = OwnTypes.parse("tint", VALUES).model_dump(mode="json")
    assert not any(is_default(field, changed[name]) for name, field in OwnTypes.model_fields.items())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("blend", "over", "blend='over' is not allowed: input should be 'mix' or 'add'"),
        ("level", 3, "level=3 is not allowed: input should be 1 or 2"),
        ("window", [1, "2"], "window.1='2' is not allowed: input should be a valid integer"),
        ("window", [1], "window.1=[1] is not allowed: field required"),
        ("scales", [math.inf], "scales.0=inf is not allowed: input should be a finite number"),
        ("names", "ab", "names='ab' is not allowed: input should be a valid frozenset"),
        ("share", "0.5", "share='0.5' is not allowed: input should be a valid number; allowed: 0 to 1"),
    ],
)
def test_wrong_value_is_refused_in_either_form(name: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidParameter, match="tint: ") as raised:
        OwnTypes.parse("tint", {name: value})
    assert str(raised.value) == f"tint: {message}"


def test_enum_is_a_choice_of_the_command_line_and_a_tuple_is_json() -> None:
    options = {option.name: option for option in parameters_of(OwnTypes, installed())}
    assert list(options["blend"].type.choices) == ["mix", "add"]
    assert options["window"].type.convert("[1, 2]", None, None) == (1, 2)
    with pytest.raises(click.BadParameter, match="'1,2' is not allowed: give JSON such as"):
        options["window"].type.convert("1,2", None, None)
    texts = {name: details_of(OwnTypes.model_fields[name], installed()) for name in ("blend", "window")}
    assert texts == {"blend": "  [default: mix]", "window": "  [default: [0, 4]]"}


def test_scalar_in_json_never_becomes_another_type() -> None:
    for value in ("1", 1.0, True, [1], None):
        with pytest.raises(EditkitError):
            OwnTypes.parse("tint", {"window": [value, 2]})
