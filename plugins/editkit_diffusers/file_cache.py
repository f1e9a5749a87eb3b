"""Cache of networks that edits attach by their files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from editkit import file_stamps

T = TypeVar("T")

_SIZE = 2


class FileCache(Generic[T]):
    """Cache of the networks read last from files, so that the next edit does not read them again."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], tuple[Any, T]] = {}
        """Stamps of the files and the network by place and options, the last used at the end."""
        self._lock = threading.Lock()

    def get(self, place: Path, options: tuple[Any, ...], load: Callable[[], T]) -> T:
        """Return the network in a folder or file for ``options``, read by ``load`` if it is new or its files changed.

        One of earlier files is released first, so that memory need not hold both.
        """
        key, stamps = (place.resolve(), *options), file_stamps(place)
        with self._lock:
            stamped, network = self._kept.pop(key, (None, None))
            if network is None or stamped != stamps:
                network = None
                network = load()
            self._kept[key] = stamps, network
            for oldest in list(self._kept)[:-_SIZE]:
                del self._kept[oldest]
            return network
