"""Discovery and look-up of plugins. A broken plugin is reported and does not affect the others."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import functools
import importlib.metadata
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import pluggy
from pydantic.fields import FieldInfo

from ..errors import DuplicateName, EditkitError, InvalidParameter, PluginFailure, UnknownName, did_you_mean
from ..libraries import hide_broken_torchvision
from . import hookspecs
from .calls import read_call
from .failures import blamed_package, is_out_of_memory, noticed_interrupts, one_line
from .params import Params, field_metadata, shorten
from .specs import Spec, checked

GROUP = "editkit"

KINDS: Mapping[str, type[Spec]] = {
    # The return type of a hook is a list of the specs that it registers.
    hook.removeprefix("register_"): get_args(get_type_hints(function)["return"])[0]
    for hook, function in vars(hookspecs).items()
    if hook.startswith("register_")
}


NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

OWN_DISTRIBUTION = "editkit"


COMMANDS = (
    *(
        "accelerators",
        "annotators",
        "captioners",
        "check",
        "cite",
        "completion",
        "controls",
        "describe",
        "doctor",
        "engines",
    ),
    *("inverters", "models", "new-plugin", "plugins", "replay", "run", "samplers", "segmenters", "show", "strip"),
)
"""Commands of editkit itself, whose names plugins cannot use."""


FOLDERS = ("models", "controlnets")
"""Kinds whose ``load`` returns a folder; that of all others returns a function."""

_CALLED = ("samplers", "annotators", "captioners", "segmenters", "controls")
"""Kinds that build a function for a call."""

SAME_NAMESPACE = {"operations": "commands", "commands": "operations"}
"""Operations and commands share one namespace on the command line."""


@dc.dataclass(frozen=True)
class PluginSource:
    """Origin of a plugin: its entry point, its module, and the distribution that installed it."""

    name: str
    module: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.name!r} ({self.module}, {self.distribution} {self.version})"


@dc.dataclass(frozen=True)
class Failure:
    """Part of a plugin that could not be used, and the reason in one line."""

    source: PluginSource
    reason: str

    def __str__(self) -> str:
        return f"plugin {self.source}: {self.reason}"


@dc.dataclass(frozen=True)
class Plugin:
    """A plugin with the hooks it implements and the names it registered."""

    source: PluginSource
    hooks: tuple[str, ...]
    names: dict[str, tuple[str, ...]]


class Registry:
    """Specs that the added plugins register, by kind and name."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(GROUP)
        self.manager.add_hookspecs(hookspecs)
        self.plugins: list[Plugin] = []
        self.failures: list[Failure] = []
        self.specs: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
        self.owners: dict[tuple[str, str], PluginSource] = {}

    def add(self, source: PluginSource, module: ModuleType | object) -> None:
        """Register a plugin; each part of it that cannot be used becomes a :class:`Failure`."""
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
        names = {kind: tuple(self._call_hook(source, module, kind)) for kind in KINDS}
        hooks = tuple(sorted(caller.name for caller in callers if caller.has_spec()))
        self.plugins.append(
            Plugin(source, hooks, {kind: registered for kind, registered in names.items() if registered})
        )

    def _call_hook(self, source: PluginSource, module: ModuleType | object, kind: str) -> Iterator[str]:
        """Call one plugin's hook of ``kind``, insert its specs and yield their names.

        The implementations are called here and not by pluggy's call loop, which does not relate results to plugins and
        stops at an exception.
        """
        for implementation in getattr(self.manager.hook, f"register_{kind}").get_hookimpls():
            if implementation.plugin is not module:
                continue
            with self.isolated(source, f"register_{kind}"):
                for spec in implementation.function():
                    known = len(self.specs[kind])
                    with self.isolated(source, f"register_{kind}"):
                        self.insert(source, kind, spec)
                    if len(self.specs[kind]) > known:
                        yield spec.name

    @contextlib.contextmanager
    def isolated(self, source: PluginSource, doing: str) -> Iterator[None]:
        """Record any exception of the block as a failure of a plugin, even one that is meant to end a process.

        Ctrl-C of the user is raised, unlike a KeyboardInterrupt of the plugin's own code. Standard output is for
        results: the plugin prints to standard error.
        """
        with noticed_interrupts() as interrupts, contextlib.redirect_stdout(sys.stderr):
            try:
                yield
            except GeneratorExit:
                raise
            except BaseException as error:
                if interrupts and isinstance(error, KeyboardInterrupt):
                    raise
                self.failures.append(Failure(source, f"{doing}: {one_line(error)}"))

    def insert(self, source: PluginSource, kind: str, spec: Spec) -> None:
        """Add a spec; raises PluginFailure if it is malformed and DuplicateName if its name is taken."""
        expected = KINDS[kind]
        if not isinstance(spec, expected):
            raise PluginFailure(f"returned {type(spec).__name__}, not {expected.__name__}")
        if not NAME.fullmatch(spec.name) or not spec.summary.strip().endswith("."):
            raise PluginFailure(f"{spec.name!r} needs a name like 'two-words' and a summary that is a sentence")
        if not (isinstance(spec.params, type) and issubclass(spec.params, Params)):
            raise PluginFailure(f"{spec.name!r}: params must be a subclass of editkit.Params")
        spec = checked(spec)
        if kind in SAME_NAMESPACE and spec.name in COMMANDS:
            raise DuplicateName(f"the {kind[:-1]} {spec.name!r} has the name of a command of editkit itself")
        if kind in SAME_NAMESPACE and spec.name in self.specs[SAME_NAMESPACE[kind]]:
            other = SAME_NAMESPACE[kind]
            owner = self.owners[other, spec.name]
            raise DuplicateName(f"the {kind[:-1]} {spec.name!r} has the name of an {other[:-1]} of {owner}")
        if spec.name in self.specs[kind]:
            owner = self.owners[kind, spec.name]
            raise DuplicateName(f"the {kind[:-1]} {spec.name!r} is already registered by {owner}")
        self.specs[kind][spec.name] = spec
        self.owners[kind, spec.name] = source

    def spec(self, kind: str, name: str) -> Any:
        """Return the spec of ``name``; raises UnknownName with the closest names and the plugins that failed."""
        if not isinstance(name, str) or name not in self.specs[kind]:
            failed = "".join(f"; {failure}" for failure in self.failures)
            closest = did_you_mean(name[:100] if isinstance(name, str) else "", self.specs[kind])
            raise UnknownName(f"no {kind[:-1]} {shorten(name)}; {closest}{failed}")
        return self.specs[kind][name]

    def specs_of(self, name: str, kinds: Iterable[str]) -> list[tuple[str, Any]]:
        """Return the kind and the spec of all that is registered by a name, which may be nothing."""
        return [(kind, self.specs[kind][name]) for kind in kinds if name in self.specs[kind]]

    def unknown_name(self, name: str, reason: str, kinds: Iterable[str], others: Iterable[str] = ()) -> UnknownName:
        """Return the error for a name of none of the kinds, with the closest of their names and of ``others``."""
        known = {*others, *(one for kind in kinds for one in self.specs[kind])}
        return UnknownName(f"{reason}; {did_you_mean(name[:100], known, 'editkit plugins')}")

    def configure(self, kind: str, call: str) -> tuple[Any, Params]:
        """Read ``name`` or ``name:option=value,...`` and return the spec and its checked parameters."""
        name, _, _ = str(call).partition(":")
        spec = self.spec(kind, name)
        _, values = read_call(str(call))
        return spec, spec.params.parse(f"{kind[:-1]} {name!r}", values)

    def resolve_names(self, name: str, field: FieldInfo, value: Any) -> list[tuple[Any, Params]]:
        """Return spec and checked parameters of each call, ``name:option=value,...``, in the value of a field.

        The value is one call or a list of calls; ``name`` is the field's name for the message. Raises InvalidParameter
        for any other value, which may come from a file.
        """
        kind = field_metadata(field).get("registry")
        if kind is None or value is None:
            return []
        calls = [value] if isinstance(value, str) else value
        if not (isinstance(calls, (list, tuple)) and all(isinstance(call, str) for call in calls)):
            raise InvalidParameter(
                f"{name}={shorten(value)} is not allowed: give a name, or a list of names if several are allowed, each "
                "with its options after a colon"
            )
        return [self.configure(kind, call) for call in calls]

    def check_names(self, params: Params) -> None:
        """Raise UnknownName or InvalidParameter if parameters hold an unregistered name or wrong options of a name."""
        for name, field in type(params).model_fields.items():
            self.resolve_names(name, field, getattr(params, name))

    def load(self, kind: str, name: str, function: str = "load") -> Any:
        """Load an implementation; other exceptions than EditkitError become a PluginFailure that names the plugin.

        ``function`` is the field of the spec that loads it.
        """
        spec = self.spec(kind, name)
        try:
            if kind in ("backends", "captioners", "segmenters"):
                hide_broken_torchvision()
            loaded = getattr(spec, function)()
        except EditkitError:
            raise
        except (Exception, SystemExit) as error:
            raise PluginFailure(f"{self.title(kind, name)}: {one_line(error)}") from error
        if kind in FOLDERS and isinstance(loaded, (str, os.PathLike)):
            return Path(loaded)
        if kind in FOLDERS or not callable(loaded):
            expected = "the path of a folder" if kind in FOLDERS else "a function"
            raise PluginFailure(
                f"{self.title(kind, name)}: {function} returned {type(loaded).__name__}, not {expected}"
            )
        return loaded

    def title(self, kind: str, call: str) -> str:
        """Return the kind and the name of what a call names, and its plugin, for messages."""
        name = call.partition(":")[0]
        return f"{kind[:-1]} {name!r} of plugin {self.owners[kind, name]}"

    def wrong_result(self, kind: str, call: str, result: Any, expected: str) -> PluginFailure:
        """Return the error for what a plugin has returned for a call in place of what its contract asks for."""
        return PluginFailure(f"{self.title(kind, call)} returned {type(result).__name__}, not {expected}")

    @contextlib.contextmanager
    def running(self, kind: str, call: str) -> Iterator[None]:
        """Raise a PluginFailure that names the plugin for an exception that the block does not raise on purpose."""
        try:
            yield
        except EditkitError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise PluginFailure(f"{self.title(kind, call)} failed: {self.describe_failure(error)}") from error

    def packages(self) -> dict[str, PluginSource]:
        """Return the plugins by their top-level package."""
        return {plugin.source.module.partition(".")[0]: plugin.source for plugin in self.plugins}

    def describe_failure(self, error: BaseException) -> str:
        """Return an exception in one line, after the plugin whose code raised it if that is found in the traceback."""
        plugins = self.packages()
        package = blamed_package(error, plugins)
        return one_line(error) if package is None else f"{one_line(error)}, raised in plugin {plugins[package]}"

    def build(self, kind: str, call: str) -> Any:
        """Load the implementation that ``name:option=value,...`` names and build it with its parameters."""
        spec, params = self.configure(kind, call)
        built = self.load(kind, spec.name)(params)
        if kind in _CALLED and not callable(built):
            raise self.wrong_result(kind, call, built, "a function")
        if kind == "inverters" and not callable(getattr(built, "invert", None)):
            raise self.wrong_result(kind, call, built, "an Inverter")
        return built


def discover(points: Iterable[importlib.metadata.EntryPoint] | None = None) -> Registry:
    """Load all installed plugins; editkit's own come first, so that no other plugin can take their names."""
    registry = Registry()
    points = importlib.metadata.entry_points(group=GROUP) if points is None else points
    for point in sorted(
        points, key=lambda point: (_distribution(point)[0] != OWN_DISTRIBUTION, point.name, point.value)
    ):
        source = PluginSource(point.name, point.value, *_distribution(point))
        loaded: list[Any] = []
        with registry.isolated(source, "cannot be imported"):
            loaded.append(point.load())
        for module in loaded:
            registry.add(source, module)
    return registry


def _distribution(point: importlib.metadata.EntryPoint) -> tuple[str, str]:
    return _name_and_version(point.dist) if point.dist else ("unknown", "0")


@functools.cache
def _name_and_version(distribution: importlib.metadata.Distribution) -> tuple[str, str]:
    """Name and version of a distribution; cached, because reading them takes a millisecond for each entry point."""
    metadata = distribution.metadata
    return metadata["Name"], metadata["Version"]


@functools.cache
def installed() -> Registry:
    """Registry of all installed plugins, built once per process."""
    return discover()
