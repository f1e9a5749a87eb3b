"""Caches of what is loaded from files: the last results of a function, and stamps that change with the files."""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from .files.paths import is_file, is_folder

T = TypeVar("T")

Stamps: TypeAlias = tuple[tuple[str, int, int, int], ...]
"""Path, times of change and size of each of several files."""

_OF_A_MODEL = ("config.json", "model_index.json")
"""Files by which a folder is one of a model."""
_BESIDE_A_FILE = (".yaml", ".yml")
"""Suffixes of the settings of a file of weights, beside it."""


class FileCache(Generic[T]):
    """The last ``maxsize`` results of loading files; of simultaneous calls with one key one loads."""

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._results: dict[Hashable, tuple[Hashable, T]] = {}
        """Stamps and results by key, the last used at the end."""
        self._locks: weakref.WeakValueDictionary[Hashable, threading.RLock] = weakref.WeakValueDictionary()
        self._guard = threading.Lock()

    def get(self, key: Hashable, stamps: Hashable, load: Callable[[], T]) -> T:
        """Return the result that ``key`` has, or that of ``load`` if there is none or ``stamps`` are others.

        ``stamps`` change with the files, see :func:`file_stamps`. A result of other stamps is forgotten before the next
        one is loaded, so that memory need not hold both.
        """
        with self._guard:
            lock = self._locks.get(key)
            if lock is None:
                lock = self._locks[key] = threading.RLock()
        with lock:
            with self._guard:
                kept = self._results.pop(key, None)
                if kept is not None and kept[0] == stamps:
                    self._results[key] = kept
                    return kept[1]
            del kept
            result = load()
            with self._guard:
                self._results[key] = stamps, result
                for oldest in list(self._results)[: -self._maxsize]:
                    del self._results[oldest]
            return result

    def clear(self) -> None:
        """Forget all results."""
        with self._guard:
            self._results.clear()


class LoadOnce(Generic[T]):
    """Function that keeps its last ``maxsize`` results in a :class:`FileCache`, by its arguments.

    ``stamps`` is a function from the same arguments to a value that changes with the files they name.
    """

    def __init__(self, load: Callable[..., T], maxsize: int, stamps: Callable[..., Hashable] | None) -> None:
        functools.update_wrapper(self, load)
        self._load, self._stamps = load, stamps or (lambda *arguments: None)
        self._cache = FileCache[T](maxsize)
        self.cache_clear = self._cache.clear

    def __call__(self, *arguments: Hashable) -> T:
        return self._cache.get(arguments, self._stamps(*arguments), lambda: self._load(*arguments))


def load_once(maxsize: int, stamps: Callable[..., Hashable] | None = None) -> Callable[[Callable[..., T]], LoadOnce[T]]:
    """Return a decorator that makes a function a :class:`LoadOnce`, such as ``@load_once(1, stamps=file_stamps)``."""
    return lambda load: LoadOnce(load, maxsize, stamps)


def file_stamps(*places: str | os.PathLike[str]) -> Stamps:
    """Return paths, times and sizes of the files of models, parts and adapters, for caches of loaded ones.

    They change when a file does, and when a path comes to mean another file, as by a link or another current folder.
    The files are those in a folder and in its folders; beside a file of weights they are its settings, and those of
    the model's folder that it is in. A path at which nothing is, such as a hub id, adds nothing.
    """
    # The method of Path raises for unknown users, and an empty name is not that of the current folder.
    paths = [Path(os.path.expanduser(place)) for place in places if os.fspath(place)]  # noqa: PTH111
    stamps = []
    for path in paths:
        files = sorted({file for file in _files_of(path) if is_file(file)})
        stats = [(str(file.resolve()), file.stat()) for file in files]
        stamps += [(name, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size) for name, stat in stats]
    return tuple(stamps)


def _files_of(path: Path) -> Iterator[Path]:
    """Yield paths at which the files of a model, a part or an adapter may be."""
    if is_folder(path):
        yield from (file for pattern in ("*", "*/*") for file in path.glob(pattern))
    elif is_file(path):
        yield from (path, *map(path.with_suffix, _BESIDE_A_FILE), path.with_name("adapter_config.json"))
        for folder in (path.with_suffix(""), path.parent):
            # Other folders hold any files, such as those that edits write.
            if any(is_file(folder / name) for name in _OF_A_MODEL):
                yield from _files_of(folder)
