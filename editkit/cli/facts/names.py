"""The commands that list and describe what plugins register, each computed from the specs."""

from __future__ import annotations

import dataclasses as dc
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

import click

from ...files.paths import exists
from ...literals import Prediction
from ...registry.params import fields_of, shorten
from ...registry.registry import Registry, installed
from ...registry.specs import Spec
from ..errors import Command
from ..options import CompletedText, details_of, left_to_model, metavar_of
from ..outputs.printing import json_option, json_text
from .citations import papers_of
from .examples import example_of

LISTED = {
    "inverters": "List the inverters, or describe one: methods from an image to noise, for --inverter.",
    "samplers": "List the samplers, or describe one: methods from noise to an image, for --sampler.",
    "controls": "List the controls, or describe one: they steer any operation that samples, by --attach.",
    "annotators": "List the annotators, or describe one: functions from an image to edges, depth, ..., for --kind.",
    "segmenters": "List the segmenters, or describe one: they find masks by words or points, for --segmenter.",
    "captioners": "List the captioners, or describe one: functions from an image to a prompt, for --captioner.",
    "accelerators": "List the accelerators of networks, or describe one: other libraries than torch, for --accelerate.",
    "engines": "List the engines of batches, or describe one: processes or machines, for batch --engine.",
}
"""Kinds of names that have a command of their own, with its help."""

_EXAMPLES = {
    **{"inverters": "edict", "samplers": "ddim", "controls": "prompt-to-prompt", "annotators": "edge"},
    **{"accelerators": "openvino", "segmenters": "sam", "captioners": "transformers", "engines": "local"},
}

_DESCRIBED = ("operations", "commands", *LISTED, "datasets", "controlnets")
"""Kinds of names that ``describe`` finds, beside models."""

_TITLES = {
    "calls_per_step": "network calls a step",
    "exact": "exact",
    "order": "order",
    "stochastic": "samples noise",
    "devices": "devices",
    "dtypes": "precisions",
    "replaces_sampler": "replaces the sampler",
    "predictions": "predictions",
    "needs": "needs",
    "needs_mask": "needs a mask",
    "reads": "reads",
    "takes": "takes",
    "gives": "gives",
    "models": "models",
    "annotators": "annotators",
    "licence": "licence",
}
"""Titles of the fields of specs that tables and descriptions show."""

_NOT_IN_TABLES = frozenset({"takes", "gives", "licence"})


def name_commands() -> list[Command]:
    """Return a command for each kind of names that an option takes."""
    return [_names_command(kind, text) for kind, text in LISTED.items()]


def _names_command(kind: str, text: str) -> Command:
    return Command(
        kind,
        example=f"editkit {kind} {_EXAMPLES[kind]} --json",
        params=[click.Argument(["name"], required=False, type=CompletedText(None, [kind])), json_option()],
        callback=lambda name, as_json: _print_names(kind, name, as_json),
        reads_only=True,
        help=text,
    )


def _print_names(kind: str, name: str | None, as_json: bool) -> None:
    """Print the table of a kind, or the description of one name."""
    registry = installed()
    if name is not None:
        _print_descriptions(registry, [(kind, registry.spec(kind, name))], as_json)
        return
    specs = [registry.specs[kind][name] for name in sorted(registry.specs[kind])]
    if as_json:
        click.echo(json_text({kind: [facts_of(registry, kind, spec) for spec in specs]}))
        return
    for line in _aligned([_table_row(kind, spec) for spec in specs]):
        click.echo(line)
    if specs:
        click.echo(f"'editkit {kind} NAME' describes one with its options.", err=True)


def describe_command() -> Command:
    """Return the ``describe`` command."""
    size = (
        "Also measure the memory of decoding an image of this size by a model, and of a call of a U-Net; nothing is "
        "computed."
    )
    return Command(
        "describe",
        example="editkit describe prompt-edit",
        params=[
            click.Argument(["name"], type=CompletedText(names=[*_DESCRIBED, "models"])),
            click.Option(["--size"], metavar="WIDTHxHEIGHT", help=size),
            json_option(),
        ],
        callback=_describe,
        reads_only=True,
        help="Describe a model, an operation, an inverter, or whatever else has a name.\n\nA model is a registered "
        "name, a folder, a checkpoint file or a hub id: what it can do, its sizes, and the memory that it needs.",
    )


def _describe(name: str, size: str | None, as_json: bool) -> None:
    registry = installed()
    found = registry.specs_of(name, _DESCRIBED)
    if found:
        if size is not None:
            raise click.UsageError(f"--size is for models, and {name!r} is none: leave it out")
        _print_descriptions(registry, found, as_json)
        return
    from .models import describe_model

    if name not in registry.specs["models"] and "/" not in name and not exists(name):
        reason = f"{shorten(name)} is no registered name, no folder, no file and no hub id org/name"
        raise registry.unknown_name(name, reason, (*_DESCRIBED, "models"))
    description = describe_model(name, None if size is None else _parse_size(size))
    click.echo(json_text(description.as_dict()) if as_json else description.text())


