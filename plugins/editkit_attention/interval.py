"""Steps of a path in which a control acts."""

from __future__ import annotations

from editkit import SamplingPath, Session, no_step_between


def acts_in_step(index: int, steps: int, start: float, end: float) -> bool:
    """Return whether step ``index`` of ``steps`` begins between two shares of the path, the second one excluded."""
    return start * steps <= index < end * steps


def warn_if_idle(session: Session, control: str, path: SamplingPath, start: float, end: float) -> None:
    """Warn if a control acts in no step of a path."""
    steps = len(path) - 1
    if not any(acts_in_step(index, steps, start, end) for index in range(steps)):
        session.usage.warn(no_step_between(control, path, start, end))
