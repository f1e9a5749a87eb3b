"""One edit of the page, from the entries of its form to a result in the history."""

from __future__ import annotations

import dataclasses as dc
import functools
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

import editkit
from editkit import InvalidParameter, open_image

from .folder import ImageFolder
from .form import MASK
from .jobs import Job
from .store import ROUTE, Store
from .strokes import Drawing, Levels

if TYPE_CHECKING:
    from editkit import Result


@dc.dataclass(frozen=True)
class Source:
    """An image to edit: its file as it was uploaded or found, and a view of it."""

    path: Path
    name: str
    size: tuple[int, int]
    view: str
    """Address of the view."""

    @classmethod
    def open(cls, path: Path, store: Store) -> Source:
        """Open an image file; raises BadImage."""
        image = open_image(path)
        return cls(path, path.name, image.size, store.show(image))

    def read_mask(self, data: bytes, name: str) -> tuple[Levels, tuple[str, ...]]:
        """Return the mask in the bytes of a file, as an edit reads it, and warnings on how it was read."""
        shares, notes = editkit.read_mask(data, self.size, argument=name, image=open_image(self.path))
        return np.rint(shares * 255).astype(np.uint8), notes


@dc.dataclass(frozen=True)
class Call:
    """Everything that an edit of the page depends on."""

    operation: str
    model: str | None
    source: Source | None
    drawing: Drawing
    entries: Mapping[str, Any]
    """Entries of the form, which an entry of the history puts back."""
    values: Mapping[str, Any]
    """Parameters of the operation that have no default; images as paths."""
    suffix: str = ".png"
    """File suffix of the result."""

    @property
    def has_mask(self) -> bool:
        """Whether a mask goes along."""
        return self.source is not None and not self.drawing.is_empty

    def mask(self) -> str | Image.Image:
        """Return the mask as an operation takes it: its strokes, or an image."""
        assert self.source is not None
        return self.drawing.argument(self.source.size)

    def mask_image(self) -> Image.Image:
        """Return the mask in the size of the source, mode L."""
        assert self.source is not None
        return Image.fromarray(self.drawing.levels(self.source.size))


@dc.dataclass(frozen=True)
class Entry:
    """An edit of the history: the call, the file of the result as it is downloaded, and its report."""

    call: Call
    """The call with the seed that was used."""
    file: Path
    address: str
    """Address of the file."""
    view: str
    thumbnail: str
    report: Mapping[str, Any]
    found_mask: Levels | None = None
    """Mask that the edit found by itself."""

    @property
    def addresses(self) -> tuple[str, str, str]:
        """Addresses of all files of this entry."""
        return self.address, self.view, self.thumbnail

    @classmethod
    def of(cls, call: Call, result: Result, store: Store) -> Entry:
        """Save a result as the command line does, and describe it."""
        stem = "image" if call.source is None else Path(call.source.name).stem
        file = store.new_path(f"{stem}-{call.operation}{call.suffix}")
        result.save(file)
        report = result.report.as_dict() | {"output": file.name}
        seed = {} if report["seed"] is None else {"seed": report["seed"]}
        used = dc.replace(call, values={**call.values, **seed}, entries={**call.entries, **seed})
        found = None if result.mask is None or "auto_mask" not in call.values else np.asarray(result.mask)
        views = store.publish(file), store.show(result.image), store.show_small(result.image)
        return cls(used, file, *views, report, found)


def resolve_file(name: str, folder: ImageFolder, store: Store) -> Path:
    """Return the file of an image parameter: one that was uploaded, by its address, or one in the folder."""
    if name.startswith(ROUTE):
        path = store.find(name.rpartition("/")[2])
        if path is None:
            raise InvalidParameter("the uploaded file is gone: upload it again")
        return path
    return folder.resolve(name)


def edit_work(call: Call, seeds: Sequence[int | None], store: Store, dtype: str | None) -> Callable[..., None]:
    """Return the work of a job that edits with each seed and gives an entry of the history for each."""
    source = None if call.source is None else call.source.path

    def work(job: Job, device: str | None) -> None:
        values = dict(call.values) | ({MASK: call.mask()} if call.has_mask else {})
        for seed in seeds:
            job.check()
            own = values if seed is None else {**values, "seed": seed}
            edit = functools.partial(
                editkit.apply, call.operation, source, model=call.model, device=device, dtype=dtype
            )
            job.results.append(Entry.of(call, job.follow(functools.partial(edit, **own)), store))

    return work


def variation_seeds(values: Mapping[str, Any], count: int) -> list[int]:
    """Return seeds of variations: the given one and those after it, or a random one and those after it."""
    first = int(values.get("seed", secrets.randbelow(2**31)))
    return [first + number for number in range(count)]
