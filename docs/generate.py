"""Write the reference pages from the registry and the source.

python docs/generate.py           write docs/reference/*.md and editkit/ops.pyi, the types of the operations
python docs/generate.py --check   exit with 1 if a file differs from the one that would be written
"""

from __future__ import annotations

import ast
import copy
import dataclasses as dc
import importlib.metadata
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from pydantic.fields import FieldInfo

import editkit.errors
from editkit import cli
from editkit.cli.operations import operation_command
from editkit.cli.options import details_of, left_to_model
from editkit.cli.tables import measuring_command
from editkit.registry.params import Params
from editkit.registry.registry import KINDS, Registry, discover
from editkit.registry.specs import Spec

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

from stub import operations_stub  # noqa: E402 (the path above finds it)

PACKAGE = DOCS.parent / "editkit"
REFERENCE = DOCS / "reference"
STUB = PACKAGE / "ops.pyi"
FAMILIES = DOCS.parent / "tests" / "families" / "results.json"
ATTENTION = FAMILIES.with_name("attention.json")
NOTICE = "<!-- Written by docs/generate.py. Do not edit. -->"
WIDTH = 100
"""Columns of the help texts."""
SPECS: tuple[type[Spec], ...] = (Spec, *KINDS.values())
OPERATIONS = (
    "Every [operation](operations.md) is a function with its image, its parameters and the arguments of "
    "`editkit.apply`, and returns a `Result`, or an `Inversion`: `editkit.img2img(image, prompt=...)`. Those of other "
    "packages are `editkit.ops.NAME`. Their types are in `ops.pyi`:"
)
INPUTS = {"nothing": "no image", "image": "an image", "two images": "two images", "inversion": "an inversion"}


def own_registry() -> Registry:
    """Return the registry of editkit's own plugins, whatever else is installed."""
    points = importlib.metadata.entry_points(group="editkit")
    registry = discover([point for point in points if point.dist is not None and point.dist.name == "editkit"])
    if registry.failures:
        raise SystemExit(f"plugins failed to load: {'; '.join(map(str, registry.failures))}")
    return registry


# Markdown


def page(title: str, *blocks: str) -> str:
    return "\n\n".join([f"# {title}", NOTICE, *filter(None, blocks)]) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, or nothing if there are no rows."""
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in [" | ".join(header), " | ".join(["---"] * len(header)), *lines]) * bool(
        lines
    )


def code(text: object) -> str:
    return f"`{text}`"


def codes(values: Iterable[object]) -> str:
    return ", ".join(map(code, sorted(map(str, values))))


def yes(value: bool) -> str:
    return "yes" if value else ""


def prose(text: str) -> str:
    """Return reStructuredText of a docstring as Markdown on one line."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", " ".join(text.split()))
    return text.replace("``", "`")


def paragraphs(docstring: str) -> Iterator[str]:
    """Yield the paragraphs of a docstring as Markdown; an indented one is a block of Python."""
    for text in docstring.split("\n\n"):
        indented = text.startswith("    ")
        yield f"```py\n{textwrap.dedent(text).rstrip()}\n```" if indented else re.sub("::$", ":", prose(text))


def first_sentence(docstring: str | None) -> str:
    paragraph = prose((docstring or "").strip().split("\n\n")[0])
    sentence, dot, _ = re.sub(r"(arXiv [\d.]+\d|e\.g|et al)\.", r"\1\0", paragraph).partition(". ")
    return (sentence + dot).strip().replace("\0", ".")


def reference(source: str) -> str:
    if source.startswith("https://arxiv.org/abs/"):
        return f"[arXiv {source.rpartition('/')[2]}]({source})"
    return f"<{source}>" if source.startswith("https://") else code(source) if source else ""


# Parameters


def type_name(annotation: Any) -> str:
    text = annotation.__name__ if isinstance(annotation, type) and not hasattr(annotation, "__args__") else annotation
    return str(text).replace("typing.", "")


