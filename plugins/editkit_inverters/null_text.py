"""The inverter that learns, step by step, what guidance must lead away from so that the picture comes back."""

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
"""The share of the rate that is lost by the end of a path, and how many tolerances are added to the first by then."""


@dc.dataclass(frozen=True)
class _GuidedStep:
    """A guided step of DDIM as a function of the text (S, L, D) it leads away from; the prompt was asked once."""

    context: InversionContext
    guidance: Guidance
    x: Tensor
    p: Point
    q: Point
    empty: Condition
    prompted: Tensor

    def __call__(self, text: Tensor) -> Tensor:
        away = self.context.network(self.x, self.p, {**self.empty, "text": text.to(self.x.dtype)})
        x0 = self.guidance.combine(self.guidance.weights, (away, self.prompted))
        return ddim_step(self.x, x0, self.p, self.q)


class _FittedText(NamedTuple):
    """A text and where a step with it leads; rows on the first axis."""

    text: Tensor
    after: Tensor
    loss: Tensor
    """Mean squared distance of ``after`` from where it should be, (S,)."""


class NullText(NegativeInverter):
    """Fits the empty prompt's embedding at every step, so that guided steps follow the climb (arXiv 2211.09794).

    The procedure is algorithm 1 there and the figures are those of the authors' code, where the rate falls and the
    tolerance grows with the number of a step out of 50; here they do so with the share of the path. What is kept of a
    step is the best that was tried.
    """

    def __init__(self, inner: int, rate: float, tolerance: float) -> None:
        self.inner, self.rate, self.tolerance = inner, rate, tolerance

    def compute_extras(
        self, context: InversionContext, climb: InversionRecord, condition: Condition
    ) -> Mapping[str, Tensor]:
        if context.guidance_scale == 1.0:
            return {}
        empty = repeat_condition(context.embed(""), climb.trajectory.shape[1])
        if "text" not in empty:
            raise MissingCapability(
                f"null-text fits an embedding of text; the model {context.model.name!r} has {', '.join(empty)} alone: "
                "take another inverter"
            )
        texts = list(context.track(self.texts(context, climb, condition, empty), len(climb.path) - 1, "fitting"))
        return {**{name: tensor[:, None] for name, tensor in empty.items()}, "text": torch.stack(texts, 1)}

    def texts(
        self, context: InversionContext, climb: InversionRecord, condition: Condition, empty: Condition
    ) -> Iterator[Tensor]:
        """Yield the text (S, L, D) of each step, on the way that those before it lead."""
        guidance = context.guided(condition, len(empty["text"]), climb.path)
        x = climb.trajectory[0]
        text = empty["text"].to(torch.promote_types(x.dtype, torch.float32))
        for index, (p, q) in enumerate(itertools.pairwise(climb.path)):
            if guidance.active_at(p):
                step = _GuidedStep(context, guidance, x, p, q, empty, context.network(x, p, condition))
                text, x, _ = self.fitted(text, step, climb.trajectory[index + 1], index / (len(climb.path) - 1))
            else:
                x = ddim_step(x, guidance(x, p), p, q)
            yield text

    def fitted(self, text: Tensor, step: _GuidedStep, wanted: Tensor, share: float) -> _FittedText:
        """Begin from ``text`` and look for one with which the step meets ``wanted``; ``share`` of the path is done."""
        enough = self.tolerance * (1 + _TOLERANCE_GROWTH * share)
        text = text.clone().requires_grad_()
        adam = torch.optim.Adam([text], lr=self.rate * (1 - _RATE_DECAY * share))
        best, size = None, wanted[0].numel()
        for left in reversed(range(self.inner + 1)):
            with torch.set_grad_enabled(left > 0):
                after = step(text)
                missed = (after - wanted).to(text.dtype).square().flatten(1).sum(1)
                total = missed.sum()
            tried = _FittedText(text.detach().clone(), after.detach(), missed.detach() / size)
            best = tried if best is None else _better(tried, best, enough)
            if left == 0 or bool((best.loss <= enough).all()):
                break
            # That of the sum, divided afterwards, since in half precision the gradient of a mean would vanish.
            (gradient,) = torch.autograd.grad(total, text)
            text.grad = gradient / size
            adam.step()
        assert best is not None
        return best


def _better(tried: _FittedText, best: _FittedText, enough: float) -> _FittedText:
    """The better one of each row; a row that is done stays as it is, whatever the batch around it still needs."""
    taken = (tried.loss < best.loss) & (best.loss > enough)

    def chosen(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(taken.view(-1, *(1,) * (new.ndim - 1)), new, old)

    return _FittedText(*map(chosen, tried, best))
