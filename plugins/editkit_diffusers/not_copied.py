"""Loaded models, of which there are no copies."""

from __future__ import annotations

from typing import NoReturn, SupportsIndex

from editkit import InvalidParameter


class NotCopied:
    """Base of models, which hold locks and caches beside their weights and so cannot be pickled or copied."""

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise InvalidParameter(
            "a loaded model cannot be pickled or copied: give its name or folder to the other process, which loads it "
            "there, or load it a second time"
        )
