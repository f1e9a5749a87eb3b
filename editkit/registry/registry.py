"""Discovery and look-up of plugins. A broken plugin is named and stops nobody else."""

from __future__ import annotations

import dataclasses as dc
import functools
import importlib.metadata
import re
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any, get_args, get_type_hints

import pluggy
from pydantic.fields import FieldInfo

from ..errors import DuplicateName, EditkitError, InvalidParameter, PluginFailure, UnknownName, did_you_mean
from . import hookspecs
from .params import Params, field_metadata, shorten
from .specs import Spec

GROUP = "editkit"


KINDS: Mapping[str, type[Spec]] = {
    # A hook returns a list of the kind of spec it registers.
    hook.removeprefix("register_"): get_args(get_type_hints(function)["return"])[0]
    for hook, function in vars(hookspecs).items()
    if hook.startswith("register_")
}


NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


OWN = "editkit"


COMMANDS = ("check", "models", "new-plugin", "plugins", "replay", "run")
"""Commands of editkit itself, whose names no plugin may take."""


CALLED = {"operations": "commands", "commands": "operations"}
"""What the command line calls by name, and so cannot be called alike."""


@dc.dataclass(frozen=True)
class Source:
    """Where a plugin comes from: its entry point, its module, and the distribution that installed it."""

    name: str
    module: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.name!r} ({self.module}, {self.distribution} {self.version})"


@dc.dataclass(frozen=True)
class Failure:
    """Something of a plugin that could not be used, and why, in one line."""

    source: Source
    reason: str

    def __str__(self) -> str:
        return f"plugin {self.source}: {self.reason}"


@dc.dataclass(frozen=True)
class Plugin:
    """A plugin that was found, with the hooks it implements and the names it registered."""

    source: Source
    hooks: tuple[str, ...]
    names: dict[str, tuple[str, ...]]


