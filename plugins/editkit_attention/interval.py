"""Warnings of a control that acts in no step of a path, or by shares of 0."""

from __future__ import annotations

from editkit import SamplingPath, Session, interval, no_step_between


def warn_if_idle(session: Session, control: str, path: SamplingPath, start: float, end: float) -> None:
    """Warn if a control acts in no step of a path."""
    low, high = interval(path, start, end)
    if low > high:
        session.usage.warn(no_step_between(control, path, start, end))


def warn_if_zero(session: Session, control: str, **shares: float) -> None:
    """Warn if all values by which a control acts are 0."""
    if not any(shares.values()):
        verb = "is" if len(shares) == 1 else "are"
        session.usage.warn(f"{control} has no effect: {' and '.join(shares)} {verb} 0")
