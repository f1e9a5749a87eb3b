"""Result of an edit: image, report and recipe."""

from __future__ import annotations

import dataclasses as dc
import functools
import os
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ...caching import file_stamps, load_once
from ...display import mime_bundle
from ...files.writing import write_encoded
from ...images.animation.encoding import encode_animation, frames_losses
from ...images.animation.frames import Animation
from ...images.animation.reading import reopen
from ...images.contact_sheet import draw_sheet
from ...images.image_params import recorded_images
from ...images.reading import open_stored
from ...images.sources import format_size
from ...images.stored.encoding import Encoding, RecipeContent, losses
from ...images.stored.image import StoredImage
from ...images.writing import FRAMES_SUFFIXES, encode_image
from ...inversion.inversion import Inversion
from ...model.backend import Backend
from ...model.batching import grouping_of
from ...model.capabilities import loading_options_of
from ...model.files.folders import identity_of
from ...registry.arguments import check_arguments
from ...registry.params import Params, image_fields
from ...registry.paths import map_paths, without_folder, without_folders
from ...registry.registry import Registry, installed
from ...report import Report
from ...version import __version__
from ..outcome import Edit, PixelEdit
from ..recipe import ImageReference, ModelReference, Recipe, Step, image_name, source_name
from ..request import Request
from .quality import Untouched

_MILLISECONDS = 100.0
"""Time of each of several frames in an animation."""


def build_result(
    request: Request,
    model: Backend,
    outcome: Edit | PixelEdit | Inversion,
    frames: list[Image.Image],
    report: Report,
    untouched: Untouched | None = None,
    mask: Image.Image | None = None,
    found: Mapping[str, Image.Image] | None = None,
) -> Any:
    """Return the Result of an outcome with its recipe; an Inversion gets the report only.

    ``found`` are the masks of controls.
    """
    if isinstance(outcome, Inversion):
        return dc.replace(outcome, report=report)
    images = recorded_images(request.params)
    recipe = _describe_steps(request, model, images, report)
    attachments = {source_name(i): source for i, source in enumerate(request.sources)}
    attachments |= {image_name(name, len(recipe.steps) - 1): image for name, image in images.items()}
    image = concatenate_frames(frames)
    return Result(
        image=image,
        report=dc.replace(report, output_size=image.size),
        recipe=recipe,
        attachments=attachments,
        sources=request.sources,
        frames=tuple(frames),
        latents=outcome.latents if isinstance(outcome, Edit) else None,
        untouched=untouched,
        mask=mask,
        masks_of_controls=dict(found or {}),
    )


def _describe_steps(request: Request, model: Backend, images: Mapping[str, Image.Image], report: Report) -> Recipe:
    """Return the recipe of a request: no path and no image, but the names and digests of both."""
    registry = installed()
    drawn_by = ModelReference(
        model=_public_name(model.name, registry.specs["models"]),
        identity=model.identity,
        adapters=tuple(_without_folder(adapter) for adapter in report.adapters),
        dtype=report.dtype,
        options=loading_options_of(model).recorded,
    )
    params = without_folders(registry, request.spec.params, report.params)
    params.pop("segmenter", None)  # it has found the mask, or had none to find
    references = {name: ImageReference.of(image) for name, image in images.items()}
    explicit = tuple(sorted(request.params.model_fields_set - set(image_fields(request.spec.params))))
    step = Step(
        operation=request.spec.name,
        drawn_by=drawn_by,
        params=params,
        explicit=explicit,
        images=references,
        files=_file_digests(registry, request.spec.params, report.params),
        specifications=dict(request.specifications),
        filled=grouping_of(model) == "filled",
    )
    steps = [step]
    if request.inversion is not None and request.spec.takes == "inversion":  # stored as the step that makes it again
        inverted = without_folders(registry, registry.spec("operations", "invert").params, request.inversion.params)
        steps.insert(0, Step(operation="invert", drawn_by=drawn_by, params=inverted))
    sources = tuple(ImageReference.of(source) for source in request.sources)
    return Recipe(version=__version__, steps=tuple(steps), sources=sources)


def _file_digests(registry: Registry, declaration: type[Params], params: Mapping[str, Any]) -> dict[str, str]:
    """Return digests of the files and folders that parameters name, without those of images, by their last names."""
    images, places = image_fields(declaration), list[str]()

    def note(place: str) -> str:
        places.append(place)
        return place

    map_paths(registry, declaration, {name: value for name, value in params.items() if name not in images}, note)
    expanded = {without_folder(place)[:200]: os.path.expanduser(place) for place in places}  # noqa: PTH111 (Path's raises)
    return {name: _digest_of(place) for name, place in expanded.items() if os.path.exists(place)}  # noqa: PTH110


@load_once(16, stamps=file_stamps)
def _digest_of(place: str) -> str:
    return identity_of(Path(place))


def _public_name(model: str, registered: Container[str]) -> str:
    """Return the name of a model without its folder, which must not look like that of a registered one."""
    name = model if model in registered else without_folder(model)
    return f"{name} (a folder)" if name in registered and model not in registered else name


def _without_folder(adapter: str) -> str:
    """Return an adapter, ``file:scale``, without the folder of its file."""
    file, colon, scale = adapter.rpartition(":")
    return f"{without_folder(file)}{colon}{scale}" if colon else without_folder(adapter)


def concatenate_frames(frames: Sequence[Image.Image]) -> Image.Image:
    """Return frames of one height side by side."""
    if len(frames) == 1:
        return frames[0]
    stored = [StoredImage.of(frame) for frame in frames]
    return dc.replace(stored[0], levels=np.concatenate([frame.levels for frame in stored], axis=1)).view()


