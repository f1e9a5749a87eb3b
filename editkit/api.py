"""Edits step by step."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from .editing.apply import apply
from .editing.steps.run import Run
from .errors import InvalidParameter

P = ParamSpec("P")
T = TypeVar("T")


@overload
def start(edit: str, *args: Any, **kwargs: Any) -> Run[Any]: ...
@overload
def start(edit: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Run[T]: ...
def start(edit: str | Callable[..., Any], *args: Any, **kwargs: Any) -> Run[Any]:
    """Return a :class:`Run` of an edit: iterate it to look at the steps, cancel it, and take its ``result``.

    ``edit`` is an operation's name, with the other arguments of :func:`apply`, or any function that edits, with its own
    arguments: ``apply_all``, ``replay``, ``invert``, a :class:`Pipeline`, or a function of the caller's. The steps are
    those of all edits that it makes in its thread, one after another, as a progress function gets them::

        run = editkit.start("img2img", image, prompt="a green apple")
        for step in run:
            print(step.label, step.index + 1, step.total)
            step.preview()
        run.result.image

    Raises InvalidParameter if ``edit`` is neither; an error of the edit, such as of a wrong argument, is raised by the
    iteration or by ``result``.
    """
    if not callable(edit) and not isinstance(edit, str):
        raise InvalidParameter(
            f"edit is {type(edit).__name__}: give the name of an operation, or a function that edits"
        )
    function = functools.partial(apply, edit) if isinstance(edit, str) else edit
    return Run(functools.partial(function, *args, **kwargs))
