"""Building blocks of operations: invert, sample again, redraw, fill, reprompt."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from ..diffusion.denoiser import Condition, Conditioned, latent_dtype, stack_conditions
from ..diffusion.paths import SamplingPath, start_at
from ..diffusion.points import add_noise
from ..diffusion.source_rows import mark_source_rows
from ..diffusion.transfer import to_device
from ..errors import BadFile, InvalidParameter, PluginFailure
from ..inversion.cache_key import InversionInputs
from ..inversion.inversion import Inversion
from ..inversion.inverter import Inverter
from ..inversion.record import InversionRecord, contiguous_copy
from ..inversion.recorded_network import GuidanceWithRecord, RecordedNetwork
from ..inversion.settings import calls_without_folders
from ..model.capabilities import SupportsInpainting, full_name, require
from ..model.prompt_text import embed_prompts
from ..registry.params import shorten
from ..registry.specs import InverterSpec
from ..sampling.change_map import SourceBranchChangeMap
from ..sampling.controls import Control, attach_all
from ..sampling.guidance import Guidance
from ..sampling.loop import check_state
from ..sampling.params import DrawingParams
from .outcome import Edit
from .session import Session


def invert_latents(
    session: Session, inverter: Inverter, latents: Tensor, path: SamplingPath, condition: Condition
) -> InversionRecord:
    """Invert latents (S, C, h, w) up a path, which is given falling, as for sampling.

    The inversion is not guided, unless the inverter requires it. The session's cache may hold the record already, and
    an inversion that the operation takes in place of its image is one.
    Raises EditkitError if a state is NaN or infinite, and the errors of :func:`recorded_inversion`.
    """
    if session.inversion is not None:
        return _record_of_edit(session, session.inversion, path, condition)

    def compute() -> InversionRecord:
        return _invert_uncached(session, inverter, latents, path, condition)

    acting = [control for control in session.attached(path) if control.acts_on_inversion]
    if session.cache is None or acting:
        session.undivided = bool(acting)
        with attach_all(session.model, acting, path[::-1], range(len(latents))):
            record = compute()
    else:
        inputs = inversion_inputs(session, inverter, latents, path, condition)
        record = session.cache.load_or_compute(inputs, session.random, session.usage, compute)
    return dc.replace(record, condition=condition)


def recorded_inversion(session: Session, inversion: Inversion) -> InversionRecord:
    """Return the record of an inversion on the session's model; raises InvalidParameter if another one made it."""
    model = session.model
    if inversion.identity != model.identity:
        raise InvalidParameter(
            f"the inversion was made with the model {inversion.model!r} ({inversion.identity}), "
            f"not with {full_name(model)!r} ({model.identity}): pass that one"
        )
    return inversion.record.to(model.device, latent_dtype(model.dtype))


def _record_of_edit(
    session: Session, inversion: Inversion, path: SamplingPath, condition: Condition
) -> InversionRecord:
    """Return the record of an inversion as :func:`invert_latents` of the session would compute it.

    Raises InvalidParameter if that would give another one.
    """
    record, dtype = recorded_inversion(session, inversion), str(session.model.dtype).removeprefix("torch.")
    if inversion.dtype != dtype:
        raise InvalidParameter(
            f"dtype={dtype} is not allowed: the inversion was made in {inversion.dtype}; load the model in that, or "
            "edit the image"
        )
    if record.path != path:
        raise BadFile(
            f"the inversion of {inversion.params.get('steps')} steps has other timesteps than an edit: make it again "
            "with editkit invert, or edit the image"
        )
    inverter: InverterSpec = session.registry.configure("inverters", inversion.method)[0]
    if inverter.stochastic and inversion.random is None and not inverter.replaces_sampler:
        raise BadFile(
            "the inversion is of an earlier version, without the state of its noise: make it again with editkit invert"
        )
    recorded = calls_without_folders(session.registry, inversion.params.get("attach", ()))
    attached = calls_without_folders(session.registry, session.drawing.controls)
    for call, control in zip(attached, session.attached(path), strict=True):
        if control.acts_on_inversion and call not in recorded:
            raise InvalidParameter(
                f"attach={shorten(call)} is not allowed: it acts on the inversion too, which was made without it; "
                "leave it out, or edit the image"
            )
    if session.drawing.long_prompts:
        _check_chunks(session, inversion, condition)
    if inversion.random is not None:
        session.random.set_state(inversion.random)
    return dc.replace(record, condition=condition)


