"""Recipe of a result: operations, parameters and models; stored in the PNG."""

from __future__ import annotations

import os
from typing import Any

from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import BadFile
from ..images import png_metadata

SCHEMA = 3


class ModelReference(BaseModel):
    """Model of a step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    identity: str
    adapters: tuple[str, ...] = ()
    """Adapters of the model as ``file:scale``, for information: nothing is loaded by these names."""
    dtype: str


class Step(BaseModel):
    """One operation of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    operation: str
    drawn_by: ModelReference
    params: dict[str, Any]
    pictures: tuple[str, ...] = ()
    """Names of the image parameters, whose images are stored beside the recipe."""


class RecipeHeader(BaseModel):
    """Fields of a recipe of any schema."""

    model_config = ConfigDict(frozen=True)

    version: str
    """Version of the editkit that wrote the recipe."""
    schema_version: int = SCHEMA


class Recipe(RecipeHeader):
    """Operations that made a result; the source images and masks are stored beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: tuple[Step, ...]
    sources: int
    """Number of images that the first step takes."""


def image_name(parameter: str, step: int) -> str:
    """Return the name under which the image parameter of a step is stored."""
    return f"{parameter}-{step}"


def source_name(index: int) -> str:
    """Return the name under which a source image is stored."""
    return f"source-{index}"


def read_recipe(source: str | os.PathLike[str] | bytes) -> tuple[Recipe, dict[str, Image.Image]]:
    """Return the recipe in a PNG and its images by name; raises BadFile if there is none or it is damaged."""
    text, images = png_metadata.read_recipe(source)
    try:
        header = RecipeHeader.model_validate_json(text)
        if header.schema_version != SCHEMA:
            raise BadFile(
                f"the recipe was written by editkit {header.version} in schema {header.schema_version}; "
                f"this one reads {SCHEMA}: replay it with that version"
            )
        recipe = Recipe.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        raise BadFile(f"the recipe is damaged: {problem['loc']}: {problem['msg']}") from None
    names = [source_name(i) for i in range(recipe.sources)]
    names += [image_name(name, i) for i, step in enumerate(recipe.steps) for name in step.pictures]
    missing = [name for name in names if name not in images]
    if missing:
        raise BadFile(
            f"the recipe's image {missing[0]!r} is missing from the file: the file was changed after it was made"
        )
    return recipe, images
