"""Conformance suite of plugin packages."""

from __future__ import annotations

import importlib.metadata
import inspect
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

from ..registry.registry import GROUP, Plugin, installed
from .suite import Suite

HEAVY = ("torch", "diffusers", "transformers")


class PluginTests(Suite):
    """Checks of every plugin package."""

    kind = "plugin"
    module: ClassVar[str]
    """Module of its entry point."""

    @property
    def plugin(self) -> Plugin:
        found = [plugin for plugin in installed().plugins if plugin.source.module == self.module]
        assert found, (
            f"no installed plugin has the module {self.module!r}: {[str(one) for one in installed().failures]}"
        )
        return found[0]

    def specs(self) -> Iterator[tuple[str, Any]]:
        for kind, names in self.plugin.names.items():
            yield from ((kind, installed().spec(kind, name)) for name in names)

    def test_has_an_entry_point(self) -> None:
        values = [point.value for point in importlib.metadata.entry_points(group=GROUP)]
        assert values.count(self.module) == 1, (
            f"{self.module} has {values.count(self.module)} entry points in {GROUP!r}"
        )

    def test_imports_nothing_heavy(self) -> None:
        code = f"import sys, {self.module}; print([name for name in {HEAVY!r} if name in sys.modules], end='')"
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"cannot be imported alone: {ended.stderr.strip().splitlines()[-1:]}"
        printed, _, heavy = ended.stdout.rpartition("[")
        assert heavy == "]", f"importing {self.module} imports [{heavy}"
        assert not printed, f"importing {self.module} prints {printed[:60]!r}, and standard output is for results"

    def test_commands_show_their_help(self) -> None:
        """An operation or a command whose parameter has the name of an option of editkit has no command line."""
        names = [spec.name for kind, spec in self.specs() if kind in ("operations", "commands")]
        if not names:
            return
        code = f"from editkit.cli import main; [main([name, '--help'], standalone_mode=False) for name in {names}]"
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr.strip().splitlines()[-1].partition(": ")[2]

    def test_registers_without_failures(self) -> None:
        failed = [str(failure) for failure in installed().failures if failure.source.module == self.module]
        assert not failed, "; ".join(failed)
        assert self.plugin.names, "registers nothing"

    def test_names_are_unique(self) -> None:
        for kind, names in self.plugin.names.items():
            for name in names:
                owner = installed().owners[kind, name]
                assert owner == self.plugin.source, f"the {kind[:-1]} {name!r} belongs to {owner}"

    def test_describes_everything(self) -> None:
        for kind, spec in self.specs():
            text = spec.summary
            sentence = text == text.strip() and text[:1].upper() == text[:1] and text.endswith(".") and "\n" not in text
            assert sentence, f"the summary of {kind[:-1]} {spec.name!r} is no sentence: {text!r}"
            bare = [name for name, field in spec.params.model_fields.items() if not field.description]
            assert not bare, f"{kind[:-1]} {spec.name!r} has parameters without a description: {', '.join(bare)}"

    def test_everything_loads(self) -> None:
        for kind, spec in self.specs():
            assert callable(spec.load), f"{kind[:-1]} {spec.name!r}: load is not callable"
            if kind != "models":
                assert installed().load(kind, spec.name) is not None, f"{kind[:-1]} {spec.name!r} loads nothing"

    def test_references_take_their_parameters(self) -> None:
        """A class that a spec refers to by name is built with the fields of the spec's parameters as keywords."""
        for kind, spec in self.specs():
            built = None if kind == "models" else getattr(installed().load(kind, spec.name), "__wrapped__", None)
            if isinstance(built, type):
                try:
                    inspect.signature(built).bind(**dict.fromkeys(spec.params.model_fields))
                except TypeError as error:
                    raise AssertionError(f"{kind[:-1]} {spec.name!r}: {built.__name__}: {error}") from None
