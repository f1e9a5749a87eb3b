"""Several edits in lock step: what they ask of one model at the same time is put to it in one call."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from ..diffusion.denoiser import Condition, stack_conditions
from ..diffusion.points import Point, PointBatch
from ..errors import Cancelled
from .backend import Backend

ROWS = 64
"""Rows of latents or pictures that are put together at most; who asks about more is asked alone."""


Outcome = TypeVar("Outcome")


class NetworkRequest(NamedTuple):
    """What an edit asks of its model: ``denoise`` has a point and a condition, ``encode`` and ``decode`` have not."""

    kind: str
    x: Tensor
    point: Point | PointBatch | None = None
    condition: Condition | None = None

    @property
    def signature(self) -> tuple[Any, ...]:
        """What questions must have in common to be put together."""
        told = [(name, one.shape[1:], one.dtype) for name, one in sorted((self.condition or {}).items())]
        return (self.kind, self.x.shape[1:], self.x.dtype, *told)

    @property
    def points(self) -> tuple[Point, ...]:
        """The point of each row."""
        assert self.point is not None
        return self.point.rows(len(self.x))

    def put(self, model: Backend) -> Tensor:
        if self.kind == "denoise":
            assert self.point is not None and self.condition is not None
            return model.denoise(self.x, self.point, self.condition)
        return model.encode(self.x) if self.kind == "encode" else model.decode(self.x)


Submit = Callable[[NetworkRequest], Tensor]


class BatchedBackend:
    """A model as one of several edits sees it: what can be put together is asked, all else is the model's own.

    What is asked where gradients are followed, or while something is attached to the model, goes to it at once: no
    other edit moves meanwhile.
    """

    def __init__(self, model: Backend, ask: Submit) -> None:
        self.model, self.ask = model, ask
        self.attached = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def encode(self, pixels: Tensor) -> Tensor:
        return self.answer(NetworkRequest("encode", pixels))

    def decode(self, latents: Tensor) -> Tensor:
        return self.answer(NetworkRequest("decode", latents))

    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        return self.answer(NetworkRequest("denoise", x, point, condition))

    def answer(self, question: NetworkRequest) -> Tensor:
        return question.put(self.model) if self.attached or torch.is_grad_enabled() else self.ask(question)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        self.attached += 1
        try:
            yield
        finally:
            self.attached -= 1


def exclusive(model: Backend) -> AbstractContextManager[None]:
    """While this lasts nothing is asked together with other edits: something is attached to the model."""
    return model.alone() if isinstance(model, BatchedBackend) else contextlib.nullcontext()


def unwrap(model: Backend) -> Backend:
    """The model itself, where several edits share it."""
    return model.model if isinstance(model, BatchedBackend) else model


class EditThread(Generic[Outcome]):
    """An edit on a thread of its own, which moves only while :meth:`move` waits for it."""

    def __init__(self, edit: Callable[[Submit], Outcome]) -> None:
        self.edit = edit
        self.answers: queue.SimpleQueue[Tensor | BaseException | None] = queue.SimpleQueue()
        self.requests: queue.SimpleQueue[NetworkRequest | None] = queue.SimpleQueue()
        self.outcome: Outcome | BaseException | None = None
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        try:
            self.wait()
            self.outcome = self.edit(self.ask)
        except BaseException as error:
            self.outcome = error
        self.requests.put(None)

    def ask(self, question: NetworkRequest) -> Tensor:
        self.requests.put(question)
        return cast(Tensor, self.wait())

    def wait(self) -> Tensor | None:
        answer = self.answers.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def move(self, answer: Tensor | BaseException | None) -> NetworkRequest | None:
        """Move on with the answer to the last question; returns the next one, or None at the end."""
        if not self.thread.ident:
            self.thread.start()
        self.answers.put(answer)
        return self.requests.get()


def run_in_lock_step(model: Backend, edits: Sequence[Callable[[Backend], Outcome]]) -> Generator[tuple[int, Any]]:
    """Yield what edits of one model came to, each with its number, as they end: an outcome, or the error it raised.

    One edit moves at a time, until it asks something; what all have asked is then put to the model, in one call where
    it has one form. Where the caller goes away the other edits are stopped.
    """
    moving = {number: EditThread(sharing(edit, model)) for number, edit in enumerate(edits)}
    answers: dict[int, Tensor | BaseException | None] = dict.fromkeys(moving)
    try:
        while moving:
            asked = {}
            for number, edit in list(moving.items()):
                question = edit.move(answers.get(number))
                if question is not None:
                    asked[number] = question
                else:
                    del moving[number]
                    yield number, edit.outcome
            answers = evaluate_all(model, asked)
    finally:
        for edit in moving.values():
            cancel(edit)


def sharing(edit: Callable[[Backend], Outcome], model: Backend) -> Callable[[Submit], Outcome]:
    return lambda ask: edit(cast(Backend, BatchedBackend(model, ask)))


def cancel(edit: EditThread[Any]) -> None:
    """End an edit whatever it asks, and wait until all it holds is let go."""
    while edit.move(Cancelled("cancelled")) is not None:
        pass


@torch.no_grad()
def evaluate_all(model: Backend, asked: dict[int, NetworkRequest]) -> dict[int, Tensor | BaseException | None]:
    """The answers to what edits ask, or the errors that the model raised."""
    answers: dict[int, Tensor | BaseException | None] = {}
    for numbers in group_compatible(asked):
        try:
            rows = concatenate([asked[number] for number in numbers]).put(model)
            parts = torch.split(rows, [len(asked[number].x) for number in numbers])
            answers.update(zip(numbers, parts, strict=True))
        except Exception as error:
            answers.update(dict.fromkeys(numbers, error))
    return answers


def group_compatible(asked: dict[int, NetworkRequest]) -> list[list[int]]:
    """The numbers of questions that can be put together, in groups of at most :data:`ROWS` rows where several are."""
    groups: list[list[int]] = []
    latest: dict[tuple[Any, ...], list[int]] = {}
    for number, question in asked.items():
        group = latest.get(question.signature, [])
        if not group or sum(len(asked[other].x) for other in group) + len(question.x) > ROWS:
            latest[question.signature] = group = []
            groups.append(group)
        group.append(number)
    return groups


def concatenate(questions: Sequence[NetworkRequest]) -> NetworkRequest:
    """Several questions of one form as one; where all rows have one point, that is the point of all."""
    first = questions[0]
    if len(questions) == 1:
        return first
    x = torch.cat([question.x for question in questions])
    if first.condition is None:
        return NetworkRequest(first.kind, x)
    points = tuple(point for question in questions for point in question.points)
    point = points[0] if len(set(points)) == 1 else PointBatch(points)
    return NetworkRequest(first.kind, x, point, stack_conditions([question.condition or {} for question in questions]))
