"""Building blocks of operations: invert, sample again, redraw, fill, reprompt."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from ..diffusion.denoiser import Condition, Conditioned, stack
from ..diffusion.paths import Path
from ..diffusion.points import add_noise
from ..inversion.cache_key import InversionInputs
from ..inversion.inversion import Inversion
from ..inversion.inverter import Inverter
from ..inversion.record import Climb, laid_out
from ..inversion.recorded_network import Known
from ..model.backend import Inpainter, full_name, require
from ..sampling.change_map import HeldToBranch
from ..sampling.controls import Control
from ..sampling.guidance import Guidance
from ..sampling.params import DrawingParams
from .outcome import Edit
from .session import Session, finite


def invert_latents(session: Session, inverter: Inverter, latents: Tensor, path: Path, condition: Condition) -> Climb:
    """Invert latents (S, C, h, w) up a path, which is given falling, as for sampling.

    The inversion is not guided, unless the inverter asks for it. The session's cache may hold the record already.
    Raises EditkitError if the network returns NaN or infinity.
    """

    def compute() -> Climb:
        return _invert_uncached(session, inverter, latents, path, condition)

    if session.cache is None:
        record = compute()
    else:
        inputs = InversionInputs(
            model=session.model,
            inverter=inverter,
            latents=latents,
            path=path,
            timesteps=tuple(float(session.schedule.timestep(point)) for point in path),
            canvas=session.canvas,
            pixels=session.sources,
            condition=condition,
            drawing=session.drawing.model_dump(mode="json", include=set(DrawingParams.model_fields) - {"seed"}),
        )
        record = session.cache.load_or_compute(inputs, session.random, session.tally, compute)
    return dc.replace(record, condition=condition)


def _invert_uncached(session: Session, inverter: Inverter, latents: Tensor, path: Path, condition: Condition) -> Climb:
    guidance = session.guided(condition, len(latents), path) if inverter.guided else None
    extras: dict[str, Tensor] = {}
    steps = inverter.climb(guidance or Conditioned(session.network, condition), latents, path[::-1], session.noise)
    rising = [latents, *session.watch(_collect_extras(steps, extras), len(path) - 1, "inverting")]
    record = Climb(laid_out(finite(torch.stack(rising[::-1]))), path, extras)
    extras = {**extras, **inverter.fit(session, record, condition)}
    return dc.replace(record, kept={name: laid_out(tensor) for name, tensor in extras.items()})


def _collect_extras(steps: Iterator[Tensor], extras: dict[str, Tensor]) -> Iterator[Tensor]:
    """Yield the steps of an inversion and put the return value of a generator into ``extras``."""
    generator = cast(Generator[Tensor, None, Mapping[str, Tensor] | None], steps)
    extras.update((yield from generator) or {})


def sample_from_inversion(
    session: Session,
    inverter: Inverter,
    record: Climb,
    x: Tensor,
    condition: Condition | Guidance,
    shares: Tensor,
    change: Tensor | None = None,
) -> Tensor:
    """Sample from ``x`` (B, C, h, w) with what an inversion recorded; the first S rows are its sources.

    ``shares`` (B, S) says how much of each source is in a row. ``change`` (1, 1, h, w) in [0, 1] is a change map that
    replaces the session's mask. Returns the clean latents (B, C, h, w).
    """
    shares = shares.to(x)
    step = inverter.stepper(record, shares)
    controls = list(inverter.controls(record, shares))
    change = session.change if change is None else change
    if change is not None:
        controls.append(HeldToBranch(change, record.path, shares))
    guidance = condition if isinstance(condition, Guidance) else session.guided(condition, len(x), record.path)
    # A control that changes the model also changes its estimates, and may need the source rows in the batch.
    if not session.drawing.attach and not any(control.changes_model for control in controls):
        guidance = _with_recorded_estimates(session, inverter, record, guidance, len(x))
    return session.draw(x, record.path, guidance, controls, step=step)


def _with_recorded_estimates(
    session: Session, inverter: Inverter, record: Climb, guidance: Guidance, rows: int
) -> Guidance:
    """Guidance that reuses the estimates recorded during inversion."""
    if record.condition is None:
        return guidance
    conditions = session.guided(record.condition, record.trajectory.shape[1], record.path).asked
    estimates = inverter.said(record, conditions)
    return dc.replace(guidance, network=Known(guidance.network, record, estimates, rows)) if estimates else guidance


def to_inversion(session: Session, record: Climb, method: str, prompt: str) -> Inversion:
    """Return the record of the session's one source as an :class:`Inversion`, to be replayed later."""
    return Inversion(
        record,
        source=session.pictures[0],
        method=method,
        prompt=prompt,
        model=full_name(session.model),
        identity=session.model.identity,
        params=session.params.model_dump(mode="json"),
    )


def redraw(
    session: Session,
    path: Path,
    condition: Condition | Guidance,
    controls: Sequence[Control] = (),
    *,
    blank: bool = False,
) -> Edit:
    """Sample the session's image again down ``path`` (Meng et al., arXiv 2108.01073).

    Sampling starts from the noised source, or from noise alone if ``blank``; in both cases what a mask protects is
    held to the source. A path of one point leaves the source as it is.
    """
    if len(path) == 1:
        return Edit(session.latents, reconstructed=session.latents)
    noise = session.noise()
    start = noise if blank else add_noise(session.latents, noise, path[0])
    return Edit(session.draw(start, path, condition, controls, noise=noise), reconstructed=session.latents)


def fill(session: Session, path: Path, prompt: str, *, blank: bool = False) -> Edit:
    """Sample the image again down ``path`` as :func:`redraw` does, with an inpainting model's own condition.

    An inpainting model is conditioned on the mask and the unmasked pixels too.
    """
    return redraw(session, path, {**session.embed(prompt), **_inpainting_condition(session)}, blank=blank)


def _inpainting_condition(session: Session) -> Condition:
    """Condition of an inpainting model beside the prompt; empty for every other model."""
    if "inpainting" not in session.model.provides:
        return {}
    assert session.mask is not None
    # The network takes whole pixels of the canvas, masked or not: any masked pixel counts.
    mask = session.canvas.mask_to_model(session.mask)
    return require(session.model, Inpainter).see_masked(session.sources, mask.to(session.sources))


def reprompt(
    session: Session, inverter: str, steps: int, source: str, target: str, change: Tensor | None = None
) -> Edit:
    """Invert the session's image under one prompt and sample it again under both, side by side.

    The source branch shows what the model makes of the image without an edit; the edit is the difference.
    ``inverter`` is a registered name with options after a colon. ``change`` (1, 1, h, w) in [0, 1] is a change map
    that replaces the session's mask.
    """
    method: Inverter = session.registry.make("inverters", inverter)
    path = session.inversion_path(steps)
    shown, wanted = session.embed(source), session.embed(target)
    record = invert_latents(session, method, session.latents, path, shown)
    noise = torch.cat([record.trajectory[0], record.trajectory[0]])
    conditions = stack([shown, wanted])
    both = sample_from_inversion(session, method, record, noise, conditions, torch.ones(2, 1), change)
    return Edit(both[1:], reconstructed=both[:1], inverted=True)
