"""Exception tree of editkit.

EditkitError
    UnknownName          no operation, inverter, sampler, model, ... has this name
    DuplicateName        two plugins registered one name
    InvalidParameter     a value that is not allowed, or a parameter that does not exist
    BadImage             a file or array that cannot be used as an image
    BadFile              a file of another kind that cannot be read (an inversion, a recipe, a pipeline)
    MissingCapability    an operation needs a capability that the model does not provide
    WeightsUnavailable   a model that is missing, incomplete, or not safe to load
    PluginFailure        a plugin that violated its contract
    Cancelled            the user stopped the work

``exit_status`` is the exit status of the command line: 2 for bad input, 1 for a failure, 130 for an interrupt, as of
shells.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EditkitError(Exception):
    """Base class of all errors that editkit raises on purpose; the message is one line for the user."""

    exit_status = 1


class UnknownName(EditkitError):
    """No operation, inverter, sampler, annotator or model has this name."""

    exit_status = 2


class DuplicateName(EditkitError):
    """Two plugins registered the same name."""


class InvalidParameter(EditkitError):
    """A parameter has a value that is not allowed, or does not exist."""

    exit_status = 2


class BadImage(EditkitError):
    """A file, an array or an object cannot be used as an image."""

    exit_status = 2


class BadFile(EditkitError):
    """A file is not of the required kind: an inversion, an image with a recipe, a pipeline."""

    exit_status = 2


class MissingCapability(EditkitError):
    """An operation needs a capability that the model does not provide."""

    exit_status = 2


class WeightsUnavailable(EditkitError):
    """A model is missing, incomplete, or not safe to load."""

    exit_status = 2


class PluginFailure(EditkitError):
    """A plugin failed, or returned a value that its contract does not allow."""


class Cancelled(EditkitError):
    """The user stopped the work; nothing was written."""

    exit_status = 130


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the closest known name, or all known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(known)}" if known else "none is known"
