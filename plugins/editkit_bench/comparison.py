"""A comparison: one edit by editkit, by the diffusers class for the same job, and by that class tuned by hand."""

from __future__ import annotations

import contextlib
import dataclasses as dc
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .counters import decoded_by
from .fixture import PROMPT, ComparisonFixture, Runner

STRENGTH = 0.5
"""Of an even number of steps whole steps are left, as diffusers wants it."""
FEW = 4
"""Steps of the rows that take long, whose ratios hardly depend on them: an even divisor of the timesteps, without which
diffusers' DDIM steps past the ones it asks at."""
Arguments = Callable[[ComparisonFixture], Mapping[str, Any]]
Results = tuple[Callable[[ComparisonFixture], Tensor], Callable[[ComparisonFixture], Tensor]]
"""Of editkit and of diffusers: does the job once, and returns what is compared, tensors of one shape."""
FAMILIES = {"sd": "StableDiffusion", "sdxl": "StableDiffusionXL", "flux": "Flux"}
"""What the classes of a family begin with."""


@dc.dataclass(frozen=True)
class Comparison:
    """A row: the three sides, and what is compared of their results with models of the family sd."""

    operation: str
    """Name of the row."""
    pipeline: str
    """Class of diffusers, for the family sd."""
    editkit: Runner
    diffusers: Runner
    tuned: Runner | None
    results: Results | None
    same_maths: bool
    kind: str = "text"
    """What the network of its model is made for."""
    families: tuple[str, ...] = ("sd",)


def drawing_row(
    name: str,
    pipeline: str,
    operation: str,
    params: Arguments,
    arguments: Arguments,
    *,
    guidance: float = 7.5,
    kind: str = "text",
    parts: Arguments = lambda fixture: {},
    spared: Callable[[Any], contextlib.AbstractContextManager[None]] | None = None,
    families: tuple[str, ...] = ("sd",),
) -> Comparison:
    """A row in which both draw by DDIM from the same noise, so that the latents they decode are the same.

    ``parts`` are components that the pipeline is built with; ``spared`` tunes the pipeline for a while.
    """

    def run_editkit(fixture: ComparisonFixture) -> Any:
        given = {"guidance": guidance, "steps": fixture.steps, **params(fixture)}
        if operation != "instruct":
            given = {"prompt": PROMPT, **given}
        return fixture.edit(operation, None if operation == "generate" else fixture.picture, **given)

    def run_pipeline(fixture: ComparisonFixture, **prompt: Any) -> Any:
        made = fixture.pipeline(in_family(pipeline, fixture), **parts(fixture))
        given = {"num_inference_steps": fixture.steps, "guidance_scale": guidance, "generator": fixture.generator()}
        return made(**prompt, **{**given, **arguments(fixture)})

    def run_diffusers(fixture: ComparisonFixture) -> Any:
        return run_pipeline(fixture, prompt=PROMPT)

    def run_tuned(fixture: ComparisonFixture) -> Any:
        tuning = spared(fixture.pipeline(pipeline, **parts(fixture))) if spared else contextlib.nullcontext()
        with tuning, torch.inference_mode():
            return run_pipeline(fixture, **(fixture.embedded if fixture.shape.family == "sd" else {"prompt": PROMPT}))

    return Comparison(
        name,
        pipeline,
        run_editkit,
        run_diffusers,
        run_tuned,
        decoded_latents(run_editkit, run_diffusers),
        True,
        kind,
        families,
    )


def in_family(pipeline: str, fixture: ComparisonFixture) -> str:
    """The class of a model's family that does what one of Stable Diffusion does."""
    return pipeline.replace(FAMILIES["sd"], FAMILIES[fixture.shape.family], 1)


def decoded_latents(run_editkit: Runner, run_diffusers: Runner) -> Results:
    """What both decode, scaled as networks see it; weights lie alike, so that sums are rounded alike."""

    def of_diffusers(fixture: ComparisonFixture) -> Tensor:
        fixture = fixture.channels_last
        with fixture.averaging():
            return decoded_by(lambda: run_diffusers(fixture), fixture.base.vae) * float(
                fixture.base.vae.config.scaling_factor
            )

    return lambda fixture: decoded_by(lambda: run_editkit(fixture), fixture.model), of_diffusers
