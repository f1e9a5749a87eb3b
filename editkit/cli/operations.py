"""The commands that make something: one for every registered operation, and ``run`` and ``replay``."""

from __future__ import annotations

import dataclasses as dc
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from ..errors import BadFile, BadImage, PluginFailure
from ..model.adapters import Adapter
from ..model.execution import ExecutionOptions
from ..registry.params import field_metadata, image_fields
from ..registry.registry import Registry
from ..registry.specs import OperationSpec
from .errors import Command
from .jobs import INVERSION, Invocation, Job, read_if_stdin
from .options import TypedParam, parameters_of
from .outputs import progress

if TYPE_CHECKING:
    from ..editing.pipeline import Pipeline
    from ..editing.request import Request
    from ..model.backend import Backend


IMAGES = (
    "IMAGE is a file, or - for standard input. Several are done with one loading of the model: with -o FOLDER the "
    "results are called like the images."
)


def operation_command(registry: Registry, spec: OperationSpec) -> Command:
    """The command of a registered operation; raises PluginFailure where a parameter takes the name of an option."""
    more = [IMAGES] if spec.takes == "image" else []
    more += [f"Source: {spec.source}"] if spec.source else []
    command = Command(
        spec.name,
        params=[*inputs_of(spec), *parameters_of(spec.params, registry), *common_options(spec)],
        callback=lambda **given: edit(registry, spec, given),
        help="\n\n".join([spec.summary, *more]),
    )
    names = Counter({"--help": 1, "--sheet": 1 if spec.takes == "nothing" or spec.gives == "inversion" else 0})
    names.update(name for param in command.params for name in {param.name, *param.opts, *param.secondary_opts} if name)
    for name, count in names.items():
        if count > 1:
            owner = registry.owners["operations", spec.name]
            raise PluginFailure(f"operation {spec.name!r} of plugin {owner}: its parameter {name!r} is taken")
    return command


def inputs_of(spec: OperationSpec) -> list[click.Parameter]:
    if spec.takes == "two images":
        return [click.Argument(["a"], metavar="A"), click.Argument(["b"], metavar="B")]
    if spec.takes == "inversion":
        return [click.Argument(["file"], metavar="FILE")]
    return [image_argument()] if spec.takes == "image" else []


def image_argument() -> click.Argument:
    return click.Argument(["image"], nargs=-1, required=True, metavar="IMAGE...")


def common_options(spec: OperationSpec) -> list[click.Parameter]:
    """What every such command takes, as far as it makes sense for this one."""
    options = [output_option(spec.name, spec.takes, spec.gives), *model_options(), json_option()]
    if spec.takes != "nothing" and spec.gives == "image":
        options.append(sheet_option())
    if any(field_metadata(field).get("registry") == "inverters" for field in spec.params.model_fields.values()):
        options.append(cache_option())
    return options


def output_option(operation: str, takes: str = "image", gives: str = "image") -> click.Option:
    ending = "safetensors" if gives == "inversion" else "png"
    usual = f"{operation}.{ending} here" if takes == "nothing" else f"NAME-{operation}.{ending} next to the input"
    kinds = "a file or a folder" if gives == "inversion" else "a file, a folder, or - for standard output"
    text = f"Where to write: {kinds}.  [default: {usual}, numbered where that is taken]"
    return click.Option(["-o", "--output"], metavar="PATH", help=text)


def model_option() -> click.Option:
    kinds = "A registered name, a diffusers folder, a checkpoint file, or a hub id org/name."
    text = f"{kinds}  [default: see 'editkit models']"
    return click.Option(["-m", "--model"], metavar="MODEL", help=text)


def adapter_option() -> click.Option:
    text = "A LoRA, at a scale of 1 where none is given, or learned words to add to the model. May be repeated."
    return click.Option(["--adapter"], metavar="FILE[:SCALE]", multiple=True, help=text)


def model_options() -> list[click.Parameter]:
    device = "Such as cpu or cuda:1.  [default: cuda where there is one, else cpu]"
    dtype = "float32, float16, bfloat16 or float64.  [default: float32]"
    more = [click.Option(["--device"], help=device), click.Option(["--dtype"], help=dtype)]
    ways = [
        click.Option([f"--{field.name}"], is_flag=True, help=field.metadata["help"])
        for field in dc.fields(ExecutionOptions)
    ]
    return [model_option(), adapter_option(), *more, *ways]


def load_named_model(given: Mapping[str, Any], operation: str) -> Backend:
    """The model that a command line names, or the usual one for an operation."""
    from ..model.loading import resolve_model

    how = ExecutionOptions(**{field.name: given[field.name] for field in dc.fields(ExecutionOptions)})
    return resolve_model(given["model"], given["device"], given["dtype"], given["adapter"], how, operation=operation)


def json_option() -> click.Option:
    text = "Print the report as one JSON object a line, in place of the output's path."
    return click.Option(["--json"], is_flag=True, help=text)


def sheet_option() -> click.Option:
    return click.Option(["--sheet"], metavar="FILE", help="Also write a labelled picture of before and after.")


def cache_option() -> click.Option:
    text = "Take up inversions made by earlier edits of the same picture, and keep new ones.  [default: on]"
    return click.Option(["--cache/--no-cache"], default=True, help=text)


