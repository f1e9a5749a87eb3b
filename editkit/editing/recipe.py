"""Recipe of a result: operations, parameters, models and digests of the images; stored in the file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import from_json

from ..errors import BadFile, InvalidParameter
from ..images.masks.painted import MOST_CHARACTERS
from ..images.recipes import reading
from ..images.sources import MAX_PIXELS
from ..images.stored.digest import image_digest
from ..images.stored.image import StoredImage
from ..model.options import described_model
from ..registry.params import Params, is_default, shorten
from .params import GatedParams

SCHEMA = 4
"""Schema of the recipe of a still image."""
_ANIMATED = 5
"""Schema of the recipe of an animation."""
_EMBEDDED = 3
"""Schema in which the images were always embedded, and not described."""

_MAX_SOURCES = 2

_Name = Annotated[str, Field(max_length=200)]
"""Name in a recipe, short enough for a message."""

_Path = Annotated[str, Field(max_length=4096)]
"""Name that a plugin may choose, or of a model or adapter, in older recipes with its folder."""

_Specification = Annotated[str, Field(max_length=MOST_CHARACTERS)]
"""Words, points or strokes of a mask."""


class ModelReference(BaseModel):
    """Model of a step, without the paths of its files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: _Path
    """Registered name or hub id; of a folder or file its last name, which is no registered one."""
    identity: _Path
    adapters: tuple[_Path, ...] = ()
    """Adapters of the model as ``file:scale``, for information: nothing is loaded by these names."""
    dtype: _Path
    options: dict[_Name, _Path | int] = Field(default_factory=dict)
    """Loading options of the model that change results; ``vae`` is a name for information: nothing is loaded by it."""

    def __str__(self) -> str:
        name, *adapters = (shorten(one)[1:-1] for one in (self.model, *self.adapters))
        options = {option: shorten(value).strip("'") for option, value in self.options.items()}
        return f"{described_model(name, adapters, options)}, identity {shorten(self.identity)[1:-1]}"


class ImageReference(BaseModel):
    """An image that a step takes: its size, and the digest by which a replay verifies it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(ge=1, le=MAX_PIXELS)
    height: int = Field(ge=1, le=MAX_PIXELS)
    mode: Literal["L", "RGB", "RGBA"]
    depth: Literal[8, 16]
    """Bits per channel."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """See :func:`editkit.images.stored.digest.image_digest`."""

    @classmethod
    def of(cls, image: Image.Image) -> Self:
        """Describe an image of mode L, RGB or RGBA, as an operation gets it."""
        width, height = image.size
        depth: Any = 8 if image.mode == "L" else StoredImage.of(image).depth
        mode: Any = image.mode
        return cls(width=width, height=height, mode=mode, depth=depth, sha256=image_digest(image))

    def check(self, image: Image.Image, name: str) -> None:
        """Raise InvalidParameter if an image is another than this one."""
        given = ImageReference.of(image)
        if given != self:
            raise InvalidParameter(
                f"{name} is another image than the recipe's: it is {given}, and the result was made from {self}: pass "
                "the original, or a lossless copy of it"
            )

    def __str__(self) -> str:
        return f"{self.width} x {self.height} pixels, {self.mode}, {self.depth} bit, SHA-256 {self.sha256[:12]}"


class Step(BaseModel):
    """One operation of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    operation: _Name
    drawn_by: ModelReference
    params: dict[_Name, Any]
    explicit: tuple[_Name, ...] | None = None
    """Parameters that were set by the user or the operation; None in older recipes."""
    images: dict[_Name, ImageReference] = Field(default={})
    """Images of the parameters by name, as the operation got them; those of several are ``reference-1`` and so on."""
    files: dict[_Name, _Name] | None = None
    """Digests of files that the parameters name, such as a ControlNet, by their last names; None in older recipes."""
    filled: bool = False
    """Whether network calls had a fixed number of rows, as among other edits, which decides the last bits."""

    specifications: dict[_Name, _Specification] = Field(default={})
    """Words, points or strokes of a mask by the name of its parameter: a replay draws strokes again, finds words and
    points again if a segmenter is given, and else needs the image."""

    @field_validator("params")
    @classmethod
    def _read_switch(cls, params: dict[str, Any]) -> dict[str, Any]:
        """Read ``auto_mask`` of older recipes, a switch, as the mask by the difference."""
        switch = params.get("auto_mask")
        return params | {"auto_mask": "difference" if switch else None} if isinstance(switch, bool) else params

    def set_params(self, declaration: type[Params]) -> dict[str, Any]:
        """Return the parameters without those that were left to their defaults, and whose defaults are the same.

        A recipe without a gate is older than gates and had none, whatever the default of its model is today.
        """
        fields = declaration.model_fields
        gate = {"gate": 0.0} if issubclass(declaration, GatedParams) and "gate" not in self.params else {}
        return {
            name: value
            for name, value in (gate | self.params).items()
            if self.explicit is None
            or name in self.explicit
            or name in gate
            or name not in fields
            or not is_default(fields[name], value)
        }


