"""The commands that produce images: one for every registered operation, and ``run``."""

from __future__ import annotations

import dataclasses as dc
import itertools
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from ..errors import BadFile, BadImage, PluginFailure
from ..inversion.settings import INVERSION_SUFFIXES, is_inversion
from ..registry.params import SEVERAL, Params, field_metadata, image_fields
from ..registry.registry import Registry
from ..registry.specs import OperationSpec
from ..sampling.params import DrawingParams
from .animations import AnimatedInputs, animation_options
from .errors import Command
from .jobs import Execute, Invocation, Job, Prepared, one_by_one, read_if_stdin
from .model_options import load_named_model, model_files, model_options
from .options import SeedsParam, parameters_of
from .outputs import progress
from .targets import existing_option, expand_folders, output_options

if TYPE_CHECKING:
    from ..editing.animation.request import AnimationRequest
    from ..editing.pipeline import Pipeline
    from ..editing.request import Request


BATCH = 16
"""Images that are edited together by default."""

_INVERSION_HELP = (
    "IMAGE may be an inversion, a .safetensors file of editkit invert: it is not inverted again, and its prompt is the "
    "source prompt. It sets the inverter, the steps and the other settings that it was made with, too."
)
_IMAGE_HELP = (
    "IMAGE is a file, or - for standard input. The model is loaded once for all images; with -o FOLDER the results "
    "have the names of the images."
)


