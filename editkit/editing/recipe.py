"""The recipe of a picture: which operations, with which parameters, on which model; stored in the picture itself."""

from __future__ import annotations

import os
from typing import Any

from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import BadFile
from ..images import png_metadata

SCHEMA = 3


class ModelReference(BaseModel):
    """The model of a step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    identity: str
    adapters: tuple[str, ...] = ()
    """What was added to the model, as ``file:scale``, for a person to find: nothing is loaded by these names."""
    dtype: str


class Step(BaseModel):
    """One operation of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    operation: str
    drawn_by: ModelReference
    params: dict[str, Any]
    pictures: tuple[str, ...] = ()
    """The parameters that are pictures, which travel beside the recipe."""


class RecipeHeader(BaseModel):
    """What every recipe says of itself, whatever else it holds."""

    model_config = ConfigDict(frozen=True)

    version: str
    """Of the editkit that wrote it."""
    schema_version: int = SCHEMA


class Recipe(RecipeHeader):
    """How a picture was made; the pictures it was made from travel beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: tuple[Step, ...]
    sources: int
    """How many pictures the first step took."""


def image_name(parameter: str, step: int) -> str:
    return f"{parameter}-{step}"


def source_name(index: int) -> str:
    return f"source-{index}"


def read_recipe(source: str | os.PathLike[str] | bytes) -> tuple[Recipe, dict[str, Image.Image]]:
    """Return the recipe in a PNG and the pictures that travel with it; raises BadFile where there is none."""
    text, pictures = png_metadata.read_recipe(source)
    try:
        written = RecipeHeader.model_validate_json(text)
        if written.schema_version != SCHEMA:
            raise BadFile(
                f"the recipe was written by editkit {written.version} in schema {written.schema_version}; "
                f"this one reads {SCHEMA}: replay it with that version"
            )
        recipe = Recipe.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        raise BadFile(f"the picture's recipe is damaged: {problem['loc']}: {problem['msg']}") from None
    wanted = [source_name(i) for i in range(recipe.sources)]
    wanted += [image_name(name, i) for i, step in enumerate(recipe.steps) for name in step.pictures]
    missing = [name for name in wanted if name not in pictures]
    if missing:
        raise BadFile(
            f"the recipe's picture {missing[0]!r} is missing from the file: the file was changed after it was made"
        )
    return recipe, pictures