def parameter_row(name: str, field: FieldInfo, registry: Registry, from_model: frozenset[str]) -> list[str]:
    allowed = details_of(field, registry, from_model=name in from_model).strip().removeprefix("[").removesuffix("]")
    return [code(name), code(type_name(field.annotation)), prose(allowed), prose(field.description or "")]


def parameter_table(params: type[Params], registry: Registry, *, inherited: bool = True) -> str:
    """Return a table of the fields that a declaration has, or that it adds to the classes it extends."""
    own = inspect.get_annotations(params)
    fields = {name: field for name, field in params.model_fields.items() if inherited or name in own}
    header = ("parameter", "type", "allowed, default", "meaning")
    return table(
        header, [parameter_row(name, field, registry, left_to_model(params)) for name, field in fields.items()]
    )


def shared_declarations(registry: Registry) -> list[type[Params]]:
    """Return the parameter classes of editkit that operations extend, the most general first."""
    operations = registry.specs["operations"].values()
    classes = {base for spec in operations for base in spec.params.__mro__ if base.__module__.startswith("editkit.")}
    classes -= {Params}
    return sorted(classes, key=lambda base: (len(base.__mro__), base.__name__))


# Pages from the registry


def operations_page(registry: Registry) -> str:
    shared = shared_declarations(registry)
    blocks = [
        "Operations by name. A parameter is an option of the command (`--negative-prompt`), a keyword argument of "
        "`editkit.apply` (`negative_prompt=`) and an entry in the recipe. Each operation also has the parameters of "
        "the declaration it extends: see [shared parameters](#shared-parameters)."
    ]
    for name, spec in sorted(registry.specs["operations"].items()):
        bases = [base for base in spec.params.__bases__ if base in shared]
        instead = " or an inversion of one" if spec.edits_inversion else ""
        facts = [f"Takes {INPUTS[spec.takes]}{instead}, returns an {spec.gives}."]
        facts += [f"Needs a model that provides {codes(spec.needs)}."] if spec.needs else []
        extended = ", ".join(f"[`{base.__name__}`](#{base.__name__.lower()})" for base in bases)
        facts += [f"Extends {extended}."] if bases else []
        facts += [f"Source: {reference(spec.source)}."] if spec.source else []
        blocks += [f"## {name}", spec.summary, " ".join(facts), parameter_table(spec.params, registry, inherited=False)]
    blocks.append("## Shared parameters")
    for declaration in shared:
        bases = [base for base in declaration.__bases__ if base is not Params]
        extends = f" Extends {', '.join(f'`{base.__name__}`' for base in bases)}." if bases else ""
        blocks += [
            f"### {declaration.__name__}",
            first_sentence(declaration.__doc__) + extends,
            parameter_table(declaration, registry, inherited=False),
        ]
    return page("Operations", *blocks)


def samplers_page(registry: Registry) -> str:
    specs = registry.specs["samplers"]
    rows = [
        [
            code(name),
            spec.calls_per_step,
            "" if spec.stochastic else str(spec.order),
            yes(spec.stochastic),
            yes(spec.ends_at_zero),
            spec.summary,
            reference(spec.source),
        ]
        for name, spec in specs.items()
    ]
    header = ("sampler", "network calls a step", "order", "stochastic", "ends at sigma 0", "summary", "source")
    text = "Solvers from noise to a clean latent. Name one with `--sampler`, options after a colon: `ddim:eta=1`."
    return page("Samplers", text, table(header, rows), *option_sections(registry, "samplers"))


def inverters_page(registry: Registry) -> str:
    rows = [
        [
            code(name),
            yes(spec.exact),
            yes(spec.stochastic),
            spec.calls_per_step,
            yes(spec.replaces_sampler),
            codes(spec.predictions) if len(spec.predictions) == 1 else "all",
            spec.summary,
            reference(spec.source),
        ]
        for name, spec in registry.specs["inverters"].items()
    ]
    header = (
        "inverter",
        "exact",
        "stochastic",
        "network calls a step",
        "replaces the sampler",
        "predictions",
        "summary",
        "source",
    )
    text = (
        "Inverters from a clean latent to noise. Name one with `--inverter` (`--method` of `invert`), options after a "
        "colon: `--inverter edict:mixing=0.9`. An exact inverter reconstructs the source at the bound of the "
        "autoencoder at any guidance scale. [Which one to choose](../explanation/choosing-an-inverter.md)."
    )
    return page("Inverters", text, table(header, rows), *option_sections(registry, "inverters"))


