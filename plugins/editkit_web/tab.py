"""State of one browser tab, which outlives a reload of the page."""

from __future__ import annotations

import dataclasses as dc
from typing import Any

from .edits import Entry, Source
from .jobs import Job
from .store import Store
from .strokes import Drawing

_MOST_ENTRIES = 60


@dc.dataclass
class Tab:
    """Image, mask, form and history of a tab."""

    operation: str = "img2img"
    model: str | None = None
    suffix: str = ".png"
    source: Source | None = None
    entries: dict[str, dict[str, Any]] = dc.field(default_factory=dict)
    """Entries of the form by operation."""
    drawings: list[Drawing] = dc.field(default_factory=lambda: [Drawing()])
    """The mask at hand, and those before it, for undoing."""
    undone: list[Drawing] = dc.field(default_factory=list)
    """Masks that were undone, until another stroke is drawn."""
    history: list[Entry] = dc.field(default_factory=list)
    shown: Entry | None = None
    """Entry of the history that is in view."""
    job: Job | None = None
    is_dark: bool | None = None
    """Whether the page is dark; None as the system is."""
    page: object = None
    """Page that shows this state: after a reload the new one, while the server still has the one before."""
    points: list[tuple[int, int, bool]] = dc.field(default_factory=list)
    """Clicks for a segmenter: column, row, and whether it is outside of the part."""

    @property
    def drawing(self) -> Drawing:
        """The mask at hand."""
        return self.drawings[-1]

    @property
    def is_busy(self) -> bool:
        """Whether a job waits or runs."""
        return self.job is not None and not self.job.is_over

    def open(self, source: Source) -> None:
        """Take another image, without a mask."""
        self.source, self.drawings, self.undone, self.points = source, [Drawing()], [], []

    def draw(self, drawing: Drawing) -> None:
        """Take another mask, which can be undone."""
        self.drawings, self.undone = [*self.drawings[-200:], drawing], []

    def undo(self) -> None:
        """Go back to the mask before; clicks of a segmenter begin anew."""
        self.points = []
        if len(self.drawings) > 1:
            self.undone.append(self.drawings.pop())

    def redo(self) -> None:
        """Take back the last undoing."""
        if self.undone:
            self.drawings.append(self.undone.pop())

    def add(self, entry: Entry, store: Store) -> None:
        """Append an entry to the history and show it; the oldest is forgotten if there are too many."""
        self.history.append(entry)
        self.shown = entry
        while len(self.history) > _MOST_ENTRIES:
            store.forget(*self.history.pop(0).addresses)

    def restore(self, entry: Entry) -> None:
        """Refill image, mask and form from an entry of the history."""
        call = entry.call
        self.operation, self.model, self.suffix, self.source = call.operation, call.model, call.suffix, call.source
        self.entries[call.operation] = dict(call.entries)
        self.drawings, self.undone, self.points, self.shown = [call.drawing], [], [], entry
