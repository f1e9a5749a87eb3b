"""Sampling under a condition map, from noise or from the noised image."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from editkit import Edit, Session, redraw, start_at

from . import ControlParams
from .controlnet import (
    Strength,
    annotate_source,
    check_use,
    find_weights,
    make_control,
    mode_of_kind,
    to_hint,
    warn_of_colours,
)


def control(session: Session, params: ControlParams) -> Edit:
    """Sample from noise, or from the noised image, within the mask if there is one.

    From an image, a control of scale 0 has no effect: the source is returned unchanged.
    """
    path = start_at(session.model.schedule, session.drawing_path(params.steps), params.strength)
    from_image = params.strength < 1
    if len(path) == 1 or (from_image and params.control_scale == 0):
        return Edit(session.latents, reconstructed=session.latents)  # needs no weights
    folder = find_weights(session, params.kind, params.controlnet)
    strength = Strength(params.control_scale, params.control_start, params.control_end)
    check_use(session.model, folder, params.control_mode, "control_mode", strength)
    control = make_control(session, path, folder, _condition_map(session, params), strength, _mode(params))
    return redraw(session, path, session.embed(params.prompt), [control], blank=not from_image)


def _mode(params: ControlParams) -> str | None:
    """Return what the map shows; None for a ready-made map that neither a mode nor a kind describes."""
    if params.control_mode is not None:
        return params.control_mode
    described = params.control_image is None or "kind" in params.model_fields_set
    return mode_of_kind(params.kind) if described else None


def _condition_map(session: Session, params: ControlParams) -> Tensor:
    """Return the ready-made condition map, or the annotator's."""
    if params.control_image is None:
        hint = annotate_source(session, params.kind)
        if hint.min() == hint.max() and params.control_scale:
            session.usage.warn(
                f"the {params.kind} map of the image has one value everywhere, so it shows nothing to follow: another "
                "kind, or a map given as control_image, may show more"
            )
        return hint
    levels = np.asarray(params.control_image, dtype=np.float32) / 255
    warn_of_colours(session, levels, "control_image", params.kind, params.controlnet)
    return to_hint(session, 1 - levels if params.control_invert else levels)
