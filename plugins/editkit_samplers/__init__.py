"""Samplers: solvers of the path from noise to a clean latent."""

from __future__ import annotations

from pydantic import Field

from editkit import Paper, Params, SamplerSpec, by_name, hookimpl


class DdimParams(Params):
    eta: float = Field(0.0, ge=0.0, le=1.0, description="Fresh noise per step: 0 adds none, 1 as much as DDPM.")


@hookimpl
def register_samplers() -> list[SamplerSpec]:
    return [
        SamplerSpec(
            name="ddim",
            summary="First order, one call per step; ends where the model's schedule ends.",
            load=by_name("editkit_samplers.ddim:DdimSampler"),
            params=DdimParams,
            ends_at_zero=False,
            source="https://arxiv.org/abs/2010.02502",
        ),
        SamplerSpec(
            name="ddpm",
            summary="Ancestral sampling: fresh noise at every step.",
            load=by_name("editkit_samplers.ddim:ddpm"),
            stochastic=True,
            ends_at_zero=False,
            source="https://arxiv.org/abs/2006.11239",
        ),
        SamplerSpec(
            name="euler",
            summary="Euler's method in sigma / alpha: the step of ddim, on a path that ends at zero noise.",
            load=by_name("editkit_samplers.ddim:DdimSampler"),
            params=DdimParams,
            source="https://arxiv.org/abs/2206.00364",
            paper=Paper(
                "Elucidating the Design Space of Diffusion-Based Generative Models",
                "Tero Karras and Miika Aittala and Timo Aila and Samuli Laine",
                2022,
            ),
        ),
        SamplerSpec(
            name="euler-a",
            summary="Ancestral Euler: the step of ddpm, on a path that ends at zero noise.",
            load=by_name("editkit_samplers.ddim:ddpm"),
            stochastic=True,
            source="https://arxiv.org/abs/2206.00364",
        ),
        SamplerSpec(
            name="heun",
            summary="Second order, two calls per step.",
            load=by_name("editkit_samplers.heun:heun"),
            calls_per_step="2",
            order=2,
            source="https://arxiv.org/abs/2206.00364",
        ),
        SamplerSpec(
            name="dpmpp-2m",
            summary="Second order from one earlier estimate, one call per step.",
            load=by_name("editkit_samplers.dpmpp:DpmSolver2M"),
            order=2,
            extra_node=True,
            source="https://arxiv.org/abs/2211.01095",
            paper=Paper(
                "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
                "Cheng Lu and Yuhao Zhou and Fan Bao and Jianfei Chen and Chongxuan Li and Jun Zhu",
                2022,
            ),
        ),
        SamplerSpec(
            name="dpmpp-2m-sde",
            summary="The stochastic form of dpmpp-2m: fresh noise at every step.",
            load=by_name("editkit_samplers.dpmpp:DpmSolver2MSde"),
            stochastic=True,
            extra_node=True,
            source="https://arxiv.org/abs/2211.01095",
        ),
        SamplerSpec(
            name="dpmpp-3m",
            summary="Third order from two earlier estimates, one call per step and one more at the start.",
            load=by_name("editkit_samplers.dpmpp:DpmSolver3M"),
            calls_per_step="1, and one more",
            order=3,
            extra_node=True,
            source="https://arxiv.org/abs/2211.01095",
        ),
        SamplerSpec(
            name="lcm",
            summary="Few steps of consistency models: each predicts the clean latent and adds fresh noise to it.",
            load=by_name("editkit_samplers.lcm:lcm"),
            stochastic=True,
            spacing="distilled",
            consistency=True,
            source="https://arxiv.org/abs/2310.04378",
            paper=Paper(
                "Latent Consistency Models: Synthesizing High-Resolution Images with Few-Step Inference",
                "Simian Luo and Yiqin Tan and Longbo Huang and Jian Li and Hang Zhao",
                2023,
            ),
        ),
    ]
