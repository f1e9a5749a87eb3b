"""The operation."""

from __future__ import annotations

from editkit import Edit, Session, add_noise, start_at

from . import ExampleParams


def edit(session: Session, params: ExampleParams) -> Edit:
    """Add noise to the session's image and sample it again under the prompt."""
    path = start_at(session.schedule, session.drawing_path(params.steps), params.strength)
    source = session.latents
    if len(path) == 1:  # strength 0: there is no step to take
        return Edit(source, reconstructed=source)
    noise = session.noise()
    x = add_noise(source, noise, path[0])
    latents = session.draw(x, path, session.embed(params.prompt), noise=noise)
    return Edit(latents, reconstructed=source)