def option_sections(registry: Registry, kind: str) -> list[str]:
    """Return a heading and a table for each name that has options."""
    with_options = [(name, spec) for name, spec in registry.specs[kind].items() if spec.params.model_fields]
    return [
        text
        for name, spec in with_options
        for text in (f"## Options of {name}", parameter_table(spec.params, registry))
    ]


def annotators_page(registry: Registry) -> str:
    text = "Functions from an image to a condition map, used by `control` and by the control `controlnet`."
    captioners = summary_table(registry, "captioners", "captioner")
    segmenters = summary_table(registry, "segmenters", "segmenter")
    return page(
        "Annotators, captioners and segmenters",
        text,
        summary_table(registry, "annotators", "annotator"),
        *option_sections(registry, "annotators"),
        "## Captioners",
        "Functions from an image to a prompt that describes it, for `instruct --captioner`.",
        captioners,
        *option_sections(registry, "captioners"),
        "## Segmenters",
        "Functions that find the part of an image that words name or points lie in, for `--segmenter` beside "
        '`--mask words:"the hat"` ([masks](../how-to/masks.md)).',
        segmenters,
        *option_sections(registry, "segmenters"),
    )


def controls_page(registry: Registry) -> str:
    rows = [
        [code(name), codes(spec.models), codes(spec.annotators), spec.summary, spec.licence]
        for name, spec in registry.specs["controlnets"].items()
    ]
    return page(
        "Controls",
        "Controls steer any operation that samples: `--attach NAME:option=value,...`.",
        summary_table(registry, "controls", "control"),
        *option_sections(registry, "controls"),
        "## ControlNets",
        "Weights that controls use for a registered model without a further argument.",
        table(("ControlNet", "models", "annotators", "summary", "licence"), rows),
        "## Controls of attention by model",
        "A tiny model of each family, with real classes and random weights, is edited with each control: the edit "
        "changes, and equal prompts return the source bit for bit. `python tests/families/attention.py` writes "
        "the table, and a test compares it. [Each control in words](../explanation/controls-of-attention.md).",
        attention_table(),
    )


def attention_table() -> str:
    """Return what controls of attention do on each family, by ``tests/families/attention.py``."""
    families = json.loads(ATTENTION.read_text(encoding="utf-8"))
    names = [name for name in families[0] if name not in ("family", "pipeline")]
    cells = []
    for row in families:
        reasons = dict.fromkeys(row[name] for name in names if row[name] != "works")
        marks = [row[name] if row[name] == "works" else "refused" for name in names]
        label = row["family"] if row["family"] != row["pipeline"] else ""
        cells.append([code(row["pipeline"]), label, *marks, "; ".join(reasons)])
    return table(("pipeline", "model", *map(code, names), "reason"), cells)


def summary_table(registry: Registry, kind: str, title: str) -> str:
    rows = [[code(name), spec.summary, reference(spec.source)] for name, spec in registry.specs[kind].items()]
    return table((title, "summary", "source"), rows)


def models_page(registry: Registry) -> str:
    models = [
        [
            code(name),
            spec.summary,
            "default" if spec.default else codes(spec.default_for),
            ", ".join(f"`{key}={value:g}`" for key, value in spec.defaults.items()),
            spec.licence,
        ]
        for name, spec in registry.specs["models"].items()
    ]
    families = [
        [code(name), spec.summary, codes(spec.provides), codes(spec.execution_options), reference(spec.source)]
        for name, spec in registry.specs["backends"].items()
    ]
    pipelines = [[code(name), codes(spec.pipelines)] for name, spec in registry.specs["backends"].items()]
    return page(
        "Models and backends",
        "Models with a registered name. `-m` and `load_model` also take a diffusers folder, a checkpoint file and a "
        "hub id.",
        table(("model", "summary", "default for", "defaults of parameters", "licence"), models),
        "## Backends",
        "A backend serves a family of models. It is chosen by the `_class_name` of the folder's `model_index.json`.",
        table(("backend", "summary", "provides", "execution options", "source"), families),
        "## Pipeline classes of each backend",
        table(("backend", "`_class_name`"), pipelines),
    )


