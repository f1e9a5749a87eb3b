"""Warning of a control that acts in no step of a path."""

from __future__ import annotations

from editkit import SamplingPath, Session, interval, no_step_between


def warn_if_idle(session: Session, control: str, path: SamplingPath, start: float, end: float) -> None:
    """Warn if a control acts in no step of a path."""
    low, high = interval(path, start, end)
    if low > high:
        session.usage.warn(no_step_between(control, path, start, end))
