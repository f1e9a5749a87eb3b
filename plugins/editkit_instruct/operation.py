"""Editing by instruction, with instruction models and, by inversion, with all others."""

from __future__ import annotations

import contextlib

import torch

from editkit import (
    DEFAULT_STEPS,
    Condition,
    Edit,
    InvalidParameter,
    MissingCapability,
    ReferenceGuidance,
    Session,
    SupportsInstructions,
    SupportsReferences,
    mask_automatically,
    reprompt,
    require,
)

from . import InstructParams
from .grammar import Prompts, parse

_TEXT_GUIDANCE: dict[ReferenceGuidance, float] = {
    "scale input": 2.5,
    "two estimates": 4.0,
    "three estimates": 7.5,
    "none": 1.0,
}
"""Guidance scales of the text by the form of guidance, if neither the user nor the model has one."""
_IMAGE_GUIDANCE = 1.5
"""Guidance scale of the image, likewise."""


def instruct(session: Session, params: InstructParams) -> Edit:
    """Use the instruction directly with a model that takes it; use inversion with others, or if prompts are given.

    Raises MissingCapability if ``method`` is ip2p and the model takes no instructions.
    """
    takes_instructions = bool({"instructions", "references"} & session.model.provides)
    if params.method == "ip2p" and not takes_instructions:
        provided = ", ".join(sorted(session.model.provides))
        raise MissingCapability(
            f"method ip2p needs instructions or references; the model {session.model.name!r} provides {provided}: "
            "use method inversion, or an edit model"
        )
    method = params.method or ("ip2p" if takes_instructions and not params.inversion_options else "inversion")
    if method == "inversion" and params.image_guidance is not None:
        raise InvalidParameter(
            f"image_guidance={params.image_guidance:g} is not allowed: the model {session.model.name!r} edits by "
            "inversion, which has no image guidance; leave it out, or use an InstructPix2Pix model"
        )
    if method == "inversion" and params.reference:
        raise InvalidParameter(
            f"reference: {len(params.reference)} given, but the edit is by inversion, which has none: leave it out, or "
            "leave out source and target"
        )
    steps = session.default_steps(params.steps) if method == "ip2p" else params.steps or DEFAULT_STEPS
    params = params.model_copy(update={"method": method, "steps": steps})
    if method == "inversion":
        return _edit_by_inversion(session, params, steps)
    if params.auto_mask not in (None, "difference"):
        raise InvalidParameter(
            f"auto_mask={params.auto_mask!r} is not allowed: the model {session.model.name!r} edits by an instruction, "
            "whose words stand for no place of the image; use auto_mask='difference', or source and target"
        )
    by_references = "references" in session.model.provides
    return (_edit_with_references if by_references else _edit_by_instruction)(session, params, steps)


def _edit_by_instruction(session: Session, params: InstructParams, steps: int) -> Edit:
    """InstructPix2Pix (Brooks et al., arXiv 2211.09800, eq. 3), written as a weighted sum of three estimates.

    An estimate whose weight is 0, as with an image guidance of 1, is not computed.
    """
    text = (
        session.model_default("guidance", _TEXT_GUIDANCE["three estimates"])
        if params.guidance is None
        else params.guidance
    )
    image = (
        session.model_default("image_guidance", _IMAGE_GUIDANCE)
        if params.image_guidance is None
        else params.image_guidance
    )
    session.params = params.model_copy(update={"guidance": text, "image_guidance": image})
    image_condition = require(session.model, SupportsInstructions).image_condition(session.latents)
    no_image = {name: torch.zeros_like(tensor) for name, tensor in image_condition.items()}
    negative, positive = session.embed(params.negative_prompt), session.embed(params.instruction)
    conditions = ({**negative, **no_image}, {**negative, **image_condition}, {**positive, **image_condition})
    _find_mask(session, params, conditions[1], conditions[2])
    path = session.drawing_path(steps)
    guidance = session.weighted(conditions, (1 - image, image - text, text), path)
    # The network's condition holds the whole source, so that sampling from noise keeps it all the same.
    return Edit(session.draw(session.noise(), path, guidance), reconstructed=session.latents, kept=1.0)