def operation_command(registry: Registry, spec: OperationSpec) -> Command:
    """Return the command of a registered operation; raises PluginFailure if a parameter has the name of an option."""
    notes = [_IMAGE_HELP] if spec.takes == "image" else []
    notes += [_INVERSION_HELP] if spec.edits_inversion else []
    notes += [f"Source: {spec.source}"] if spec.source else []
    command = Command(
        spec.name,
        params=[*_input_arguments(spec), *parameters_of(spec.params, registry, several=True), *_common_options(spec)],
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
        return [click.Argument(["a"], metavar="A"), click.Argument(["b"], metavar="B")]
    if spec.takes == "inversion":
        return [click.Argument(["file"], metavar="FILE")]
    return [_image_argument()] if spec.takes == "image" else []


def _image_argument() -> click.Argument:
    return click.Argument(["image"], nargs=-1, required=True, metavar="IMAGE...")


def _common_options(spec: OperationSpec) -> list[click.Parameter]:
    """Return the options that all operations share, as far as they apply to this one."""
    options: list[click.Parameter] = [output_option(spec.name, spec.takes, spec.gives)]
    animated = spec.gives == "image" and spec.takes in ("image", "two images")
    options += [existing_option()] if spec.gives == "inversion" else output_options(animated=animated)
    options += [*model_options(), report_option()]
    if spec.takes == "image" and spec.gives == "image":
        options += animation_options()
    if spec.takes != "nothing" and spec.gives == "image":
        options.append(sheet_option())
    if "mask" in spec.params.model_fields:
        options.append(mask_option())
    if any(field_metadata(field).get("registry") == "inverters" for field in spec.params.model_fields.values()):
        options.append(cache_option())
    return options


def output_option(operation: str, takes: str = "image", gives: str = "image") -> click.Option:
    suffix = "safetensors" if gives == "inversion" else "png"
    default = f"{operation}.{suffix} here" if takes == "nothing" else f"NAME-{operation}.{suffix} next to the input"
    kinds = "a file or a folder" if gives == "inversion" else "a file, a folder, or - for standard output"
    text = f"Output: {kinds}.  [default: {default}, numbered if that exists]"
    return click.Option(["-o", "--output"], metavar="PATH", help=text)


def report_option() -> click.Option:
    text = "Print the report as one line of JSON per image instead of the path of the output."
    return click.Option(["--json"], is_flag=True, help=text)


def sheet_option() -> click.Option:
    return click.Option(["--sheet"], metavar="FILE", help="Also write a labelled image of before and after.")


def mask_option() -> click.Option:
    text = (
        "Also write the mask of the edit, painted or found: white where it changes the image. Of several results, a "
        "folder for the masks."
    )
    return click.Option(["--mask-out"], metavar="PATH", help=text)


def cache_option() -> click.Option:
    text = "Reuse cached inversions of the same image, and cache new ones.  [default: on]"
    return click.Option(["--cache/--no-cache"], default=True, help=text)


def _edit(registry: Registry, spec: OperationSpec, options: Mapping[str, Any]) -> None:
    """Check everything that needs no model, load the model, and apply the operation to every input."""
    from ..editing.request import validate_params

    values, image_files, seeds = _split_values(spec, options)
    given, other = _input_names(spec, options)
    # The file of an inversion has defaults of its own, so its parameters are validated after it is read.
    recorded = spec.takes == "inversion" or (spec.edits_inversion and all(map(is_inversion, given)))
    params = None if recorded else validate_params(registry, spec, values)
    names = expand_folders(given) if spec.takes == "image" else given
    if options.get("mask_out") is not None and not (image_files.get("mask") or values.get("auto_mask")):
        also = " or --auto-mask" if "auto_mask" in spec.params.model_fields else ""
        raise click.UsageError(f"--mask-out needs a mask: give --mask{also}")
    several = frozenset(name for name, kind in image_fields(spec.params).items() if kind == SEVERAL)
    for name, files in image_files.items():
        if name not in several:
            _check_one_or_each(name, files, names)
    animated = AnimatedInputs.of(spec, names, options)
    other_files = [*([other] if other else []), *itertools.chain(*image_files.values()), *model_files(options)]
    into_folder = names != given
    invocation = Invocation.plan(
        options,
        spec.name,
        names,
        _output_suffixes(spec),
        other_files,
        into_folder=into_folder,
        seeds=seeds,
        animated=animated.suffixes,
        batch=options.get("batch") or BATCH,
    )
    second = read_if_stdin(other)
    read = {name: [read_if_stdin(path, name) for path in files] for name, files in image_files.items()}
    edit = _Edit(registry, spec, options, values, params, read, several, second, animated, invocation)
    invocation.run(edit.prepare, edit.start)


@dc.dataclass(frozen=True)
class _Edit:
    """The edit of a command line, for each of its inputs."""

    registry: Registry
    spec: OperationSpec
    options: Mapping[str, Any]
    values: Mapping[str, Any]
    """Parameters of all results; those of an image or a seed are the first ones."""
    params: Params | None
    """The same, typed; None if a file decides the defaults."""
    images: Mapping[str, Sequence[Any]]
    """Images of the parameters, by name: one for all inputs, or one for each."""
    several: frozenset[str]
    """Parameters that take several images."""
    second: Any
    """Second input of an operation that takes two."""
    animated: AnimatedInputs
    invocation: Invocation

    def prepare(self, job: Job) -> Request | AnimationRequest:
        """Check the input of a job and open its images."""
        from ..editing.animation.request import open_animation_request
        from ..editing.request import open_request, prepare

        own, source, check = self._params_of(job), self._source_of(job), self.invocation.check_fits
        if own is None:
            return check(job, prepare(self.registry, self.spec.name, source, {**self.values, **self._own_values(job)}))
        if job.name in self.animated.suffixes:
            request = open_animation_request(self.registry, self.spec, own, source)
            return self.invocation.check_fits_animation(job, request)
        return check(job, open_request(self.registry, self.spec, own, source))

    def start(self) -> Execute:
        """Load the model and return the function that edits: one image as in Python, several in batches."""
        from ..editing.many.row import CheckedRow, EditRow
        from ..editing.many.rows import run_rows

        model = load_named_model(self.options, self.spec.name)
        more = {"progress": progress(), "cache": self.options.get("cache", True)}

        def edit_batches(jobs: Sequence[Prepared]) -> Generator[tuple[int, Any]]:
            rows = []
            for number, job in enumerate(one.job for one in jobs):
                row = EditRow(self.spec.name, self._source_of(job), {**self.values, **self._own_values(job)})
                rows.append(CheckedRow(number, row, self.spec, self._params_of(job), ""))
            batch = self.invocation.batch
            return run_rows(self.registry, rows, lambda *_: model, batch=batch, exact=True, **more)

        single = one_by_one(lambda request: self.animated.execute(request, self.registry, model, **more))
        return single if len(self.invocation.jobs) == 1 else self.animated.apart(edit_batches, single)

    def _source_of(self, job: Job) -> Any:
        return job.source if self.second is None else (job.source, self.second)

    def _own_values(self, job: Job) -> dict[str, Any]:
        """Return the parameters that a job does not share with all others."""
        seed = {} if job.seed is None else {"seed": job.seed}
        return seed | {
            name: files if name in self.several else files[job.number % len(files)]
            for name, files in self.images.items()
        }

    def _params_of(self, job: Job) -> Params | None:
        if self.params is None or (self.spec.edits_inversion and is_inversion(job.source)):
            return None
        return self.params.model_copy(update=self._own_values(job))


def _split_values(
    spec: OperationSpec, options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Sequence[str]], Sequence[int]]:
    """Return the parameters in the options for one result, the files of each image parameter, and all seeds."""
    values = {name: options[name] for name in spec.params.model_fields if options[name] is not None}
    images = {name: files for name in image_fields(spec.params) if (files := values.pop(name, ()))}
    seeds: Sequence[int] = ()
    if issubclass(spec.params, DrawingParams):
        seeds = values.pop("seed", ())
    # The bounds of the declaration hold for all seeds if they hold for the largest.
    first = {name: files[0] for name, files in images.items()} | ({"seed": max(seeds)} if seeds else {})
    return values | first, images, seeds


