"""The command ``run``: the steps of a pipeline file, applied to images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ..errors import BadFile, BadImage
from ..registry.registry import installed
from .animations import AnimatedInputs, animation_options
from .errors import Command
from .jobs import Inputs, Invocation, Job
from .many.edit_options import cache_option, count_option, output_option, recursive_option, report_option, sheet_option
from .many.file_names import name_option
from .many.inputs import IMAGE_HELP, expand_inputs, image_argument
from .many.param_files import files_of_steps
from .many.variants import plan_variants, seeds_of_count
from .model_options import load_named_model, model_files, model_options
from .options import CompletedText, SeedsParam
from .outputs.options import output_options, replacing_options
from .previews import preview_option, progress
from .running import Execute, one_by_one, run_jobs

if TYPE_CHECKING:
    from ..editing.animation.request import AnimationRequest
    from ..editing.pipeline import Pipeline
    from ..editing.request import Request


def run_command() -> Command:
    """Return the ``run`` command."""
    pipeline = click.Argument(["pipeline"], metavar="PIPELINE.yaml", type=CompletedText())
    text = "Seed of every step that has none of its own.  0-3 or 0,5,9 gives a result for each."
    seed = click.Option(["--seed"], type=SeedsParam(), default=(), help=text)
    outputs = [output_option("run"), *output_options()]
    several = [recursive_option(), count_option(), name_option(), *replacing_options()]
    params = [
        seed,
        *several,
        *outputs,
        *model_options(),
        *animation_options(),
        report_option(),
        sheet_option(),
        preview_option(),
        cache_option(),
    ]
    return Command(
        "run",
        example="editkit run pipeline.yaml red-apple.png --seed 0 -o large.png",
        params=[pipeline, image_argument(), *params],
        callback=lambda **options: _run(options),
        help=f"Apply the steps of a pipeline file, one after another.\n\n{IMAGE_HELP}",
    )


def _run(options: Mapping[str, Any]) -> None:
    """Check the pipeline and every input, load the models, and apply the steps to every input."""
    from ..images.writing import IMAGE_SUFFIXES

    pipeline = _read_pipeline(options["pipeline"])
    seeds = seeds_of_count(options["count"], options["seed"])
    if seeds:
        # The bounds hold for all seeds if they hold for the largest.
        type(pipeline)([(name, {"seed": max(seeds), **params}) for name, params in pipeline.steps])
    inputs = expand_inputs(options["image"], recursive=options["recursive"])
    files = [options["pipeline"], *model_files(options), *files_of_steps(installed(), pipeline.steps)]
    names = [one.name for one in inputs]
    animated = AnimatedInputs.of(names, options, alone=("anchor", "batch"))
    invocation = Invocation.plan(
        options,
        "run",
        Inputs(
            inputs,
            into_folder=names != list(options["image"]),
            variants=plan_variants({"seed": seeds}),
            values=[{"seed": seeds[0]} if len(seeds) == 1 else {}] * len(names),
            animated=animated.suffixes,
        ),
        IMAGE_SUFFIXES,
        files,
    )

    def prepare_job(job: Job) -> tuple[Request | AnimationRequest, int | None]:
        seed = seeds[0] if len(seeds) == 1 else job.variant.settings.get("seed")
        way = pipeline.prepare_animation if job.name in animated.suffixes else pipeline.prepare
        return way(job.source, seed=seed), seed

    def start() -> Execute:
        models = [load_named_model(options, operation) for operation, _ in pipeline.steps]
        more = {"model": models, "progress": progress(invocation.preview), "cache": options["cache"]}
        return one_by_one(lambda prepared: animated.run_pipeline(pipeline, *prepared, **more))

    run_jobs(invocation, prepare_job, start)


def _read_pipeline(path: str) -> Pipeline:
    """Read a pipeline from a YAML file; raises BadFile if it cannot be read."""
    from ..editing.pipeline import Pipeline
    from ..images.sources import read_source

    try:
        return Pipeline.from_yaml(read_source(path, argument="pipeline").decode("utf-8-sig"))
    except (BadImage, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, BadImage) else f"pipeline {path!r} is not text: give a YAML file"
        raise BadFile(reason) from error
