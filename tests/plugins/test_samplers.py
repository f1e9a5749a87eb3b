"""Every registered sampler passes its suite; the built-in ones have their published orders."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

import editkit
from editkit import Point, walk
from editkit.registry.registry import installed
from editkit.sampling.loop import final_state
from editkit.testing import GaussianDenoiser, MixtureDenoiser, flow_path, suite_of, vp_path
from editkit.testing.suite import largest

for _name in editkit.samplers():
    _suite = suite_of("samplers", _name)
    globals()[_suite.__name__] = _suite

PATHS = {"vp": vp_path, "flow": flow_path}
ORDERS = {"ddim": 1, "euler": 1, "heun": 2, "dpmpp-2m": 2, "dpmpp-3m": 3}


def sample_end(name: str, x: Tensor, path: tuple[Point, ...]) -> Tensor:
    return final_state(walk(installed().build("samplers", name), GaussianDenoiser(), x, path), x)


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_a_sampler_has_its_published_order(name: str, order: int, kind: str) -> None:
    x = torch.linspace(-2, 2, 16, dtype=torch.float64).view(1, 1, 4, 4)
    errors = []
    for steps in (64, 128, 256):
        path = PATHS[kind](steps)
        errors.append(largest(sample_end(name, x, path) - GaussianDenoiser().transport(x, path[0], path[-1])))
    slopes = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert all(abs(slope - order) < 0.35 for slope in slopes), slopes


def test_specs_declare_the_published_orders() -> None:
    for name, order in ORDERS.items():
        assert editkit.samplers()[name].order == order


def test_euler_is_ddim_on_the_same_path() -> None:
    x = torch.linspace(-2, 2, 16, dtype=torch.float64).view(1, 1, 4, 4)
    for path in (vp_path(9), flow_path(9)):
        assert torch.equal(sample_end("euler", x, path), sample_end("ddim", x, path))


def test_ddim_with_eta_one_is_ddpm_and_with_eta_zero_adds_no_noise() -> None:
    x = torch.linspace(-2, 2, 16, dtype=torch.float64).view(1, 1, 4, 4)

    def noise() -> Tensor:
        return torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64)

    ends = {}
    for call in ("ddim", "ddim:eta=0.0", "ddim:eta=1.0", "ddpm"):
        ends[call] = final_state(
            walk(installed().build("samplers", call), GaussianDenoiser(), x, vp_path(9), noise=noise), x
        )
    assert torch.equal(ends["ddim"], ends["ddim:eta=0.0"])
    assert torch.equal(ends["ddpm"], ends["ddim:eta=1.0"])
    assert not torch.equal(ends["ddpm"], ends["ddim"])


def test_ddpm_has_the_posterior_s_mean_and_variance() -> None:
    """The step of Ho et al. (arXiv 2006.11239, eq. 7), written with betas."""
    p, q = vp_path(9)[3:5]
    x, x0 = torch.tensor([[[[0.7]]]]).double(), torch.tensor([[[[0.2]]]]).double()
    stepper = installed().build("samplers", "ddpm")
    after = [
        float(stepper(lambda x, point: x0, x, p, q, lambda value=value: torch.tensor(value).double()))
        for value in (0.0, 1.0)
    ]
    beta = 1 - (p.alpha / q.alpha) ** 2
    mean = (q.alpha * beta * x0 + (p.alpha / q.alpha) * q.sigma**2 * x) / p.sigma**2
    assert math.isclose(after[0], float(mean), rel_tol=1e-12)
    assert math.isclose((after[1] - after[0]) ** 2, beta * q.sigma**2 / p.sigma**2, rel_tol=1e-12)


def test_samplers_reach_the_modes_of_a_mixture() -> None:
    data = MixtureDenoiser.of_shape((1, 4, 4), variance=0.001)
    x = torch.randn((16, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = torch.Generator().manual_seed(1)
    for name in editkit.samplers():
        stepper = installed().build("samplers", name)
        fresh = lambda: torch.randn(x.shape, generator=noise, dtype=x.dtype)  # noqa: E731
        end = final_state(walk(stepper, data, x, vp_path(100, high=math.pi / 2 - 1e-3), noise=fresh), x)
        nearest = (end[:, None] - data.modes).flatten(2).square().mean(2).sqrt().amin(1)
        assert float(nearest.max()) < 0.1, (name, nearest)