def families_page() -> str:
    """Return the page of every pipeline of images, from what ``tests/families/measure.py`` measured."""
    rows = json.loads(FAMILIES.read_text(encoding="utf-8"))
    served = [row for row in rows if "backend" in row and "as" not in row and "family" in row]
    others = [row for row in rows if "backend" in row and row not in served]
    refused = [row for row in rows if "backend" not in row]
    classes = {row["pipeline"] for row in served}
    compared = {row["pipeline"] for row in served if "unguided" in row}
    return page(
        "Model families",
        f"diffusers has {len({row['pipeline'] for row in rows})} classes of pipelines of images, and editkit serves "
        f"{len(classes | {row['pipeline'] for row in others})} of them. A tiny folder of {len(classes)}, with real "
        "classes and random weights, is loaded; "
        f"{len(compared)} are text-to-image pipelines, which are compared with editkit: "
        "four steps from the same noise in float32, unguided and guided. A difference is the largest of all pixels in "
        "[0, 1], rounded up to a power of ten. `python tests/families/measure.py` measures them. Modular pipelines "
        "(FLUX.3, Anima) have tests of their own.",
        "## Measured",
        table(
            ("model", "pipeline", "backend", "unguided", "guided"),
            [
                [
                    row["family"],
                    code(row["pipeline"]),
                    code(row["backend"]),
                    *(f"{row[kind]:g}" if kind in row else "" for kind in ("unguided", "guided")),
                ]
                for row in served
            ],
        ),
        "Rows without a difference are edit models and ControlNets, which tests of their own compare.",
        "## Served as another pipeline",
        "The folder of such a pipeline has the parts of another one, or its backend serves it itself.",
        table(
            ("pipeline", "backend", "as"),
            [[code(row["pipeline"]), code(row["backend"]), code(row["as"]) if "as" in row else ""] for row in others],
        ),
        "## Not served",
        table(
            ("pipeline", "reason"),
            [[code(row["pipeline"]), row["reason"]] for row in refused if "reason" in row],
        ),
        "## Not measured",
        "Nothing is known against these pipelines, and no tiny folder compares them: their folders may load.",
        table(("pipeline",), [[code(row["pipeline"])] for row in refused if "reason" not in row]),
    )


def cli_page(registry: Registry) -> str:
    commands: dict[str, click.Command] = dict(cli.main.commands)
    commands |= {name: measuring_command(registry, spec) for name, spec in registry.specs["commands"].items()}
    commands |= {name: operation_command(registry, spec) for name, spec in registry.specs["operations"].items()}
    blocks = ["The help text of every command. Exit status: 0 for success, 2 for bad input, 1 for a failure."]
    for name, command in sorted(commands.items()):
        context = click.Context(
            command, info_name=f"editkit {name}", terminal_width=WIDTH, help_option_names=["-h", "--help"]
        )
        blocks += [f"## editkit {name}", f"```text\n{command.get_help(context).rstrip()}\n```"]
    return page("Command line", *blocks)


# Pages from the source


def module_of(name: str) -> Path:
    file = PACKAGE.joinpath(*name.split(".")).with_suffix(".py")
    return file if file.is_file() else PACKAGE.joinpath(*name.split("."), "__init__.py")


