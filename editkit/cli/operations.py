"""The commands that produce images: one for every registered operation, and ``run``."""

from __future__ import annotations

import dataclasses as dc
import itertools
import secrets
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import click

from ..errors import BadImage, PluginFailure
from ..files.paths import exists
from ..inversion.settings import INVERSION_SUFFIXES, is_inversion
from ..registry.params import Params, field_metadata
from ..registry.registry import Registry
from ..registry.specs import OperationSpec
from .animations import AnimatedInputs, animation_options
from .errors import Command
from .facts.examples import usage_of
from .jobs import Inputs, Invocation, Job, read_if_stdin
from .many.edit_options import cache_option, mask_option, options_of_several, output_option, report_option, sheet_option
from .many.file_names import fields_of
from .many.given_values import GivenValues, params_of_several
from .many.help_groups import headings_of
from .many.inputs import IMAGE_HELP, Input, expand_inputs, image_argument
from .many.masks import count_masks
from .many.param_files import files_of
from .many.variants import SEED_END, Variant, plan_variants
from .model_options import load_named_model, model_files, model_options
from .options import CompletedText, left_to_model, parameters_of
from .outputs.options import existing_option, output_options
from .outputs.plan import STREAM
from .previews import preview_option, progress
from .running import Execute, Prepared, one_by_one, run_jobs
from .settings import without_settings

if TYPE_CHECKING:
    from ..editing.animation.request import AnimationRequest
    from ..editing.request import Request


BATCH = 16
"""Images that are edited together by default."""

_INVERSION_HELP = (
    "IMAGE may be an inversion, a .safetensors file of editkit invert: it is not inverted again, and its prompt is the "
    "source prompt. It sets the inverter, the steps and the other settings that it was made with, too."
)
_FILE_HELP = "FILE is an inversion, a .safetensors file of editkit invert, or - for standard input."
_LISTS_HELP = (
    "Numbers, choices and seeds may be lists (--strength 0.4,0.6 --seed 0-3), and texts may be repeated: each image "
    "gets a result for every combination, and --sheet shows all of them."
)


def operation_command(registry: Registry, spec: OperationSpec) -> Command:
    """Return the command of a registered operation; raises PluginFailure if a parameter has the name of an option."""
    notes = [IMAGE_HELP] if spec.takes == "image" else []
    notes += [_FILE_HELP] if spec.takes == "inversion" else []
    notes += [_INVERSION_HELP] if spec.edits_inversion else []
    notes += [_LISTS_HELP]
    notes += [f"Source: {spec.source}"] if spec.source else []
    command = Command(
        spec.name,
        params=[*_input_arguments(spec), *parameters_of(spec.params, registry, several=True), *_common_options(spec)],
        headings=headings_of(spec.params),
        example=usage_of(spec),
        callback=lambda **options: _edit(registry, spec, options),
        help="\n\n".join([spec.summary, *notes]),
    )
    names = Counter({"--help": 1, "--sheet": 1 if spec.takes == "nothing" or spec.gives == "inversion" else 0})
    names.update(name for param in command.params for name in {param.name, *param.opts, *param.secondary_opts} if name)
    for name, count in names.items():
        if count > 1:
            owner = registry.owners["operations", spec.name]
            raise PluginFailure(f"operation {spec.name!r} of plugin {owner}: its parameter {name!r} is taken")
    return command


def _input_arguments(spec: OperationSpec) -> list[click.Parameter]:
    if spec.takes == "two images":
        return [
            click.Argument(["a"], metavar="A", type=CompletedText()),
            click.Argument(["b"], metavar="B", type=CompletedText()),
        ]
    if spec.takes == "inversion":
        return [click.Argument(["file"], metavar="FILE", type=CompletedText())]
    return [image_argument()] if spec.takes == "image" else []


def _common_options(spec: OperationSpec) -> list[click.Parameter]:
    """Return the options that all operations share, as far as they apply to this one."""
    options: list[click.Parameter] = [output_option(spec.name, spec.takes, spec.gives)]
    animated = spec.gives == "image" and spec.takes in ("image", "two images")
    options += [existing_option()] if spec.gives == "inversion" else output_options(animated=animated)
    options += [*model_options(), report_option(), preview_option()]
    if spec.takes == "image" and spec.gives == "image":
        options += animation_options()
    if spec.takes != "nothing" and spec.gives == "image":
        options.append(sheet_option())
    if "mask" in spec.params.model_fields:
        options.append(mask_option())
    options += options_of_several(spec)
    if any(field_metadata(field).get("registry") == "inverters" for field in spec.params.model_fields.values()):
        options.append(cache_option())
    return options