@dc.dataclass(eq=False)
class Result:
    """Result of an operation that gives an image."""

    image: Image.Image
    """The image in 8-bit sRGB; several frames are side by side. :attr:`levels` has its own depth and profile."""
    report: Report
    """Parameters, cost and quality figures."""
    recipe: Recipe
    """Operations, parameters, models and digests of images, by which :func:`replay` makes the result again."""
    attachments: dict[str, Image.Image]
    """Images that the recipe needs: sources and masks."""
    sources: tuple[Image.Image, ...]
    """The images that were edited; none for ``generate``."""
    frames: tuple[Image.Image, ...]
    """The single images, usually one."""
    latents: Tensor | None
    """Latents (B, C, h, w) of the frames; None for an operation that returns pixels."""
    untouched: Untouched | None = None
    """Part of the source that the result has to repeat, by which a file is measured."""
    mask: Image.Image | None = None
    """The mask of the edit in mode L and the size of the source, painted or found: 0 where every pixel is kept."""
    masks_of_controls: dict[str, Image.Image] = dc.field(default_factory=dict)
    """Masks like :attr:`mask` that controls found, such as ``ledits``, by their calls in ``attach``."""
    losses: tuple[str, ...] = ()
    """Warnings of the report that belong to the file last saved."""

    def __repr__(self) -> str:
        count = f"{len(self.frames)} frames of " if len(self.frames) > 1 else ""
        size = f"{count}{format_size(self.frames[0].size)} pixels"
        return f"<Result {self.report.line}; {size}, model {self.report.model!r}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Return the display of a notebook: sources and result with one line of the report."""
        labels = [self.report.line, *(f"frame {number}" for number in range(2, len(self.frames) + 1))]
        return mime_bundle(repr(self), self._labelled_sources(), list(zip(labels, self.frames, strict=True)))

    @property
    def levels(self) -> NDArray[Any]:
        """Levels (H, W, 3 or 4) that a PNG holds: uint16 for a 16-bit source, in the source's colour profile."""
        return StoredImage.of(self.image).levels

    @check_arguments()
    def save(
        self,
        path: str | os.PathLike[str],
        *,
        quality: int | None = None,
        keep_gps: bool = False,
        recipe: RecipeContent = "text",
    ) -> Path:
        """Write the image with its recipe, whole or not at all; frames become an animated .gif or .webp.

        ``recipe`` is ``text`` for operations, parameters, the names of models and the digests of source and masks;
        ``full``, for PNG only, also embeds source and masks, which everybody who has the file can take out of it;
        ``none`` stores nothing. A replay of a file without them needs the source.

        The file has the bit depth, the colour profile and the metadata of the source as far as its format holds them;
        ``keep_gps`` keeps the position among them. ``quality``, 1 to 100, is for JPEG (default 95), AVIF (default 90)
        and a WebP that is lossy. The report then has the figures of the file, and warnings of what it does not hold.
        Raises InvalidParameter for a path, a suffix or a quality that is not allowed.
        """
        options: dict[str, Any] = {"quality": quality, "keep_gps": keep_gps, "recipe": recipe}
        target = write_encoded(path, functools.partial(self.encoded, **options))
        self.report = dc.replace(self.report, output=str(target))
        return target

    @check_arguments()
    def encoded(
        self, suffix: str, *, quality: int | None = None, keep_gps: bool = False, recipe: RecipeContent = "text"
    ) -> bytes:
        """Return the bytes of a file with this suffix, and measure them for the report; no suffix means PNG."""
        encoding = Encoding(quality, keep_gps, recipe)
        text = None if recipe == "none" else self.recipe.model_dump_json()
        if len(self.frames) > 1 and suffix.lower() in FRAMES_SUFFIXES:
            animation = Animation(self.frames, (_MILLISECONDS,) * len(self.frames))
            data = encode_animation(animation, suffix, recipe=text, encoding=encoding, transparent=False)
            lost = frames_losses(animation, reopen(data).matched_to(animation), suffix)
            self._describe_file(lost, output_size=self.frames[0].size)
            return data
        images = self.attachments if recipe == "full" else {}
        data = encode_image(self.image, suffix, recipe=text, attachments=images, encoding=encoding)
        self._measure(data, suffix, encoding, text)
        return data

    def _measure(self, data: bytes, suffix: str, encoding: Encoding, recipe: str | None) -> None:
        """Set the figures of the report to those of an encoded file."""
        difference = self.report.untouched_max_diff
        if self.untouched is not None:
            difference = self.untouched.largest_difference(open_stored(data, argument="the file as encoded"))
        lost = losses(StoredImage.of(self.image), suffix, encoding, difference, recipe)
        self._describe_file(lost, output_size=self.image.size, untouched_max_diff=difference)

    def _describe_file(self, lost: Sequence[str], **figures: Any) -> None:
        """Set figures of the report, and the warnings of what the file last encoded does not hold."""
        previous, self.losses = self.losses, tuple(lost)
        kept = [warning for warning in self.report.warnings if warning not in previous]
        self.report = dc.replace(self.report, warnings=(*kept, *self.losses), **figures)

    @property
    def masks(self) -> tuple[Image.Image, ...]:
        """The mask of the edit if it has one, then those that its controls found."""
        return (*([] if self.mask is None else [self.mask]), *self.masks_of_controls.values())

    def sheet(self, label: str | None = None) -> Image.Image:
        """Return a labelled image of the sources and the result."""
        after = label or self.report.operation
        return draw_sheet([*self._labelled_sources(), *((after, frame) for frame in self.frames)])

    def _labelled_sources(self) -> list[tuple[str, Image.Image]]:
        return [
            (f"before {i + 1}" if len(self.sources) > 1 else "before", image) for i, image in enumerate(self.sources)
        ]