def definitions(file: Path) -> Mapping[str, tuple[ast.stmt, str]]:
    """Return the definitions of a module with their docstrings; that of a constant is the text below it."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    found: dict[str, tuple[ast.stmt, str]] = {}
    for statement, below in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            found[statement.name] = (statement, ast.get_docstring(statement) or "")
        for name in assigned_names(statement):
            found.setdefault(name, (statement, text_of(below)))  # a later entry of a class in a table is no definition
    return found


def assigned_names(statement: ast.stmt) -> Iterator[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
    for target in targets:
        yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))


def text_of(statement: ast.stmt | None) -> str:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def attributes(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, type, default and description of the annotated attributes of a class."""
    for statement, below in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            default = default_text(statement.value)
            name, kind = statement.target.id, ast.unparse(statement.annotation)
            yield code(name), code(kind), default and code(default), prose(text_of(below))


def default_text(value: ast.expr | None) -> str:
    """Return the default of an attribute as Python text, also of a field of a dataclass; empty without one."""
    if not isinstance(value, ast.Call) or ast.unparse(value.func) != "dc.field":
        return "" if value is None else ast.unparse(value)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in value.keywords}
    factory = given.get("default_factory")
    return given.get("default", f"{factory}()" if factory else "")


def public_names() -> Mapping[str, list[str]]:
    """Return the public names of editkit by module, as the stub lists them."""
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    names: dict[str, list[str]] = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names.setdefault(node.module, []).extend(alias.name for alias in node.names)
    return {module: sorted(own) for module, own in names.items()}


def signature(name: str, statement: ast.stmt) -> str:
    if not isinstance(statement, ast.FunctionDef):
        return code(name)
    returns = "" if statement.returns is None else f" -> {ast.unparse(statement.returns)}"
    return code(f"{name}({', '.join(parameter_texts(statement.args))}){returns}")


def parameter_texts(given: ast.arguments) -> Iterator[str]:
    """Yield the parameters of a function with their types and defaults, as a formatter writes them."""
    positional = [*given.posonlyargs, *given.args]
    missing = [None] * (len(positional) - len(given.defaults))
    for argument, default in zip(positional, [*missing, *given.defaults], strict=True):
        yield parameter_text(argument, default)
    if given.vararg or given.kwonlyargs:
        yield f"*{ast.unparse(given.vararg)}" if given.vararg else "*"
    for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield parameter_text(argument, default)
    if given.kwarg:
        yield f"**{ast.unparse(given.kwarg)}"


