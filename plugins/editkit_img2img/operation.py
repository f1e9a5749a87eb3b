"""SDEdit (Meng et al., arXiv 2108.01073)."""

from __future__ import annotations

from editkit import Edit, Session, redraw, start_at

from . import Img2ImgParams


def img2img(session: Session, params: Img2ImgParams) -> Edit:
    """Start the path at the noise level of ``strength``; strength 0 leaves no step and returns the source."""
    path = start_at(session.model.schedule, session.drawing_path(params.steps), params.strength)
    return redraw(session, path, session.embed(params.prompt))