def _check_one_or_each(name: str, files: Sequence[str], images: Sequence[str]) -> None:
    """Raise UsageError unless an option is given once, or once for each image."""
    if len(files) not in (1, len(images)):
        count = f"once, or {len(images)} times" if len(images) > 1 else "once"
        raise click.UsageError(f"the option --{name.replace('_', '-')} is given {len(files)} times: give it {count}")


def _input_names(spec: OperationSpec, options: Mapping[str, Any]) -> tuple[list[str], str | None]:
    """Return the inputs as named on the command line, and the second image of an operation that takes two."""
    if spec.takes == "image":
        return list(options["image"]), None
    if spec.takes == "two images":
        return [options["a"]], options["b"]
    return [options["file"] if spec.takes == "inversion" else ""], None


def _output_suffixes(spec: OperationSpec) -> tuple[str, ...]:
    """Return the file suffixes that a result of an operation may have, the default first."""
    from ..images.writing import FRAMES_SUFFIXES, IMAGE_SUFFIXES

    if spec.gives == "inversion":
        return INVERSION_SUFFIXES
    return tuple(dict.fromkeys([*IMAGE_SUFFIXES, *FRAMES_SUFFIXES])) if spec.takes == "two images" else IMAGE_SUFFIXES


def run_command() -> Command:
    """Return the ``run`` command."""
    pipeline = click.Argument(["pipeline"], metavar="PIPELINE.yaml")
    text = "Seed of every step that has none of its own.  0-3 or 0,5,9 gives a result for each."
    seed = click.Option(["--seed"], type=SeedsParam(), default=(), help=text)
    outputs = [output_option("run"), *output_options()]
    params = [seed, *outputs, *model_options(), report_option(), sheet_option(), cache_option()]
    return Command(
        "run",
        params=[pipeline, _image_argument(), *params],
        callback=lambda **options: _run(options),
        help=f"Apply the steps of a pipeline file, one after another.\n\n{_IMAGE_HELP}",
    )


def _run(options: Mapping[str, Any]) -> None:
    """Check the pipeline and every input, load the models, and apply the steps to every input."""
    from ..images.writing import IMAGE_SUFFIXES

    pipeline, seeds = _read_pipeline(options["pipeline"]), options["seed"]
    if seeds:
        # The bounds hold for all seeds if they hold for the largest.
        type(pipeline)([(name, {"seed": max(seeds), **params}) for name, params in pipeline.steps])
    names, files = expand_folders(options["image"]), [options["pipeline"]]
    into_folder = names != list(options["image"])
    invocation = Invocation.plan(options, "run", names, IMAGE_SUFFIXES, files, into_folder=into_folder, seeds=seeds)

    def prepare_job(job: Job) -> tuple[Request, int | None]:
        seed = seeds[0] if len(seeds) == 1 else job.seed
        return pipeline.prepare(job.source, seed=seed), seed

    def start() -> Execute:
        models = [load_named_model(options, operation) for operation, _ in pipeline.steps]
        more = {"model": models, "progress": progress(), "cache": options["cache"]}
        return one_by_one(lambda prepared: pipeline.execute(prepared[0], seed=prepared[1], **more))

    invocation.run(prepare_job, start)


def _read_pipeline(path: str) -> Pipeline:
    """Read a pipeline from a YAML file; raises BadFile if it cannot be read."""
    from ..editing.pipeline import Pipeline
    from ..images.sources import read_source

    try:
        return Pipeline.from_yaml(read_source(path, argument="pipeline").decode("utf-8-sig"))
    except (BadImage, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, BadImage) else f"pipeline {path!r} is not text: give a YAML file"
        raise BadFile(reason) from error