def parameter_text(argument: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(argument) + ("" if default is None else f" = {ast.unparse(default)}")


def python_page() -> str:
    blocks = [
        "The public names, `editkit.NAME`, by the module that defines them. Attributes and methods of the objects that "
        "these functions return are in [results and runs](results.md), those of the classes of plugins in "
        "[interfaces](interfaces.md). `editkit.testing` holds the conformance suites. Plugins use these names only."
    ]
    for module, names in public_names().items():
        if module == "ops":
            blocks += [f"## editkit.{module}", f"{OPERATIONS} {codes(names)}."]
            continue
        found = definitions(module_of(module))
        blocks += [f"## editkit.{module}", "\n".join(python_entry(name, *found[name]) for name in names)]
    return page("Python", *blocks)


def python_entry(name: str, statement: ast.stmt, docstring: str) -> str:
    """Return a public name with its docstring, of a class the first sentence: its members are on other pages."""
    whole = isinstance(statement, ast.FunctionDef)
    text = "\n\n".join(paragraphs(docstring)) if whole else first_sentence(docstring)
    return textwrap.indent(f"{signature(name, statement)}  \n{text}".rstrip(), "  ").replace("  ", "* ", 1)


def report_page() -> str:
    found, blocks = definitions(PACKAGE / "report.py"), []
    for name in ("Report", "AnimationReport"):
        statement, docstring = found[name]
        assert isinstance(statement, ast.ClassDef)
        rows = [(name, kind, text) for name, kind, _, text in attributes(statement.body)]
        blocks.append([*paragraphs(docstring), table(("field", "type", "meaning"), rows)])
    usage = "`Result.report` holds it, `report.as_dict()` returns it as plain values, and `--json` prints it."
    of_all = "It has these fields beside those of a report of one image:"
    return page("Report", *blocks[0], usage, "## Animations", *blocks[1][:-1], of_all, blocks[1][-1])


def exceptions_page() -> str:
    kinds = [kind for kind in vars(editkit.errors).values() if isinstance(kind, type)]
    rows = [
        [
            code(kind.__name__),
            code(kind.__base__.__name__ if kind.__base__ else ""),
            str(kind.exit_status),
            first_sentence(kind.__doc__),
        ]
        for kind in kinds
        if issubclass(kind, editkit.errors.EditkitError)
    ]
    return page(
        "Exceptions",
        "All are in `editkit`. The command line prints the message in one line and ends with the exit status.",
        table(("exception", "base", "exit status", "raised when"), rows),
    )


def hooks_page() -> str:
    hooks = definitions(PACKAGE / "registry" / "hookspecs.py")
    rows = [
        [code(name), code(ast.unparse(function.returns or ast.Constant(None))), first_sentence(docstring)]
        for name, (function, docstring) in hooks.items()
        if isinstance(function, ast.FunctionDef)
    ]
    specs = definitions(PACKAGE / "registry" / "specs.py")
    blocks = []
    for kind in SPECS:
        statement, docstring = specs[kind.__name__]
        assert isinstance(statement, ast.ClassDef)
        extends = "" if kind is Spec else " Also has the fields of `Spec`."
        blocks += [f"## {kind.__name__}", first_sentence(docstring) + extends]
        blocks.append(table(("field", "type", "default", "meaning"), attributes(statement.body)))
        assert dc.is_dataclass(kind)
    return page(
        "Hooks and specs",
        "A plugin implements hooks with `editkit.hookimpl`; each returns a list of specs. "
        "[How to write a plugin](../how-to/write-a-plugin.md); [interfaces](interfaces.md) has the types in them.",
        table(("hook", "returns", "registers"), rows),
        *blocks,
    )


def interfaces_page() -> str:
    """Return the page of the classes that plugins implement or use, with their attributes and methods."""
    supports = sorted(name for names in public_names().values() for name in names if name.startswith("Supports"))
    blocks = [
        "Attributes and methods of the classes that a plugin implements or is given. All are in `editkit`, those of "
        "data sets in `editkit.evaluation`. [How to write a plugin](../how-to/write-a-plugin.md)."
    ]
    for title, names in {**INTERFACES, "Capabilities of models": supports}.items():
        blocks += [f"## {title}", *described(names, "###")]
    return page("Interfaces", *blocks)


def results_page() -> str:
    """Return the page of the objects that a caller of Python gets or gives, with their attributes and methods."""
    return page(
        "Results and runs",
        "Attributes and methods of the objects that Python calls return or take, all in `editkit`. "
        "[The functions](python.md); [the report](report.md) of a result.",
        *described(RESULTS, "##"),
    )


def described(names: Iterable[str], level: str) -> Iterator[str]:
    """Yield a heading, the docstring and the members of each public class."""
    modules = {name: module for module, own in public_names().items() for name in own}
    for name in names:
        statement, docstring = definitions(module_of(modules.get(name, "evaluation.cases")))[name]
        yield f"{level} {name}"
        yield from paragraphs(docstring)
        yield from members(statement) if isinstance(statement, ast.ClassDef) else [code(ast.unparse(statement))]


def members(statement: ast.ClassDef) -> Iterator[str]:
    """Yield a table of the attributes of a class and a list of its public methods."""
    yield from filter(None, [table(("attribute", "type", "default", "meaning"), _public_attributes(statement))])
    lines = []
    for method in statement.body:
        if isinstance(method, ast.FunctionDef) and (not method.name.startswith("_") or method.name in SPECIAL):
            text = prose((ast.get_docstring(method) or "").replace("\n\n", " "))
            lines.append(f"* {_method_signature(method)}  \n  {text}".rstrip())
    yield from filter(None, ["\n".join(lines)])


def _public_attributes(statement: ast.ClassDef) -> Iterator[tuple[str, str, str, str]]:
    """Yield the attributes without private ones, and without those that are set later and have no description."""
    later = {
        code(one.target.id)
        for one in statement.body
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and "init=False" in ast.unparse(one)
    }
    rows = attributes(statement.body)
    return (row for row in rows if not row[0].startswith("`_") and (row[3] or row[0] not in later))


def _method_signature(method: ast.FunctionDef) -> str:
    """Return the signature of a method without its first argument; that of a property is its name and type."""
    kinds = {ast.unparse(decorator) for decorator in method.decorator_list}
    if kinds & {"property", "functools.cached_property"}:
        return code(f"{method.name}: {ast.unparse(method.returns) if method.returns else 'Any'}")
    bound = copy.deepcopy(method)
    bound.args.args = bound.args.args[0 if "staticmethod" in kinds else 1 :]
    return signature(method.name, bound)


RESULTS = (
    *("Result", "AnimationResult", "Inversion", "Run", "Step", "Pipeline", "EditRow", "Animation", "PaintedMask"),
    *("Stroke", "Judgement"),
)
"""Classes whose objects a caller of Python gets or gives; a model is a `Backend`."""

INTERFACES = {
    "Operations": ("Session", "Edit", "PixelEdit", "Guidance"),
    "Inverters": ("Inverter", "InversionContext", "InversionRecord"),
    "Controls": ("Control", "AttentionControl", "AttentionInputs", "AttentionSite", "CallRow"),
    "Models": ("Backend", "Schedule", "VariancePreserving", "RectifiedFlow", "TimestepGrid", "Point", "PointBatch"),
    "Segmenters": ("Segmenter", "MaskSpecification"),
    "Engines and accelerators": ("Engine", "EngineOptions", "Workers", "Accelerator"),
    "Data sets and tables": ("Case", "Dataset", "Table", "Estimate"),
}
"""Classes that a plugin implements or is given, by the kind of plugin."""
SPECIAL = ("__call__", "__len__", "__getitem__")

INDEX = """Pages computed from what is registered and from the source.

```{toctree}
:maxdepth: 1

cli
operations
samplers
inverters
annotators
controls
models
families
report
exceptions
python
results
hooks
interfaces
```"""


def pages() -> dict[str, str]:
    """Return the text of every page by its file name."""
    registry = own_registry()
    computed: dict[str, Callable[[Registry], str]] = {
        "annotators.md": annotators_page,
        "cli.md": cli_page,
        "controls.md": controls_page,
        "inverters.md": inverters_page,
        "models.md": models_page,
        "operations.md": operations_page,
        "samplers.md": samplers_page,
    }
    parsed = {
        "exceptions.md": exceptions_page(),
        "interfaces.md": interfaces_page(),
        "families.md": families_page(),
        "hooks.md": hooks_page(),
        "index.md": page("Reference", INDEX),
        "python.md": python_page(),
        "report.md": report_page(),
        "results.md": results_page(),
    }
    return {name: write(registry) for name, write in computed.items()} | parsed


def wanted_files() -> dict[Path, str]:
    """Return the text of every file that is computed: the pages and the stub of the operations."""
    return {REFERENCE / name: text for name, text in pages().items()} | {STUB: operations_stub(own_registry())}


def stale_files() -> list[Path]:
    """Return the files that are missing, differ, or should not be there."""
    wanted = wanted_files()
    present = {file: file.read_text(encoding="utf-8") for file in [*REFERENCE.glob("*.md"), STUB] if file.exists()}
    return sorted(file for file in wanted.keys() | present.keys() if wanted.get(file) != present.get(file))


def main(arguments: Sequence[str]) -> int:
    if list(arguments) == ["--check"]:
        stale = stale_files()
        for file in stale:
            folder = "docs/reference" if file.suffix == ".md" else "editkit"
            click.echo(f"{folder}/{file.name} is not current: run python docs/generate.py", err=True)
        return 1 if stale else 0
    if arguments:
        click.echo("usage: python docs/generate.py [--check]", err=True)
        return 2
    wanted = wanted_files()
    REFERENCE.mkdir(exist_ok=True)
    for file in REFERENCE.glob("*.md"):
        file.unlink()
    for file, text in wanted.items():
        file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
