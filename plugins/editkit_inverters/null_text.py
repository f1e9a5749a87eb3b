"""Null-text inversion: optimise the negative embedding of each step until the replay follows the inversion."""

from __future__ import annotations

import dataclasses as dc
import itertools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from editkit import (
    Condition,
    Guidance,
    InversionContext,
    InversionRecord,
    MissingCapability,
    Point,
    ddim_step,
    repeat_condition,
)

from .negative_prompt import NegativeInverter

_RATE_DECAY, _TOLERANCE_GROWTH = 0.5, 100.0
"""Fraction by which the rate falls, and multiple by which the tolerance grows, from the start to the end of a path."""


@dc.dataclass(frozen=True)
class _GuidedStep:
    """Guided DDIM step as a function of the negative text (S, L, D); the prompt's x0 estimate is computed once."""

    context: InversionContext
    guidance: Guidance
    x: Tensor
    p: Point
    q: Point
    empty: Condition
    prompt_x0: Tensor

    def __call__(self, text: Tensor) -> Tensor:
        negative_x0 = self.context.network(self.x, self.p, {**self.empty, "text": text.to(self.empty["text"].dtype)})
        x0 = self.guidance.combine((negative_x0, self.prompt_x0), self.guidance.weights, self.x, self.p)
        return ddim_step(self.x, x0, self.p, self.q)


class _FittedText(NamedTuple):
    """A negative text and the latents after a step with it; rows on the first axis."""

    text: Tensor
    after: Tensor
    loss: Tensor
    """Mean squared error of ``after``, (S,)."""


class NullText(NegativeInverter):
    """Fit the empty prompt's embedding at every step, so that guided steps follow the record (arXiv 2211.09794).

    The procedure is the paper's algorithm 1 with the constants of the authors' code. Unlike there, the rate falls and
    the tolerance grows with the fraction of the path, not with the index of a step out of 50, and each step keeps its
    best candidate, not its last.
    """

    def __init__(self, inner: int, rate: float, tolerance: float) -> None:
        self.inner, self.rate, self.tolerance = inner, rate, tolerance

    def compute_extras(
        self, context: InversionContext, record: InversionRecord, condition: Condition
    ) -> Mapping[str, Tensor]:
        if context.guidance_scale == 1.0:
            return {}
        empty = repeat_condition(context.embed(""), record.trajectory.shape[1])
        if "text" not in empty:
            raise MissingCapability(
                f"null-text fits a text embedding; the model {context.model.name!r} has only {', '.join(empty)}: "
                "choose another inverter"
            )
        texts = list(context.track(self.fit_texts(context, record, condition, empty), len(record.path) - 1, "fitting"))
        return {**{name: tensor[:, None] for name, tensor in empty.items()}, "text": torch.stack(texts, 1)}

    def fit_texts(
        self, context: InversionContext, record: InversionRecord, condition: Condition, empty: Condition
    ) -> Iterator[Tensor]:
        """Yield the text (S, L, D) of each step, which starts at the latents that the earlier texts lead to."""
        guidance = context.guided(condition, len(empty["text"]), record.path)
        x = record.trajectory[0]
        text = empty["text"].to(x.dtype)
        for index, (p, q) in enumerate(itertools.pairwise(record.path)):
            if guidance.active_at(p):
                step = _GuidedStep(context, guidance, x, p, q, empty, context.network(x, p, condition))
                text, x, _ = self.fit_text(text, step, record.trajectory[index + 1], index / (len(record.path) - 1))
            else:
                x = ddim_step(x, guidance(x, p), p, q)
            yield text

    def fit_text(self, text: Tensor, step: _GuidedStep, target: Tensor, progress: float) -> _FittedText:
        """Optimise ``text`` until the step ends at ``target``; ``progress`` is the fraction of the path before it."""
        tolerance = self.tolerance * (1 + _TOLERANCE_GROWTH * progress)
        text = text.clone().requires_grad_()
        adam = torch.optim.Adam([text], lr=self.rate * (1 - _RATE_DECAY * progress))
        best, size = None, target[0].numel()
        for left in reversed(range(self.inner + 1)):
            with torch.set_grad_enabled(left > 0):
                after = step(text)
                errors = (after - target).to(text.dtype).square().flatten(1).sum(1)
                total = errors.sum()
            candidate = _FittedText(text.detach().clone(), after.detach(), errors.detach() / size)
            best = candidate if best is None else _better_rows(candidate, best, tolerance)
            if left == 0 or bool((best.loss <= tolerance).all()):
                break
            # Gradient of the sum, divided afterwards: in half precision the gradient of a mean would underflow.
            (gradient,) = torch.autograd.grad(total, text)
            text.grad = gradient / size
            adam.step()
        assert best is not None
        return best


def _better_rows(candidate: _FittedText, best: _FittedText, tolerance: float) -> _FittedText:
    """Choose the better text of each row; a converged row stays unchanged, whatever the other rows need."""
    improved = (candidate.loss < best.loss) & (best.loss > tolerance)

    def choose(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(improved.view(-1, *(1,) * (new.ndim - 1)), new, old)

    return _FittedText(*map(choose, candidate, best))
