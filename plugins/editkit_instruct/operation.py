"""Instructions, for models made for them and for all others."""

from __future__ import annotations

import torch
from torch import Tensor

from editkit import (
    DEFAULT_STEPS,
    Edit,
    InvalidParameter,
    MissingCapability,
    Session,
    SupportsInstructions,
    add_noise,
    reprompt,
    require,
)

from . import InstructParams
from .grammar import Prompts, parse

_SAMPLES = 8
"""Noises under which the two prompts are compared."""
_LEVEL = 0.5
"""Fraction of the path at which they are compared."""
_DISTILLED_GUIDANCE = 2.5
"""Guidance scale that a model is told which it is distilled into."""
_FULL_DISAGREEMENT = 3.0
"""Times its mean from which on a disagreement counts in full (Couairon et al., arXiv 2210.11427, appendix A)."""


def instruct(session: Session, params: InstructParams) -> Edit:
    """Ask a model that is made for instructions, and others, or where prompts are given, by inversion."""
    able = "instructions" in session.model.provides
    if params.method == "ip2p" and not able:
        provided = ", ".join(sorted(session.model.provides))
        raise MissingCapability(
            f"method ip2p needs instructions; the model {session.model.name!r} provides {provided}: "
            "take method inversion, or an InstructPix2Pix model"
        )
    method = params.method or ("ip2p" if able and not params.inversion_options else "inversion")
    steps = session.default_steps(params.steps) if method == "ip2p" else params.steps or DEFAULT_STEPS
    params = params.model_copy(update={"method": method, "steps": steps})
    return (_edit_by_instruction if method == "ip2p" else _edit_by_inversion)(session, params, steps)


def _edit_by_instruction(session: Session, params: InstructParams, steps: int) -> Edit:
    """InstructPix2Pix (Brooks et al., arXiv 2211.09800, eq. 3) with its three estimates as one weighted sum.

    Where scales make the weight of one 0, as an image guidance of 1 does, that one is not asked for.
    """
    if "distilled-guidance" in session.model.provides:
        return _edit_by_distilled_model(session, params, steps)
    text = session.model_default("guidance", 7.5) if params.guidance is None else params.guidance
    image = session.model_default("image_guidance", 1.5) if params.image_guidance is None else params.image_guidance
    session.params = params.model_copy(update={"guidance": text, "image_guidance": image})
    seen = require(session.model, SupportsInstructions).image_condition(session.latents)
    blind = {name: torch.zeros_like(tensor) for name, tensor in seen.items()}
    empty, told = session.embed(params.negative_prompt), session.embed(params.instruction)
    conditions = ({**empty, **blind}, {**empty, **seen}, {**told, **seen})
    path = session.drawing_path(steps)
    guidance = session.weighted(conditions, (1 - image, image - text, text), path)
    return Edit(session.draw(session.noise(), path, guidance), reconstructed=session.latents)


def _edit_by_distilled_model(session: Session, params: InstructParams, steps: int) -> Edit:
    """A model that is told its guidance estimates by instruction and picture at once (arXiv 2506.15742)."""
    if params.image_guidance is not None:
        raise MissingCapability(
            f"image_guidance= needs guidance by three estimates; the model {session.model.name!r} provides "
            "distilled-guidance, which makes one: leave it out"
        )
    text = _DISTILLED_GUIDANCE if params.guidance is None else params.guidance
    session.params = params.model_copy(update={"guidance": text})
    seen = require(session.model, SupportsInstructions).image_condition(session.latents)
    told = {**session.embed(params.instruction), **seen}
    drawn = session.draw(session.noise(), session.drawing_path(steps), told)
    return Edit(drawn, reconstructed=session.latents)


def _edit_by_inversion(session: Session, params: InstructParams, steps: int) -> Edit:
    """Recover the recipe of the picture, change it as the instruction says, and run it forward again."""
    source = _source_prompt(session, params)
    prompts = Prompts(source, params.target) if params.target else parse(params.instruction, source)
    used: dict[str, object] = {"captioner": None, **prompts._asdict()}
    used["guidance"] = 1.0 if params.guidance is None else params.guidance
    if "negative_prompt" not in params.model_fields_set:  # guidance then enlarges the edit alone
        used["negative_prompt"] = prompts.source
    session.params = params.model_copy(update=used)
    change = _change_map(session, prompts, steps) if params.auto_mask else None
    return reprompt(session, params.inverter, steps, prompts.source, prompts.target, change)


def _source_prompt(session: Session, params: InstructParams) -> str:
    if params.captioner:
        caption: str = session.registry.build("captioners", params.captioner)(session.images[0])
        return caption
    if not params.source:
        raise InvalidParameter(
            f"instruct needs to know what the picture shows, since the model {session.model.name!r} takes no "
            "instructions itself: give source='a red apple', or a captioner"
        )
    return params.source


def _change_map(session: Session, prompts: Prompts, steps: int) -> Tensor:
    """A change map (1, 1, h, w) in [0, 1] from where the estimates under two prompts differ (arXiv 2210.11427).

    It is soft, reaches one latent around every place, and stays within the session's mask.
    """
    path = session.inversion_path(steps)
    point = path[round((1 - _LEVEL) * (len(path) - 1))]
    apart = torch.zeros_like(session.latents[:, :1])
    both = session.embed(prompts.source, prompts.target)
    for _ in range(_SAMPLES):
        noisy = add_noise(session.latents, session.noise(), point)
        one, other = session.network(torch.cat([noisy, noisy]), point, both).chunk(2)
        apart += (one - other).abs().mean(1, keepdim=True)
    clear = (apart / (_FULL_DISAGREEMENT * apart.mean()).clamp(min=1e-9)).clamp(0, 1)
    near = torch.nn.functional.max_pool2d(clear, 3, stride=1, padding=1)
    return near if session.latent_mask is None else torch.minimum(near, session.latent_mask)
