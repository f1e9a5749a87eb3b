"""The command ``cite``: BibTeX of editkit and of the methods that made an image, computed from specs and its recipe."""

from __future__ import annotations

import dataclasses as dc
import importlib.metadata
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
from pydantic.fields import FieldInfo

from ...files.paths import exists
from ...inversion.settings import INVERSION_SUFFIXES
from ...model.files.folders import read_index
from ...model.finding import family_of_class
from ...registry.params import field_metadata, is_default, shorten
from ...registry.registry import KINDS, OWN_DISTRIBUTION, Registry, installed
from ...registry.specs import Paper
from ..errors import Command
from ..options import CompletedText
from ..outputs.printing import json_option, json_text

_ARXIV = re.compile(r"arxiv\.org/abs/([\w.-]+)")
_DOI = re.compile(r"doi\.org/(\S+)")
_MENTIONED = re.compile(r"arXiv (\d{4}\.\d{4,5})")


@dc.dataclass(frozen=True)
class Citation:
    """One entry of a bibliography."""

    key: str
    fields: dict[str, str]
    used_for: tuple[str, ...]
    """Methods that it describes."""

    def bibtex(self) -> str:
        """Return the entry, below a comment with its methods."""
        lines = [f"% {', '.join(self.used_for)}", f"@misc{{{self.key},"]
        return "\n".join([*lines, *(f"  {name} = {{{value}}}," for name, value in self.fields.items()), "}"])


def cite_command() -> Command:
    """Return the ``cite`` command."""
    return Command(
        "cite",
        params=[
            click.Argument(["what"], nargs=-1, required=True, metavar="FILE|NAME...", type=CompletedText(names=KINDS)),
            json_option(),
        ],
        callback=_cite,
        reads_only=True,
        example="editkit cite green.png",
        help="Print BibTeX of editkit and of the papers of all methods that made an image, with its models and their "
        "licences.\n\nFILE is an image or an inversion that editkit saved; NAME is a registered name, such as edict.",
    )


def _cite(what: tuple[str, ...], as_json: bool) -> None:
    """Print the entries of editkit and of all methods."""
    registry = installed()
    used = Used()
    for name in what:
        if exists(name):
            _add_file(registry, used, name)
        else:
            _add_name(registry, used, name)
    citations = [own_citation(), *citations_of(registry, used)]
    if as_json:
        entries = [{"key": one.key, **one.fields, "used_for": list(one.used_for)} for one in citations]
        click.echo(json_text({"entries": entries, "notes": list(dict.fromkeys(used.notes))}))
        return
    notes = [f"% {note}" for note in dict.fromkeys(used.notes)]
    click.echo("\n\n".join([*(["\n".join(notes)] if notes else []), *(one.bibtex() for one in citations)]))


@dc.dataclass
class Used:
    """Methods by the address of their paper, and notes about models."""

    methods: dict[str, list[str]] = dc.field(default_factory=dict)
    notes: list[str] = dc.field(default_factory=list)

    def add(self, source: str, text: str) -> None:
        """Add a method, unless it has no address of a paper or page."""
        if source.startswith("https://"):
            texts = self.methods.setdefault(source, [])
            texts += [text] if text not in texts else []


def _add_name(registry: Registry, used: Used, name: str) -> None:
    """Add whatever is registered by a name; raises UnknownName."""
    found = registry.specs_of(name, KINDS)
    if not found:
        raise registry.unknown_name(name, f"{shorten(name)} is no file and no registered name", KINDS)
    for kind, spec in found:
        used.add(spec.source, f"{kind[:-1]} {name}")


def _add_file(registry: Registry, used: Used, name: str) -> None:
    """Add the methods and models of the recipe in an image, or of an inversion."""
    if name.lower().endswith(INVERSION_SUFFIXES):
        from ...inversion.inversion_file import read_header

        header = read_header(name)
        params = header.get("params")
        _add_model(registry, used, str(header.get("model")))
        _add_step(
            registry, used, "invert", {**(params if isinstance(params, dict) else {}), "method": header.get("method")}
        )
        return
    from ...editing.recipe import read_recipe

    recipe, _ = read_recipe(name)
    for step in recipe.steps:
        _add_model(registry, used, step.drawn_by.model)
        _add_step(registry, used, step.operation, step.params)


