"""Parts of a pipeline with some of their attributes replaced."""

from __future__ import annotations

from typing import Any


class StandIn:
    """A part of a pipeline with other attributes in place of some of its own; it is an instance of the part's class."""

    def __init__(self, part: Any, **replaced: Any) -> None:
        self.__dict__.update(replaced, part=part)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.part, name)

    @property
    def __class__(self) -> type:
        return type(self.part)

    @__class__.setter
    def __class__(self, kind: type) -> None:
        raise TypeError(f"the class of a stand-in is that of its part, not {kind.__name__}")