class RecipeHeader(BaseModel):
    """Fields of a recipe of any schema."""

    model_config = ConfigDict(frozen=True)

    version: _Name
    """Version of the editkit that wrote the recipe."""
    schema_version: int = SCHEMA


class Recipe(RecipeHeader):
    """Operations that made a result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: tuple[Step, ...]
    sources: tuple[ImageReference, ...] = Field(max_length=_MAX_SOURCES)
    """Images that the first step takes."""

    def references(self) -> dict[str, ImageReference]:
        """Return all images that the steps take from outside, by the names under which a file may embed them."""
        named = {source_name(index): reference for index, reference in enumerate(self.sources)}
        for index, step in enumerate(self.steps):
            named |= {image_name(name, index): reference for name, reference in step.images.items()}
        return named


class AnimationRecipe(Recipe):
    """Operations that made an animation, with the images of the first frame."""

    schema_version: int = _ANIMATED
    frames: int = Field(ge=1)
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    """Digest of all frames of the source; None in older recipes."""
    anchor: bool | None = None
    """Argument of :func:`editkit.apply_to_animation`, like :attr:`batch`: both decide the last bits of frames."""
    batch: int | None = Field(None, ge=1)
    """None in older recipes."""

    @classmethod
    def of(cls, first: Recipe, source: Sequence[Image.Image], *, anchor: bool | None, batch: int) -> Self:
        """Return the recipe of an animation by that of its first frame and by all frames of its source."""
        return cls(
            version=first.version,
            steps=first.steps,
            sources=first.sources,
            frames=len(source),
            sha256=frames_digest(source),
            anchor=anchor,
            batch=batch,
        )


def frames_digest(frames: Sequence[Image.Image]) -> str:
    """Return one digest of the pixels of all frames."""
    return hashlib.sha256("".join(map(image_digest, frames)).encode()).hexdigest()


def image_name(name: str, step: int) -> str:
    """Return the name under which an image of a step's parameters is embedded."""
    return f"{name}-{step}"


def source_name(index: int) -> str:
    """Return the name under which a source image is embedded."""
    return f"source-{index}"


def read_recipe(source: str | os.PathLike[str] | bytes) -> tuple[Recipe, dict[str, Image.Image]]:
    """Return the recipe in a file and the images embedded beside it, by name.

    Raises BadFile if there is no recipe, or if it is damaged or contradicts the images.
    """
    text, images = reading.read_recipe(source)
    try:
        header = RecipeHeader.model_validate_json(text)
        if header.schema_version == _ANIMATED:
            return AnimationRecipe.model_validate_json(text), images
        if header.schema_version not in (SCHEMA, _EMBEDDED):
            raise BadFile(
                f"the recipe was written by editkit {header.version} in schema {header.schema_version}; "
                f"this one reads {_EMBEDDED} and {SCHEMA}: replay it with that version"
            )
        if header.schema_version == _EMBEDDED:
            return _parse_embedded(text, images), images
        recipe = Recipe.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        raise _damaged(f"{'.'.join(map(str, problem['loc']))[:100] or 'text'}: {problem['msg']}") from None
    _check_embedded(recipe, images)
    return recipe, images


def _damaged(reason: str) -> BadFile:
    return BadFile(f"the recipe is damaged: {' '.join(reason.split())[:300]}")


def _check_embedded(recipe: Recipe, images: Mapping[str, Image.Image]) -> None:
    """Raise BadFile for an embedded image that the recipe does not name, or that is another than it names."""
    references = recipe.references()
    for name, image in images.items():
        if name not in references:
            raise _damaged(f"the file embeds an image {name!r} that the recipe does not name")
        if ImageReference.of(image) != references[name]:
            raise _damaged(f"the embedded image {name!r} is another than the recipe names")


def _parse_embedded(text: str, images: Mapping[str, Image.Image]) -> Recipe:
    """Read a recipe of schema 3: the number of sources, and the names of image parameters; all are embedded."""
    content = from_json(text)
    count = content.get("sources")
    if type(count) is not int or not 0 <= count <= _MAX_SOURCES:
        raise _damaged(f"sources: a number from 0 to {_MAX_SOURCES} is needed")

    def describe(name: str) -> dict[str, Any]:
        if name not in images:
            raise _damaged(f"its image {name!r} is missing from the file, which was changed after it was made")
        return ImageReference.of(images[name]).model_dump()

    steps = content.get("steps")
    for index, step in enumerate(steps if isinstance(steps, list) else []):
        names = step.pop("pictures", []) if isinstance(step, dict) else []
        if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise _damaged(f"steps.{index}: a list of the names of its images is needed")
        if names:
            step["images"] = {name: describe(image_name(name, index)) for name in names}
    content |= {"schema_version": SCHEMA, "sources": [describe(source_name(index)) for index in range(count)]}
    return Recipe.model_validate(content)