def _edit(registry: Registry, spec: OperationSpec, options: Mapping[str, Any]) -> None:
    """Check everything that needs no model, load the model, and apply the operation to every input."""
    from ..editing.animation.request import takes_animations

    names, other = _input_names(spec, options)
    # The file of an inversion has defaults of its own, so its parameters are validated after it is read.
    recorded = spec.takes == "inversion" or (spec.edits_inversion and all(map(is_inversion, names)))
    recorded |= spec.edits_inversion and names == [STREAM] and _lacks_source(spec, options)
    options = without_settings(options, spec.params.model_fields) if recorded else options
    recursive = options.get("recursive", False)
    inputs = expand_inputs(names, recursive=recursive) if spec.takes == "image" else [Input(name) for name in names]
    given = GivenValues.of(spec, options, inputs)
    variants, values = plan_variants(given.listed), given.first
    params = None if recorded else _validate_variants(registry, spec, given, variants, options.get("accelerate"))
    given.check_images(spec, inputs)
    animated = AnimatedInputs.of([one.name for one in inputs] if takes_animations(spec) else (), options)
    masks = count_masks(registry, spec, options, {**values, **given.images}, animated=bool(animated.suffixes))
    other_files = [*([other] if other else []), *itertools.chain(*given.images.values()), *model_files(options)]
    other_files += filter(None, [options.get("prompt_file")])
    other_files += files_of(registry, spec.params, values)
    if options.get("name") and "seed" in fields_of(options["name"]) and values.get("seed") is None:
        values["seed"] = secrets.randbelow(SEED_END)
        params = params and {key: one.model_copy(update={"seed": values["seed"]}) for key, one in params.items()}
    known = _known_values(next(iter(params.values()))) if params else values
    prompts = [{name: one[number] for name, one in given.prompts.items()} for number in range(len(inputs))]
    invocation = Invocation.plan(
        options,
        spec.name,
        Inputs(
            inputs,
            into_folder=[one.name for one in inputs] != names,
            variants=variants,
            values=[{**known, **own} for own in prompts],
            animated=animated.suffixes,
        ),
        _output_suffixes(spec),
        other_files,
        batch=options.get("batch") or BATCH,
        masks=masks,
    )
    second = None if other is None else read_if_stdin(other)
    images = {name: [read_if_stdin(path, name) for path in files] for name, files in given.images.items()}
    edit = _Edit(registry, spec, options, values, params, {**images, **given.prompts}, second, animated, invocation)
    run_jobs(invocation, edit.prepare, edit.start)


def _lacks_source(spec: OperationSpec, options: Mapping[str, Any]) -> bool:
    """Return whether the source prompt is missing, as it may be for an inversion from standard input."""
    return spec.params.model_fields["source"].is_required() and not options["source"]