def _parse_size(text: str) -> tuple[int, int]:
    """Return width and height; raises UsageError for another text."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})[x*]([1-9][0-9]{0,5})", text.lower().replace(" ", ""))
    if match is None:
        raise click.UsageError(f"--size {text!r} is not allowed: write WIDTHxHEIGHT, as in 1024x768")
    return int(match[1]), int(match[2])


def _print_descriptions(registry: Registry, found: Sequence[tuple[str, Spec]], as_json: bool) -> None:
    if as_json:
        entries = [{"kind": kind[:-1], **facts_of(registry, kind, spec)} for kind, spec in found]
        click.echo(json_text(entries[0] if len(entries) == 1 else {"entries": entries}))
        return
    click.echo("\n\n".join("\n".join(_lines(registry, kind, spec)) for kind, spec in found))


def facts_of(registry: Registry, kind: str, spec: Spec) -> dict[str, Any]:
    """Return what the spec of a kind declares, its parameters, the model families that serve it and an example."""
    declared = {field.name: _plain(getattr(spec, field.name)) for field in dc.fields(spec) if field.name in _TITLES}
    families, paper = families_of(registry, spec), papers_of(registry).get(spec.source)
    return {
        "name": spec.name,
        "summary": spec.summary,
        "source": spec.source or None,
        "paper": dc.asdict(paper) if paper is not None else None,
        "plugin": registry.owners[kind, spec.name].name,
        **declared,
        **({} if families is None else {"families": families}),
        "parameters": [_parameter(registry, spec, name) for name in fields_of(spec.params)],
        "example": example_of(registry, kind, spec),
    }


def families_of(registry: Registry, spec: Spec) -> list[str] | None:
    """Return the backends whose models have what a spec needs; None for a kind that no model concerns."""
    needs = getattr(spec, "needs", frozenset({"text"}) if getattr(spec, "sets_negative_prompt", False) else None)
    if needs is None and not hasattr(spec, "predictions"):
        return None
    backends = registry.specs["backends"].values()
    return sorted(backend.name for backend in backends if (needs or frozenset()) <= backend.provides)


def _parameter(registry: Registry, spec: Spec, name: str) -> dict[str, Any]:
    field = spec.params.model_fields[name]
    default = None if field.is_required() else field.get_default(call_default_factory=True, validated_data={})
    return {
        "name": name,
        "type": metavar_of(field),
        "required": field.is_required(),
        "default": _plain(default),
        "allowed": details_of(field, registry, from_model=name in left_to_model(spec.params)).strip().strip("[]"),
        "meaning": field.description or "",
    }


def _plain(value: Any) -> Any:
    """Return a value of a spec as JSON has it."""
    if isinstance(value, (frozenset, set)):
        return sorted(value)
    return list(value) if isinstance(value, tuple) else value


def _table_row(kind: str, spec: Spec) -> dict[str, str]:
    """Return the cells of one name by column."""
    fields = [field.name for field in dc.fields(spec) if field.name in _TITLES and field.name not in _NOT_IN_TABLES]
    cells = {_TITLES[name]: _cell(name, getattr(spec, name)) for name in fields}
    options = ", ".join(spec.params.model_fields)
    return {kind[:-1]: spec.name, **cells, "options": options, "summary": spec.summary}


def _cell(name: str, value: Any) -> str:
    if name == "predictions":
        return "all" if value == frozenset(get_args(Prediction)) else ", ".join(sorted(value))
    if isinstance(value, bool):
        return "yes" if value else ""
    return ", ".join(sorted(value)) if isinstance(value, frozenset) else str(value)


def _aligned(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Yield rows as lines of columns, below their titles, without columns that are empty in every row."""
    if not rows:
        return
    columns = [name for name in rows[0] if any(row[name] for row in rows)]
    lines = [columns, *([row[name] for name in columns] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _lines(registry: Registry, kind: str, spec: Spec) -> Iterator[str]:
    """Yield the description of one name."""
    facts = facts_of(registry, kind, spec)
    yield f"{spec.name}: {kind[:-1]} of plugin {registry.owners[kind, spec.name]}"
    yield f"    {spec.summary}"
    if spec.source:
        paper = facts["paper"]
        yield from _wrapped(f"paper: {paper['title']}, {paper['authors']}, {paper['year']}", 4) if paper else ()
        yield f"    source: {spec.source}"
    for field in dc.fields(spec):
        text = _cell(field.name, getattr(spec, field.name)) if field.name in _TITLES else ""
        if text:
            yield f"    {_TITLES[field.name]}: {text}"
    if "families" in facts:
        yield from _wrapped(f"model families: {', '.join(facts['families']) or 'none'}", 4)
    if facts["parameters"]:
        yield "    options:"
    for one in facts["parameters"]:
        allowed = f" [{one['allowed']}]" if one["allowed"] else ""
        yield from _wrapped(f"{one['name']}: {one['meaning']}{allowed}", 8)
    if facts["example"]:
        yield f"    example: {facts['example']}"


def _wrapped(text: str, indent: int) -> list[str]:
    inner = " " * (indent + 4)
    return textwrap.wrap(text, 110, initial_indent=" " * indent, subsequent_indent=inner, break_on_hyphens=False)