def _check_chunks(session: Session, inversion: Inversion, condition: Condition) -> None:
    """Raise InvalidParameter if the prompts of an edit are read in more chunks than that of the inversion was."""
    others = [str(inversion.params.get("negative_prompt", ""))]
    before = embed_prompts(session.model, [inversion.prompt], session.usage.warn, chunked_with=others)
    if any(before[name].shape != tensor.shape for name, tensor in condition.items()):
        raise InvalidParameter(
            "long_prompts=True is not allowed: the prompts of the edit are longer than that of the inversion, which "
            "depends on their length; shorten them, or edit the image"
        )


def inversion_inputs(
    session: Session, inverter: Inverter, latents: Tensor, path: SamplingPath, condition: Condition
) -> InversionInputs:
    """Return everything the result of :func:`invert_latents` depends on, apart from the noise it draws."""
    return InversionInputs(
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


def _invert_uncached(
    session: Session, inverter: Inverter, latents: Tensor, path: SamplingPath, condition: Condition
) -> InversionRecord:
    guidance = session.guided(condition, len(latents), path) if inverter.guided else None
    denoise = guidance or Conditioned(session.network, condition)
    estimate = session.estimate(path[::-1])
    seen = estimate.recording(denoise.network, len(latents)) if estimate else denoise.network
    extras: dict[str, Tensor] = {}
    steps = inverter.invert(dc.replace(denoise, network=seen), latents, path[::-1], session.noise)
    shown = session.track(collect_extras(steps, extras), len(path) - 1, "inverting", estimate=estimate)
    rising = [latents, *(check_state(state, latents, inverter) for state in shown)]
    if len(rising) != len(path):
        raise PluginFailure(
            f"{type(inverter).__module__}.{type(inverter).__qualname__} made {len(rising) - 1} states in the "
            f"{len(path) - 1} steps of its path"
        )
    trajectory = session.check_walk(torch.stack(rising[::-1]), latents, denoise, path[-1], "the inversion")
    record = InversionRecord(contiguous_copy(trajectory), path, extras)
    extras = {**extras, **inverter.compute_extras(session, record, condition)}
    return dc.replace(record, extras={name: contiguous_copy(tensor) for name, tensor in extras.items()})


def collect_extras(steps: Iterator[Tensor], extras: dict[str, Tensor]) -> Iterator[Tensor]:
    """Yield the steps of an inversion and put the return value of a generator into ``extras``."""
    generator = cast(Generator[Tensor, None, Mapping[str, Tensor] | None], steps)
    extras.update((yield from generator) or {})


def sample_from_inversion(
    session: Session,
    inverter: Inverter,
    record: InversionRecord,
    x: Tensor,
    condition: Condition | Guidance,
    shares: Tensor,
    change: Tensor | None = None,
) -> Tensor:
    """Sample from ``x`` (B, C, h, w) with the record of an inversion; the first S rows are its sources.

    ``shares`` (B, S) says how much of each source is in a row. ``change`` (1, 1, h, w) in [0, 1] is a change map that
    replaces the session's mask. Returns the clean latents (B, C, h, w).
    """
    sources, shares = shares.argmax(1).tolist(), to_device(shares, x.device, x.dtype)
    step = inverter.replay_stepper(record, shares)
    controls = list(inverter.controls(record, shares))
    session.usage.warn(*inverter.idle_options(record.path))
    change = session.latent_mask if change is None else change
    if change is not None:
        controls.append(SourceBranchChangeMap(change, record.path, shares))
    guidance = condition if isinstance(condition, Guidance) else session.guided_edit(condition, len(x), record.path)
    # A control that changes the model also changes its estimates, and may need the source rows in the batch.
    attached = session.attached(record.path)
    changing = [*attached, *(control for control in controls if control.changes_model)]
    if all(control.keeps_estimates for control in changing):
        guidance = _with_recorded_estimates(session, inverter, record, guidance, x)
    keeps_detail = not any(control.restarts for control in attached)
    return session.draw(x, record.path, guidance, controls, step=step, inverted=keeps_detail, sources=sources)


def _with_recorded_estimates(
    session: Session, inverter: Inverter, record: InversionRecord, guidance: Guidance, x: Tensor
) -> Guidance:
    """Return guidance that reuses the estimates recorded during inversion in a walk that starts from ``x``."""
    if record.condition is None or type(guidance) is not Guidance:
        return guidance
    conditions = session.guided(record.condition, record.trajectory.shape[1], record.path).active_conditions
    estimates = inverter.recorded_estimates(record, conditions)
    if not estimates:
        return guidance
    if torch.equal(x[: record.trajectory.shape[1]], record.trajectory[0]):
        mark_source_rows(x, record.trajectory, 0)
    return GuidanceWithRecord.of(guidance, RecordedNetwork(guidance.network, record, estimates, len(x)))


def to_inversion(session: Session, record: InversionRecord, method: str, prompt: str) -> Inversion:
    """Return the record of the session's one source as an :class:`Inversion`, to be replayed or edited later."""
    spec: InverterSpec = session.registry.configure("inverters", method)[0]
    return Inversion(
        record,
        source=session.images[0],
        method=method,
        prompt=prompt,
        model=full_name(session.model),
        identity=session.model.identity,
        params=session.params.model_dump(mode="json"),
        random=session.random.get_state() if spec.stochastic else None,
    )


def redraw(
    session: Session,
    path: SamplingPath,
    condition: Condition | Guidance,
    controls: Sequence[Control] = (),
    *,
    blank: bool = False,
) -> Edit:
    """Sample the session's image again down ``path`` (Meng et al., arXiv 2108.01073).

    Sampling starts from the noised source, or from noise alone if ``blank``; in both cases the
    protected region follows the source. A path of one point leaves the source as it is. Where the whole path is
    sampled, fully masked pixels of the source are erased first, see :meth:`Session.erase`.
    """
    if len(path) == 1:
        return Edit(session.latents, reconstructed=session.latents)
    if session.starts_from_noise(path):
        session.erase()
    noise = session.noise()
    start = noise if blank else add_noise(session.latents, noise, path[0])
    return Edit(session.draw(start, path, condition, controls, noise=noise), reconstructed=session.latents)


def fill(session: Session, path: SamplingPath, prompt: str, *, blank: bool = False) -> Edit:
    """Sample the image again down ``path`` as :func:`redraw` does, with an inpainting model's own condition.

    An inpainting model is conditioned on the mask and the unmasked pixels too.
    """
    if session.starts_from_noise(path):
        session.erase()
    return redraw(session, path, {**session.embed(prompt), **_inpainting_condition(session)}, blank=blank)


def _inpainting_condition(session: Session) -> Condition:
    """Condition of an inpainting model beside the prompt; empty for every other model."""
    if "inpainting" not in session.model.provides:
        return {}
    assert session.mask is not None
    # The network takes whole pixels of the canvas, masked or not: any masked pixel counts.
    mask = session.canvas.mask_to_model(session.mask)
    return require(session.model, SupportsInpainting).inpainting_condition(session.sources, mask.to(session.sources))


def reprompt(
    session: Session,
    inverter: str,
    steps: int,
    source: str,
    target: str,
    change: Tensor | None = None,
    *,
    strength: float = 1.0,
) -> Edit:
    """Invert the session's image under one prompt and sample it again under both, side by side.

    The source branch shows what the model makes of the image without an edit; the edit is the difference.
    ``inverter`` is a registered name with options after a colon. ``change`` (1, 1, h, w) in [0, 1] is a change map
    that replaces the session's mask. ``strength`` in [0, 1] is the share of the path that is inverted and sampled, from
    its clean end; 0 leaves the source as it is. Raises InvalidParameter for a part of a recorded inversion.
    """
    if session.inversion is not None and strength < 1:
        raise InvalidParameter(
            f"strength={strength:g} is not allowed: the inversion is of the whole path; leave it out, or edit the image"
        )
    method: Inverter = session.registry.build("inverters", inverter)
    path = start_at(session.schedule, session.inversion_path(steps), strength)
    if len(path) < 2:
        return Edit(session.latents, reconstructed=session.latents, inverted=True)
    if source == target:  # an estimate of the edited branch that is approximated would differ from the recorded one
        session.leave_out_approximations()
    source_condition, target_condition = session.embed(source), session.embed(target)
    record = invert_latents(session, method, session.latents, path, source_condition)
    noise = torch.cat([record.trajectory[0], record.trajectory[0]])
    conditions = stack_conditions([source_condition, target_condition])
    both = sample_from_inversion(
        session, method, record, noise, conditions, torch.ones(2, 1, dtype=torch.float32, device="cpu"), change
    )
    return Edit(both[1:], reconstructed=both[:1], inverted=True)
