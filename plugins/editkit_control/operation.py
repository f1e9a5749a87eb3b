"""Drawing and redrawing under a condition map."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from editkit import Edit, Session, redraw, start_at

from . import ControlParams
from .controlnet import annotate_source, find_weights, make_control, to_hint


def control(session: Session, params: ControlParams) -> Edit:
    """Draw from noise, or from the noised picture, and under the mask where there is one.

    On the way from a picture a control of scale 0 asks for nothing, and the picture comes back.
    """
    path = start_at(session.model.schedule, session.drawing_path(params.steps), params.strength)
    from_picture = params.strength < 1
    if len(path) == 1 or (from_picture and params.control_scale == 0):
        return Edit(session.latents, reconstructed=session.latents)  # which needs no weights
    folder = find_weights(session, params.kind, params.controlnet)
    control = make_control(
        session,
        path,
        folder,
        _condition_map(session, params),
        params.control_scale,
        params.control_start,
        params.control_end,
    )
    return redraw(session, path, session.embed(params.prompt), [control], blank=not from_picture)


def _condition_map(session: Session, params: ControlParams) -> Tensor:
    """The ready-made condition map, or the annotator's."""
    if params.control_image is None:
        return annotate_source(session, params.kind)
    levels = np.asarray(params.control_image, dtype=np.float32) / 255
    return to_hint(session, 1 - levels if params.control_invert else levels)