def _edit_with_references(session: Session, params: InstructParams, steps: int) -> Edit:
    """Edit with a model that reads the image and the references together with the instruction (arXiv 2506.15742)."""
    model = require(session.model, SupportsReferences)
    reads = model.references
    text = (
        session.model_default("guidance", _TEXT_GUIDANCE[reads.guidance])
        if params.guidance is None
        else params.guidance
    )
    _check_guidance(params, reads.guidance, model.name)
    session.params, session.reads_references = params.model_copy(update={"guidance": text}), True
    path, condition = session.drawing_path(steps), session.embed(params.instruction)
    if params.auto_mask:
        _find_mask(session, params, session.embed(""), condition)
    if reads.guidance == "three estimates":
        image = session.model_default("image_guidance", _IMAGE_GUIDANCE)
        image = image if params.image_guidance is None else params.image_guidance
        session.params = session.params.model_copy(update={"image_guidance": image})
        without = model.instructed([params.negative_prompt], [])
        conditions = (without, session.embed(params.negative_prompt), condition)
        guidance = session.weighted(conditions, (1 - image, image - text, text), path)
        return Edit(session.draw(session.noise(), path, guidance), reconstructed=session.latents, kept=1.0)
    return Edit(session.draw(session.noise(), path, condition), reconstructed=session.latents, kept=1.0)


def _find_mask(session: Session, params: InstructParams, before: Condition, after: Condition) -> None:
    """Limit the edit to where the estimates without and with the instruction differ (cf. arXiv 2308.08947)."""
    if params.auto_mask:
        mask_automatically(session, ("", params.instruction), (before, after))


def _check_guidance(params: InstructParams, guidance: ReferenceGuidance, model: str) -> None:
    """Raise MissingCapability for a guidance scale that a model's guidance does not have."""
    if params.image_guidance is not None and guidance != "three estimates":
        computed = {"scale input": "one", "none": "one"}.get(guidance, "two, with the image in both")
        raise MissingCapability(
            f"image_guidance={params.image_guidance:g} needs guidance by three estimates; the model {model!r} computes "
            f"{computed}: leave it out"
        )
    if guidance == "none" and params.guidance not in (None, 1):
        raise MissingCapability(
            f"guidance={params.guidance:g} needs guidance by two estimates; the model {model!r} is distilled to one: "
            "leave it out"
        )


def _edit_by_inversion(session: Session, params: InstructParams, steps: int) -> Edit:
    """Derive source and target prompt, invert the image under one, and sample it again under the other."""
    source = _source_prompt(session, params)
    prompts = _prompts(session, params, source)
    resolved: dict[str, object] = {"captioner": None, **prompts._asdict()}
    resolved["guidance"] = 1.0 if params.guidance is None else params.guidance
    if "negative_prompt" not in params.model_fields_set:  # guidance then amplifies the edit only
        resolved["negative_prompt"] = prompts.source
    session.params = params.model_copy(update=resolved)
    if params.auto_mask:
        mask_automatically(session, (prompts.source, prompts.target))
    return reprompt(session, params.inverter, steps, prompts.source, prompts.target)


def _prompts(session: Session, params: InstructParams, source: str) -> Prompts:
    """Return the two prompts: the target of the parameters, else that of the instruction.

    Warns of an instruction that asks for another target than the given one.
    """
    if not params.target:
        return parse(params.instruction, source)
    given = Prompts(source, params.target)
    with contextlib.suppress(InvalidParameter):
        if parse(params.instruction, source) == given:
            return given
    session.usage.warn(
        f"instruction={params.instruction[:60]!r} has no effect: the edit is to the target, which is given"
    )
    return given


def _source_prompt(session: Session, params: InstructParams) -> str:
    """Return the source prompt, or the captioner's; raises InvalidParameter if there is neither."""
    if params.captioner:
        caption = session.registry.build("captioners", params.captioner)(session.images[0])
        if not isinstance(caption, str):
            raise session.registry.wrong_result("captioners", params.captioner, caption, "a text")
        return caption
    if not params.source:
        raise InvalidParameter(
            f"instruct needs a source prompt or a captioner, since the model {session.model.name!r} takes no "
            "instructions itself: give source='a red apple', or a captioner"
        )
    return params.source
