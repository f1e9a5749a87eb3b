"""Drawing pictures anew, from themselves or from noise."""

from __future__ import annotations

from collections.abc import Sequence

from .controls import Control
from .guidance import Condition, Guidance
from .paths import Path
from .points import add_noise
from .session import Edit, Session


def redraw(
    session: Session,
    path: Path,
    condition: Condition | Guidance,
    controls: Sequence[Control] = (),
    *,
    blank: bool = False,
) -> Edit:
    """Draw the session's picture anew down ``path`` (Meng et al., arXiv 2108.01073).

    The drawing begins with the source, noised, or where ``blank`` with noise alone; either way what a mask protects is
    held to the source. A path of one point leaves the source as it is.
    """
    if len(path) == 1:
        return Edit(session.latents, reconstructed=session.latents)
    noise = session.noise()
    start = noise if blank else add_noise(session.latents, noise, path[0])
    return Edit(session.draw(start, path, condition, controls, noise=noise), reconstructed=session.latents)
