"""Row: one edit of many, checked before its images are opened."""

from __future__ import annotations

import dataclasses as dc
import os
import stat
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ...errors import BadImage, InvalidParameter
from ...inversion.settings import is_inversion
from ...model.finding import default_model
from ...registry.arguments import MODEL
from ...registry.params import Params, field_metadata, image_fields, shorten
from ...registry.registry import Registry
from ...registry.specs import OperationSpec
from ..request import Request, open_request, prepare
from ..validation import validate_params

if TYPE_CHECKING:
    from ...model.backend import Backend


@dc.dataclass(frozen=True)
class EditRow:
    """One edit of :func:`edit_rows`: a registered operation, its image, its parameters by name, a seed and a model.

    ``image`` is the operation's input as of :func:`apply`; a path is opened when the row's turn comes. ``model`` is a
    loaded model or an argument of :func:`load_model`; None leaves it to the call.
    """

    operation: str
    image: Any = dc.field(default=None, hash=False)
    params: Mapping[str, Any] = dc.field(default_factory=dict, hash=False)
    seed: int | None = None
    model: Backend | str | os.PathLike[str] | None = None

    @classmethod
    def of(cls, given: EditRow | Mapping[str, Any]) -> Self | EditRow:
        """Return a row, or that of a mapping of ``operation``, ``image``, ``seed``, ``model`` and parameters.

        Raises InvalidParameter for other values.
        """
        if isinstance(given, EditRow):
            return given
        if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
            raise InvalidParameter(f"the row {shorten(given)} is not allowed: give a mapping of names, or an EditRow")
        values = dict(given)
        own = {name: values.pop(name) for name in ("image", "seed", "model") if name in values}
        return cls(values.pop("operation", None), params=values, **own)

    @property
    def values(self) -> dict[str, Any]:
        """Parameters with the seed; raises InvalidParameter if there are two."""
        if self.seed is None:
            return dict(self.params)
        if self.params.get("seed") is not None:
            raise InvalidParameter("seed is given twice: leave it out of params")
        return {**self.params, "seed": self.seed}


class FileStamp(NamedTuple):
    """A file as it was when a row was read, before the row's turn comes."""

    path: str
    state: tuple[int, ...]

    @classmethod
    def of(cls, image: Any) -> FileStamp | None:
        """Return the stamp of the file at a path; None for an image in memory and for a path without a regular file."""
        if not isinstance(image, (str, os.PathLike)):
            return None
        try:
            status = os.stat(image)  # noqa: PTH116 (as the path is given)
        except (OSError, ValueError):
            return None
        state = status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        return cls(os.fspath(image), state) if stat.S_ISREG(status.st_mode) else None

    def check(self) -> None:
        """Raise BadImage if the path has another file now, such as the next frame of a video."""
        now = FileStamp.of(self.path)
        if now is not None and now != self:
            raise BadImage(
                f"image {self.path!r} has changed since its row was read: write each image to a file of its own, or "
                "pass it in memory"
            )


class CheckedRow(NamedTuple):
    """Row whose operation and parameters are valid; its images are not opened."""

    number: int
    row: EditRow
    spec: OperationSpec
    params: Params | None
    """None for an edit of an inversion, whose file decides the defaults."""
    model: Hashable
    """Key of the model of the row before it is loaded."""
    request: Request | None = None
    """The row with its images, if they are open already."""
    stamps: tuple[FileStamp, ...] = ()
    """Files of the images as they were when the row was read."""

    @classmethod
    def check(cls, registry: Registry, number: int, given: Any) -> CheckedRow:
        """Check a row and its parameters; raises an EditkitError if anything in them is wrong."""
        if isinstance(given, CheckedRow):
            return given
        row = EditRow.of(given)
        if not isinstance(row.operation, str):
            raise InvalidParameter(f"operation={shorten(row.operation)} is not allowed: give the name of an operation")
        if not isinstance(row.params, Mapping):
            raise InvalidParameter(f"params={shorten(row.params)} is not allowed: give a mapping of names to values")
        MODEL.check("model", row.model)
        spec: OperationSpec = registry.spec("operations", row.operation)
        recorded = spec.takes == "inversion" or (spec.edits_inversion and is_inversion(row.image))
        params = None if recorded else validate_params(registry, spec, row.values)
        stamps = tuple(stamp for stamp in map(FileStamp.of, _images(spec, row)) if stamp)
        return cls(number, row, spec, params, _identify_model(registry, row), stamps=stamps)

    def open(self, registry: Registry) -> Request:
        """Open the images of the row; raises an EditkitError if one is wrong, or another than when the row was read."""
        if self.request is not None:
            return self.request
        for stamp in self.stamps:
            stamp.check()
        if self.params is None:
            return prepare(registry, self.spec.name, self.row.image, self.row.values)
        return open_request(registry, self.spec, self.params, self.row.image)

    def with_images(self, registry: Registry) -> Self:
        """Return the row with its images open if they are in memory, where the caller may change them later."""
        return self._replace(request=self.open(registry)) if self.holds_images else self

    @property
    def kind(self) -> Hashable:
        """Key of rows whose edits request the same calls at the same time, as far as their parameters show it.

        Texts and seeds do not matter for it, numbers and registered names do.
        """
        params = self.params
        settings = () if params is None else tuple((name, repr(getattr(params, name))) for name in _settings(params))
        return self.model, self.spec.name, settings

    @property
    def holds_images(self) -> bool:
        """Whether the row has images in memory in place of their paths."""
        return any(not isinstance(one, (str, os.PathLike)) for one in _images(self.spec, self.row))


def _images(spec: OperationSpec, row: EditRow) -> list[Any]:
    """Return the images that a row gives, or their paths."""
    given = [row.image, *(row.params.get(name) for name in image_fields(spec.params))]
    one_each = [one for value in given for one in (value if isinstance(value, (list, tuple)) else [value])]
    return [one for one in one_each if one is not None]


def _identify_model(registry: Registry, row: EditRow) -> Hashable:
    if row.model is None:
        return default_model(registry, row.operation)
    return os.fspath(row.model) if isinstance(row.model, (str, os.PathLike)) else id(row.model)


def _settings(params: Params) -> list[str]:
    """Return the parameters that may decide which calls an edit requests: all but images, texts and the seed."""
    images = image_fields(type(params))
    return [
        name
        for name, field in type(params).model_fields.items()
        if name not in images
        and name != "seed"
        and ("registry" in field_metadata(field) or not isinstance(getattr(params, name), str))
    ]
