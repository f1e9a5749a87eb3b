"""SDEdit (Meng et al., arXiv 2108.01073)."""

from __future__ import annotations

from editkit import Edit, Session, add_noise, start_at

from . import Img2ImgParams


def img2img(session: Session, params: Img2ImgParams) -> Edit:
    """Enter the path as noisy as ``strength`` says; at strength 0 there is no step to take."""
    latents = session.latents
    path = start_at(session.model.schedule, session.drawing_path(params.steps), params.strength)
    if len(path) == 1:
        return Edit(latents, reconstructed=latents)
    noisy = add_noise(latents, session.noise(), path[0])
    return Edit(session.draw(noisy, path, session.embed(params.prompt)), reconstructed=latents)