@dc.dataclass(frozen=True)
class _Edit:
    """The edit of a command line, for each of its inputs."""

    registry: Registry
    spec: OperationSpec
    options: Mapping[str, Any]
    values: Mapping[str, Any]
    """Parameters of all results; those of an image or a seed are the first ones."""
    params: Mapping[Any, Params] | None
    """The same, typed, by the settings of a variant; None if a file decides the defaults."""
    each: Mapping[str, Sequence[Any]]
    """Images and prompts, by the name of their parameter: one for all inputs, or one for each."""
    second: Any
    """Second input of an operation that takes two."""
    animated: AnimatedInputs
    invocation: Invocation

    def prepare(self, job: Job) -> Request | AnimationRequest:
        """Check the input of a job and open its images."""
        from ..editing.animation.request import open_animation_request
        from ..editing.request import open_request, prepare
        from ..images.animation.reading import animation_suffix

        if job.name == STREAM and animation_suffix(job.source):
            raise BadImage("standard input holds an animation: give its file by name, to edit all of its frames")
        own, source, check = self._params_of(job), self._source_of(job), self.invocation.check_fits
        if own is None:
            return check(job, prepare(self.registry, self.spec.name, source, {**self.values, **self._own_values(job)}))
        if job.name in self.animated.suffixes:
            request = open_animation_request(self.registry, self.spec, own, source)
            return self.invocation.check_fits_animation(job, request)
        return check(job, open_request(self.registry, self.spec, own, source))

    def start(self) -> Execute:
        """Load the model and return the function that edits: one image as in Python, several in batches."""
        model = load_named_model(self.options, self.spec.name)
        from ..editing.many.row import CheckedRow, EditRow
        from ..editing.many.rows import run_rows

        more = {"progress": progress(self.invocation.preview), "cache": self.options.get("cache", True)}

        def edit_batches(jobs: Sequence[Prepared]) -> Generator[tuple[int, Any]]:
            rows = []
            for number, job in enumerate(one.job for one in jobs):
                row = EditRow(self.spec.name, self._source_of(job), {**self.values, **self._own_values(job)})
                rows.append(CheckedRow(number, row, self.spec, self._params_of(job), ""))
            batch, exact = self.invocation.batch, self.options["exact"]
            return run_rows(self.registry, rows, lambda *_: model, batch=batch, exact=exact, **more)

        single = one_by_one(lambda request: self.animated.execute(request, self.registry, model, **more))
        return single if len(self.invocation.jobs) == 1 else self.animated.apart(edit_batches, single)

    def _source_of(self, job: Job) -> Any:
        return job.source if self.second is None else (job.source, self.second)

    def _own_values(self, job: Job) -> dict[str, Any]:
        """Return the parameters that a job does not share with all others."""
        several = params_of_several(self.spec)
        own = {
            name: values if name in several else values[job.number % len(values)] for name, values in self.each.items()
        }
        return own | dict(job.variant.settings)

    def _params_of(self, job: Job) -> Params | None:
        if self.params is None or (self.spec.edits_inversion and is_inversion(job.source)):
            return None
        return self.params[job.variant.shared].model_copy(update=self._own_values(job))


def _known_values(params: Params) -> dict[str, Any]:
    """Return the parameters for names of files; None for those about which the model, which is not loaded, decides."""
    undecided = {"guidance", *left_to_model(type(params))} - params.model_fields_set
    return {name: None if name in undecided else value for name, value in params.model_dump().items()}


def _validate_variants(
    registry: Registry, spec: OperationSpec, given: GivenValues, variants: Sequence[Variant], accelerator: str | None
) -> dict[Any, Params]:
    """Return the typed parameters by the settings of a variant; raises an EditkitError for one that is not allowed."""
    from ..editing.validation import check_accelerated, validate_params

    values = given.first | {name: files[0] for name, files in given.images.items()}
    if "seed" in given.listed:  # the bounds of the declaration hold for all seeds if they hold for the largest
        values["seed"] = max(given.listed["seed"])
    typed = {
        shared: validate_params(registry, spec, {**values, **dict(shared)})
        for shared in dict.fromkeys(variant.shared for variant in variants)
    }
    for params in typed.values():
        check_accelerated(spec, params, accelerator)
    return typed


def _input_names(spec: OperationSpec, options: Mapping[str, Any]) -> tuple[list[str], str | None]:
    """Return the inputs as named on the command line, and the second image of an operation that takes two."""
    if spec.takes == "image":
        _check_texts(spec, options)
        return list(options["image"]), None
    if spec.takes == "two images":
        return [options["a"]], options["b"]
    return [options["file"] if spec.takes == "inversion" else ""], None


def _check_texts(spec: OperationSpec, options: Mapping[str, Any]) -> None:
    """Raise UsageError if the text that follows the images is the name of a file, as it is if it was left out.

    A word may be the name of a file or a folder too, so the name has to have a suffix.
    """
    for name, field in spec.params.model_fields.items():
        if field_metadata(field).get("argument") and PurePath(options[name]).suffix and exists(options[name]):
            raise click.UsageError(
                f"{name.upper()} {options[name]!r} is the name of a file: the {name} is missing; write it last"
            )


def _output_suffixes(spec: OperationSpec) -> tuple[str, ...]:
    """Return the file suffixes that a result of an operation may have, the default first."""
    from ..images.writing import FRAMES_SUFFIXES, IMAGE_SUFFIXES

    if spec.gives == "inversion":
        return INVERSION_SUFFIXES
    return tuple(dict.fromkeys([*IMAGE_SUFFIXES, *FRAMES_SUFFIXES])) if spec.takes == "two images" else IMAGE_SUFFIXES
