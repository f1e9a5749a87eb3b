"""Editing by a model of one step (ChordEdit, Lu et al., arXiv 2602.19083).

With ``D(t)`` for the x0 estimate under the target prompt minus that under the source prompt, both of the image in one
noise at the level t, a step moves the clean latents by the chord::

    x += scale (delta D(t) + t D(t - delta)) / (t + delta)

A last evaluation under the target prompt, in the same noise at a low level, takes the place of the result. The source
is evaluated there too, under its own prompt, so that equal prompts change nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from editkit import (
    CLEAN,
    ChangeMap,
    Denoiser,
    Edit,
    Noise,
    Point,
    SamplingPath,
    Session,
    add_noise,
    repeat_condition,
    stack_conditions,
)

from . import ChordEditParams


def chord_edit(session: Session, params: ChordEditParams) -> Edit:
    """Move the image by chords from the level of ``level`` down, and refine it at that of ``refine``."""
    source, rows = session.latents, params.averages
    levels = np.linspace(params.level, params.refine, params.steps) if params.steps > 1 else [params.level]
    shares = [*map(float, levels), *([params.refine] if params.refine else [])]
    path = (*(_point(session, share) for share in shares), CLEAN)
    noises = torch.cat([session.noise() for _ in range(rows)])
    source_condition, target = (repeat_condition(session.embed(one), rows) for one in (params.source, params.target))
    both = stack_conditions((source_condition, target))
    mask = session.latent_mask
    edited = session.draw(
        source.repeat(2 * rows, 1, 1, 1),
        path,
        both,
        [] if mask is None else [_MaskedChord(mask, path, source, refines=params.refine > 0)],
        step=_Chord(session, params, shares, noises),
        inverted=True,
        sources=[*range(rows)] * 2,
    )
    return Edit(edited[rows : rows + 1], reconstructed=edited[:1] if params.refine else source)


def _point(session: Session, share: float) -> Point:
    """Return the point of the whole timestep next to a share of the training timesteps."""
    schedule = session.schedule
    return schedule.point(round(schedule.first + share * (schedule.last - schedule.first)))


class _Chord:
    """Step of the clean latents of K rows under the source prompt and K under the target prompt, which are equal.

    ``shares`` are the levels of the steps, the last of them that of the refinement, if there is one; ``noises`` is
    (K, C, h, w).
    """

    def __init__(self, session: Session, params: ChordEditParams, shares: list[float], noises: Tensor) -> None:
        self.session, self.params = session, params
        self.shares = iter(shares)
        self.noises = torch.cat([noises, noises])

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        share, delta = next(self.shares), self.params.delta
        if self.params.refine and q == CLEAN:
            source, _ = self.session.latents.repeat(len(x), 1, 1, 1).chunk(2)
            first = self.noises[:1]
            return denoise(add_noise(torch.cat([source, x[len(source) :]]), first, p), p)
        chord = self._difference(denoise, x, p)
        if delta:
            cleaner = self._difference(denoise, x, _point(self.session, max(share - delta, 0.0)))
            chord = (delta * chord + share * cleaner) / (share + delta)
        return x + self.params.scale * chord

    def _difference(self, denoise: Denoiser, x: Tensor, point: Point) -> Tensor:
        """Return the mean difference (C, h, w) of the estimates under both prompts at a point."""
        source, target = denoise(add_noise(x, self.noises, point), point).chunk(2)
        return (target - source).mean(0)


class _MaskedChord(ChangeMap):
    """Change map that scales the edit of the clean latents, ``source`` (1, C, h, w), since they follow no path."""

    def __init__(self, change: Tensor, path: SamplingPath, source: Tensor, *, refines: bool) -> None:
        super().__init__(change, path)
        self.clean, self.refines = source, refines

    def after_step(self, index: int, x: Tensor) -> Tensor:
        is_refined = self.refines and index == len(self.path) - 2
        source = x[: len(x) // 2].repeat(2, 1, 1, 1) if is_refined else self.clean
        # The source is taken as it is where nothing may change: a difference would round.
        return torch.where(self.change > 0, source + self.change * (x - source), source)