class Registry:
    """All that the given plugins register, by kind and name."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(GROUP)
        self.manager.add_hookspecs(hookspecs)
        self.plugins: list[Plugin] = []
        self.failures: list[Failure] = []
        self.specs: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
        self.owners: dict[tuple[str, str], Source] = {}

    def add(self, source: Source, module: ModuleType | object) -> None:
        """Register a plugin; whatever of it cannot be used becomes a :class:`Failure`."""
        try:
            self.manager.register(module, name=f"{source.distribution}:{source.name}")
        except (ValueError, pluggy.PluginValidationError) as error:
            self.failures.append(Failure(source, one_line(error)))
            return
        callers = self.manager.get_hookcallers(module) or []
        for caller in callers:
            if not caller.has_spec():
                known = did_you_mean(caller.name, (f"register_{kind}" for kind in KINDS))
                self.failures.append(Failure(source, f"there is no hook {caller.name!r}; {known}"))
        names = {kind: tuple(self.collect(source, module, kind)) for kind in KINDS}
        hooks = tuple(sorted(caller.name for caller in callers if caller.has_spec()))
        self.plugins.append(Plugin(source, hooks, {kind: found for kind, found in names.items() if found}))

    def collect(self, source: Source, module: ModuleType | object, kind: str) -> Iterator[str]:
        """Call one plugin's hook of ``kind`` and yield the names it added.

        The implementations are called here rather than through pluggy's call loop, which neither says whose result
        is whose nor goes on after an exception.
        """
        for implementation in getattr(self.manager.hook, f"register_{kind}").get_hookimpls():
            if implementation.plugin is not module:
                continue
            try:
                for spec in implementation.function():
                    self.insert(source, kind, spec)
                    yield spec.name
            except (Exception, SystemExit) as error:
                self.failures.append(Failure(source, f"register_{kind}: {one_line(error)}"))

    def insert(self, source: Source, kind: str, spec: Spec) -> None:
        wanted = KINDS[kind]
        if not isinstance(spec, wanted):
            raise PluginFailure(f"returned {type(spec).__name__}, not {wanted.__name__}")
        if not NAME.fullmatch(spec.name) or not spec.summary.strip().endswith("."):
            raise PluginFailure(f"{spec.name!r} needs a name like 'two-words' and a summary that is a sentence")
        if not (isinstance(spec.params, type) and issubclass(spec.params, Params)):
            raise PluginFailure(f"{spec.name!r}: params must be a subclass of editkit.Params")
        if kind in CALLED and spec.name in COMMANDS:
            raise DuplicateName(f"the {kind[:-1]} {spec.name!r} has the name of a command of editkit itself")
        if kind in CALLED and spec.name in self.specs[CALLED[kind]]:
            owner = self.owners[CALLED[kind], spec.name]
            raise DuplicateName(f"the {kind[:-1]} {spec.name!r} has the name of an {CALLED[kind][:-1]} of {owner}")
        if spec.name in self.specs[kind]:
            owner = self.owners[kind, spec.name]
            raise DuplicateName(f"the {kind[:-1]} {spec.name!r} is already registered by {owner}")
        self.specs[kind][spec.name] = spec
        self.owners[kind, spec.name] = source

    def spec(self, kind: str, name: str) -> Any:
        """Return the spec of ``name``; raises UnknownName with the closest names and the plugins that failed."""
        if not isinstance(name, str) or name not in self.specs[kind]:
            text = name if isinstance(name, str) else repr(name)
            failed = "".join(f"; {failure}" for failure in self.failures)
            raise UnknownName(f"no {kind[:-1]} {text!r}; {did_you_mean(text, self.specs[kind])}{failed}")
        return self.specs[kind][name]

    def configure(self, kind: str, call: str) -> tuple[Any, Params]:
        """Read ``name`` or ``name:option=value,...`` and return the spec and its checked parameters."""
        name, _, options = str(call).partition(":")
        spec = self.spec(kind, name)
        values: dict[str, Any] = {}
        for option in filter(None, options.split(",")):
            key, _, text = option.partition("=")
            values[key.strip().replace("-", "_")] = literal(text.strip())
        return spec, spec.params.parse(f"{kind[:-1]} {name!r}", values)

    def resolve_names(self, name: str, field: FieldInfo, value: Any) -> list[tuple[Any, Params]]:
        """The specs and checked parameters of what the value of the field ``name`` names: one call or several.

        Raises InvalidParameter where the value, which may come from a file, is neither.
        """
        kind = field_metadata(field).get("registry")
        if kind is None or value is None:
            return []
        calls = [value] if isinstance(value, str) else value
        if not (isinstance(calls, (list, tuple)) and all(isinstance(call, str) for call in calls)):
            raise InvalidParameter(
                f"{name}={shorten(value)} is not allowed: give a name, or a list of them where several are taken, each "
                "with its options after a colon"
            )
        return [self.configure(kind, call) for call in calls]

    def names_path(self, name: str, field: FieldInfo, value: Any) -> bool:
        """Return whether a parameter's value is a path, or a registered name with a path among its options."""
        extra = field_metadata(field)
        if "path" in extra or "image" in extra:
            return value is not None
        return any(
            self.names_path(option, inner, getattr(options, option))
            for _, options in self.resolve_names(name, field, value)
            for option, inner in type(options).model_fields.items()
        )

    def check_names(self, params: Params) -> None:
        """Raise an EditkitError where parameters name something that is not registered, or give it wrong options."""
        for name, field in type(params).model_fields.items():
            self.resolve_names(name, field, getattr(params, name))

    def load(self, kind: str, name: str) -> Any:
        """Load the implementation; what a plugin raises meanwhile becomes a PluginFailure that names it."""
        spec = self.spec(kind, name)
        try:
            return spec.load()
        except EditkitError:
            raise
        except (Exception, SystemExit) as error:
            raise PluginFailure(
                f"{kind[:-1]} {name!r} of plugin {self.owners[kind, name]}: {one_line(error)}"
            ) from error

    def build(self, kind: str, call: str) -> Any:
        """Load ``name:option=value`` and build it with its parameters."""
        spec, params = self.configure(kind, call)
        return self.load(kind, spec.name)(params)


def literal(text: str) -> Any:
    """A number or a truth value where the text is one, else the text."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def discover(points: Iterable[importlib.metadata.EntryPoint] | None = None) -> Registry:
    """Load every installed plugin; editkit's own come first, so that a stranger cannot take their names."""
    registry = Registry()
    found = importlib.metadata.entry_points(group=GROUP) if points is None else points
    for point in sorted(found, key=lambda point: (distribution_of(point)[0] != OWN, point.name, point.value)):
        source = Source(point.name, point.value, *distribution_of(point))
        try:
            module = point.load()
        except (Exception, SystemExit) as error:
            registry.failures.append(Failure(source, f"cannot be imported: {one_line(error)}"))
        else:
            registry.add(source, module)
    return registry


def distribution_of(point: importlib.metadata.EntryPoint) -> tuple[str, str]:
    return named(point.dist) if point.dist else ("unknown", "0")


@functools.cache
def named(distribution: importlib.metadata.Distribution) -> tuple[str, str]:
    """Name and version, which many entry points of a distribution are asked for: reading them takes a millisecond."""
    told = distribution.metadata
    return told["Name"], told["Version"]


@functools.cache
def installed() -> Registry:
    """The registry of everything installed, made once a process."""
    return discover()
