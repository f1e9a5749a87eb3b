"""Conformance suites for everything a plugin registers.

A plugin author subclasses the suite of a kind and names the thing; pytest runs the checks::

    class TestMine(SamplerTests):
        name = "mine"

The fields of a spec (``order``, ``exact``, ``stochastic``, ``needs``, ``takes``, ``gives``) select the checks and their
bounds. A check is a method ``test_*`` without arguments; one that does not apply raises :class:`unittest.SkipTest`. A
subclass that replaces a check must give the reason (:func:`replaced`), or it fails.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..registry.registry import KINDS, Plugin, Registry
from .annotator_suites import AnnotatorTests
from .backend_suites import BackendTests, ModelTests
from .control_suites import AttentionControlTests
from .inverter_suites import InverterTests
from .operation_suites import OperationTests
from .plugin_suites import PluginTests
from .sampler_suites import SamplerTests
from .suite import Suite

SUITES: Mapping[str, type[Suite]] = {
    "operations": OperationTests,
    "inverters": InverterTests,
    "samplers": SamplerTests,
    "backends": BackendTests,
    "models": ModelTests,
    "annotators": AnnotatorTests,
    "controls": AttentionControlTests,
}


def suite_of(kind: str, name: str) -> type[Suite]:
    """Return the suite of a registered thing, a class whose name begins with Test so that pytest collects it."""
    return type(f"Test{_titled(name)}", (SUITES[kind],), {"name": name})


def plugin_suite(plugin: Plugin) -> type[PluginTests]:
    """Return the suite of a plugin package."""
    return type(
        f"Test{_titled(plugin.source.name)}",
        (PluginTests,),
        {"name": plugin.source.name, "module": plugin.source.module},
    )


def _titled(name: str) -> str:
    return "".join(part.title() for part in name.split("-"))


def suites_of(name: str, registry: Registry) -> list[type[Suite]]:
    """Return the suites of everything called ``name``: a plugin by entry point or module, and registered things."""
    plugins = [plugin for plugin in registry.plugins if name in (plugin.source.name, plugin.source.module)]
    named = {(kind, name): None for kind in KINDS if name in registry.specs[kind]}
    for plugin in plugins:
        named |= {(kind, one): None for kind, names in plugin.names.items() for one in names}
    things = [
        suite_of(kind, one) for kind, one in named if kind in SUITES and SUITES[kind].serves(registry.spec(kind, one))
    ]
    return [*map(plugin_suite, plugins), *things]
