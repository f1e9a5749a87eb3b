"""SDEdit (Meng et al., arXiv 2108.01073)."""

from __future__ import annotations

from editkit import Edit, Session, redraw, start_at

from . import Img2ImgParams


def img2img(session: Session, params: Img2ImgParams) -> Edit:
    """Enter the path as noisy as ``strength`` says; at strength 0 there is no step to take."""
    path = start_at(session.model.schedule, session.drawing_path(params.steps), params.strength)
    return redraw(session, path, session.embed(params.prompt))