def _add_step(registry: Registry, used: Used, operation: str, params: Mapping[str, Any]) -> None:
    """Add an operation, the registered names in its parameters, and papers that descriptions of parameters name."""
    spec = registry.specs["operations"].get(operation)
    if spec is None:
        used.notes.append(f"operation {operation}: not installed here, so its paper is missing")
        return
    used.add(spec.source, f"operation {operation}")
    fields = spec.params.model_fields
    named = [one for name, value in params.items() if name in fields for one in _names(fields[name], value)]
    methods = [(kind, registry.specs[kind].get(call.partition(":")[0]), call) for kind, call in named]
    without_sampler = any(getattr(method, "replaces_sampler", False) for _, method, _ in methods)
    for kind, method, call in methods:
        if method is None:
            used.notes.append(f"{kind[:-1]} {shorten(call)}: not installed here, so its paper is missing")
        elif not (kind == "samplers" and without_sampler):
            used.add(method.source, f"{kind[:-1]} {method.name}")
    for name, value in params.items():
        if name in fields and not is_default(fields[name], value):
            for number in _MENTIONED.findall(fields[name].description or ""):
                used.add(f"https://arxiv.org/abs/{number}", f"parameter {name}")


def _names(field: FieldInfo, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the kind and the call of each registered name in the value of a field."""
    kind = field_metadata(field).get("registry")
    if kind and value is not None:
        yield from ((kind, str(call)) for call in ([value] if isinstance(value, str) else value))


def _add_model(registry: Registry, used: Used, name: str) -> None:
    """Note the licence of a model, and add the paper of its family if it is registered, which is here."""
    spec = registry.specs["models"].get(name)
    if spec is not None:
        folder = registry.load("models", name)
        family = family_of_class(registry, str(read_index(folder).get("_class_name")), f"model {name}")
        used.add(family.source, f"model family {family.name}")
    licence = spec.licence if spec is not None else ""
    used.notes.append(f"model {name}: licence {licence or 'unknown here, see its model card'}")


def citations_of(registry: Registry, used: Used) -> Iterator[Citation]:
    """Yield an entry for each paper, with its title and authors if a registered method has them."""
    papers = papers_of(registry)
    for source, methods in used.methods.items():
        yield _citation(source, papers.get(source), methods)


def papers_of(registry: Registry) -> dict[str, Paper]:
    """Return the papers of all specs by their addresses."""
    specs = [spec for kind in KINDS for spec in registry.specs[kind].values()]
    return {spec.source: spec.paper for spec in specs if spec.paper is not None}


def _citation(source: str, paper: Paper | None, methods: Sequence[str]) -> Citation:
    fields = {} if paper is None else {"title": paper.title, "author": paper.authors, "year": str(paper.year)}
    arxiv, doi = _ARXIV.search(source), _DOI.search(source)
    if arxiv:
        fields |= {"eprint": arxiv[1], "archivePrefix": "arXiv"}
    elif doi:
        fields |= {"doi": doi[1]}
    return Citation(_key(source, paper), {**fields, "url": source}, tuple(methods))


def _key(source: str, paper: Paper | None) -> str:
    """Return the name of the first author, the year and the first word of the title, or the end of the address."""
    if paper is None:
        return re.sub(r"[^\w.-]", "", source.rpartition("/")[2]) or OWN_DISTRIBUTION
    author = paper.authors.partition(" and ")[0].strip("{}").split()[-1]
    words = paper.title.split()
    word = re.sub(r"\W", "", next((word for word in words if len(word) > 3), words[0]))
    return f"{author}{paper.year}{word}".lower()


def own_citation() -> Citation:
    """Return the entry of editkit, by the metadata of its package."""
    about = importlib.metadata.metadata(OWN_DISTRIBUTION)
    fields = {
        "title": f"editkit: {about['Summary'].rstrip('.')}",
        "author": "{The editkit authors}",
        "note": f"Version {about['Version']}, licence {about['License-Expression']}",
    }
    return Citation(OWN_DISTRIBUTION, fields, ("editkit itself",))
