"""DDIM and DDPM steps, which the two Euler samplers share."""

from __future__ import annotations

import dataclasses as dc

from torch import Tensor

from editkit import Denoiser, Noise, Params, Point, ddim_step, ddpm_noise_std


@dc.dataclass(frozen=True)
class DdimSampler:
    """DDIM step with ``eta`` times DDPM's noise (Song et al., arXiv 2010.02502, eq. 12 and 16)."""

    eta: float = 0.0

    def __call__(self, denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        x0 = denoise(x, p)
        if self.eta == 0.0 or q.sigma == 0.0:
            return ddim_step(x, x0, p, q)
        fresh = self.eta * ddpm_noise_std(p, q)
        return ddim_step(x, x0, p, q, fresh) + fresh * noise()


def ddpm(params: Params) -> DdimSampler:
    """Return DDPM's sampler: DDIM with ``eta=1`` (Ho et al., arXiv 2006.11239)."""
    return DdimSampler(eta=1.0)
