"""Comparison of one edit by editkit, by the diffusers class for the same job, and by that class tuned by hand."""

from __future__ import annotations

import contextlib
import dataclasses as dc
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .counters import latents_to_decode
from .fixture import PROMPT, ComparisonFixture, Runner

STRENGTH = 0.5
"""Strength of the rows, which leaves whole steps of an even number, as diffusers needs."""
FEW_STEPS = 4
"""Steps of slow rows, whose ratios hardly depend on them: an even divisor of the number of timesteps, without which
diffusers' DDIM steps do not end at the timesteps that it evaluates."""
Arguments = Callable[[ComparisonFixture], Mapping[str, Any]]
Results = tuple[Callable[[ComparisonFixture], Tensor], Callable[[ComparisonFixture], Tensor]]
"""Functions of editkit and of diffusers that do the job once and return the tensors to compare, of one shape."""
FAMILIES = {"sd": "StableDiffusion", "sdxl": "StableDiffusionXL", "flux": "Flux"}
"""Prefixes of diffusers' class names by model family."""


@dc.dataclass(frozen=True)
class Comparison:
    """A row of the table: three sides, and the results to compare for models of the family sd."""

    operation: str
    """Name of the row."""
    pipeline: str
    """Class of diffusers, for the family sd."""
    editkit: Runner
    diffusers: Runner
    tuned: Runner
    results: Results | None
    same_maths: bool
    kind: str = "text"
    """Conditions that the network of its model is trained for."""
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
    tuning: Callable[[Any], contextlib.AbstractContextManager[None]] | None = None,
    families: tuple[str, ...] = ("sd",),
) -> Comparison:
    """Return a row in which both sides sample by DDIM from the same noise and decode the same latents.

    ``parts`` are components that the pipeline is built with; ``tuning`` is a context that tunes the pipeline.
    """

    def run_editkit(fixture: ComparisonFixture) -> Any:
        options = {"guidance": guidance, "steps": fixture.steps, **params(fixture)}
        if operation != "instruct":
            options = {"prompt": PROMPT, **options}
        return fixture.edit(operation, None if operation == "generate" else fixture.image, **options)

    def run_pipeline(fixture: ComparisonFixture, **prompt: Any) -> Any:
        instance = fixture.pipeline(class_in_family(pipeline, fixture), **parts(fixture))
        defaults = {"num_inference_steps": fixture.steps, "guidance_scale": guidance, "generator": fixture.generator()}
        return instance(**prompt, **{**defaults, **arguments(fixture)})

    def run_diffusers(fixture: ComparisonFixture) -> Any:
        return run_pipeline(fixture, prompt=PROMPT)

    def run_tuned(fixture: ComparisonFixture) -> Any:
        tuned = tuning(fixture.pipeline(pipeline, **parts(fixture))) if tuning else contextlib.nullcontext()
        with tuned, torch.inference_mode():
            return run_pipeline(
                fixture, **(fixture.embedded_prompt if fixture.config.family == "sd" else {"prompt": PROMPT})
            )

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


def class_in_family(pipeline: str, fixture: ComparisonFixture) -> str:
    """Return the class of the model's family for a class of Stable Diffusion."""
    return pipeline.replace(FAMILIES["sd"], FAMILIES[fixture.config.family], 1)


def decoded_latents(run_editkit: Runner, run_diffusers: Runner) -> Results:
    """Return the latents that each side decodes, in the network's scale.

    Both sides have the same weight layout, so that rounding is comparable.
    """

    def diffusers_latents(fixture: ComparisonFixture) -> Tensor:
        fixture = fixture.channels_last
        vae = fixture.base.vae
        with fixture.deterministic_encoding():
            return latents_to_decode(lambda: run_diffusers(fixture), vae) * float(vae.config.scaling_factor)

    return lambda fixture: latents_to_decode(lambda: run_editkit(fixture), fixture.model), diffusers_latents
