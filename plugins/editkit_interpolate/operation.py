"""Spherical interpolation between the noises of two images (Song et al., arXiv 2010.02502, appendix D.5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from editkit import Edit, Session, blend_conditions, invert_latents, sample_from_inversion

from . import InterpolateParams


def interpolate(session: Session, params: InterpolateParams) -> Edit:
    """Invert both images in one batch and sample all frames in another."""
    inverter = session.registry.build("inverters", params.inverter)
    path = session.inversion_path(params.steps)
    prompts = session.embed(params.source, params.target)
    # The two sources lead the batch, as a replay needs them; the frames follow.
    frames = torch.linspace(0, 1, params.frames, dtype=torch.float32, device="cpu")
    second = torch.cat([frames.new_tensor([0.0, 1.0]), frames])
    shares = torch.stack([1 - second, second], 1)
    conditions = blend_conditions(prompts, shares)
    record = invert_latents(session, inverter, session.latents, path, prompts)
    first_noise, second_noise = record.trajectory[0]
    noise = torch.stack(_slerp(first_noise, second_noise, second.tolist()))
    latents = sample_from_inversion(session, inverter, record, noise, conditions, shares)
    return Edit(latents[2:], reconstructed=latents[:2], inverted=True, shares=shares[2:])


def _slerp(one: Tensor, other: Tensor, shares: Sequence[float]) -> list[Tensor]:
    """Points at ``shares`` (0 to 1) on the arc between two latents (C, h, w); exact at both ends."""
    cosine = (one * other).sum() / (one.norm() * other.norm())
    angle = torch.acos(cosine.clamp(-1, 1))
    is_line = bool(angle < 1e-4)

    def point(share: float) -> Tensor:
        if share in (0.0, 1.0):
            return other if share else one
        if is_line:
            return torch.lerp(one, other, share)
        return (torch.sin((1 - share) * angle) * one + torch.sin(share * angle) * other) / torch.sin(angle)

    return [point(share) for share in shares]