def edit(registry: Registry, spec: OperationSpec, given: Mapping[str, Any]) -> None:
    """Check everything that needs no model, load it, and apply the operation to every input."""
    from ..editing.request import open_request, prepare, validate_params

    values = {name: given[name] for name in spec.params.model_fields if given[name] is not None}
    # An inversion brings defaults of its own: its parameters are complete once it is read.
    params = None if spec.takes == "inversion" else validate_params(registry, spec, values)
    names, other = input_names(spec, given)
    image_files = {name: values[name] for name in image_fields(spec.params) if name in values}
    more = [*([other] if other else []), *image_files.values(), *model_files(given)]
    call = Invocation.plan(given, spec.name, names, output_suffixes(spec), more)
    second = read_if_stdin(other)
    read = {name: read_if_stdin(path) for name, path in image_files.items()}

    def prepare_job(job: Job) -> Request:
        source = job.given if second is None else (job.given, second)
        if params is None:
            return prepare(registry, spec.name, source, values)
        return open_request(registry, spec, params.model_copy(update=read), source)

    def start() -> Callable[[Request], Any]:
        from ..editing.apply import execute

        model, cache = load_named_model(given, spec.name), given.get("cache", True)
        return lambda request: execute(registry, request, model, progress=progress(), cache=cache)

    call.run(prepare_job, start)


def model_files(given: Mapping[str, Any]) -> list[str]:
    """The files that a command line loads, or what may be one of them."""
    return [*filter(None, [given["model"]]), *(str(Adapter.parse(call).file) for call in given["adapter"])]


def input_names(spec: OperationSpec, given: Mapping[str, Any]) -> tuple[list[str], str | None]:
    """The inputs as the user called them, and the second picture where the operation takes two."""
    if spec.takes == "image":
        return list(given["image"]), None
    if spec.takes == "two images":
        return [given["a"]], given["b"]
    return [given["file"] if spec.takes == "inversion" else ""], None


def output_suffixes(spec: OperationSpec) -> tuple[str, ...]:
    """The file endings an operation's result may have, the usual one first."""
    from ..images.writing import ANIMATION_SUFFIXES, IMAGE_SUFFIXES

    if spec.gives == "inversion":
        return INVERSION
    return (
        tuple(dict.fromkeys([*IMAGE_SUFFIXES, *ANIMATION_SUFFIXES])) if spec.takes == "two images" else IMAGE_SUFFIXES
    )


def run_command() -> Command:
    pipeline = click.Argument(["pipeline"], metavar="PIPELINE.yaml")
    text = "Seed of every step that names none of its own."
    seed = click.Option(["--seed"], type=TypedParam(int, "INTEGER"), help=text)
    options = [seed, output_option("run"), *model_options(), json_option(), sheet_option(), cache_option()]
    return Command(
        "run",
        params=[pipeline, image_argument(), *options],
        callback=lambda **given: run(given),
        help=f"Apply the steps of a pipeline file, one after another.\n\n{IMAGES}",
    )


def run(given: Mapping[str, Any]) -> None:
    """Check the pipeline and every input, load the models, and apply the steps to every input."""
    from ..images.writing import IMAGE_SUFFIXES

    pipeline = read_pipeline(given["pipeline"], given["seed"])
    call = Invocation.plan(given, "run", given["image"], IMAGE_SUFFIXES, [given["pipeline"]])

    def start() -> Callable[[Request], Any]:
        models = [load_named_model(given, operation) for operation, _ in pipeline.steps]
        return lambda request: pipeline.execute(request, model=models, progress=progress(), cache=given["cache"])

    call.run(lambda job: pipeline.prepare(job.given), start)


def read_pipeline(path: str, seed: int | None) -> Pipeline:
    """The pipeline of a YAML file, checked with the seed in its steps; raises BadFile where it cannot be read."""
    from ..editing.pipeline import Pipeline
    from ..images.sources import read_source

    try:
        pipeline = Pipeline.from_yaml(read_source(path, argument="pipeline").decode("utf-8-sig"))
    except (BadImage, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, BadImage) else f"pipeline {path!r} is not text: give a YAML file"
        raise BadFile(reason) from error
    return pipeline if seed is None else Pipeline([(name, {"seed": seed, **params}) for name, params in pipeline.steps])


def replay_command() -> Command:
    file = click.Argument(["file"], metavar="FILE.png")
    common = [json_option(), sheet_option(), cache_option()]
    return Command(
        "replay",
        params=[file, output_option("replay"), model_option(), adapter_option(), *common],
        callback=lambda **given: replay(given),
        help="Make a picture again from the recipe in its file.",
    )


def replay(given: Mapping[str, Any]) -> None:
    """Read the recipe in a file, load its models, and make the image again."""
    from ..editing.recipe import read_recipe
    from ..images.writing import IMAGE_SUFFIXES

    def start() -> Callable[[str | bytes], Any]:
        from ..editing.replay import replay

        made_by = {"model": given["model"], "adapters": given["adapter"]}
        return lambda file: replay(file, progress=progress(), cache=given["cache"], **made_by)

    def check(job: Job) -> str | bytes:
        read_recipe(job.given)
        file: str | bytes = job.given
        return file

    call = Invocation.plan(given, "replay", [given["file"]], IMAGE_SUFFIXES)
    call.run(check, start)
