"""The commands that list plugins and models and run the conformance suites."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ...registry.registry import Registry, installed
from ..errors import Command
from ..options import CompletedText
from ..outputs.printing import json_option, json_text


def plugins_command() -> Command:
    """Return the ``plugins`` command."""
    return Command(
        "plugins",
        example="editkit plugins",
        params=[json_option()],
        callback=_list_plugins,
        reads_only=True,
        help="List the installed plugins, the names that they register, and the plugins that failed to load.",
    )


def _list_plugins(as_json: bool) -> None:
    registry = installed()
    rows = _plugin_rows(registry)
    if as_json:
        click.echo(json_text({"plugins": rows, "failures": _failure_rows(registry)}))
        return
    for row in rows:
        source = f"{row['module']}, {row['distribution']} {row['version']}"
        click.echo(f"{row['name']} ({source}): {', '.join(row['hooks'])}")
        for kind, names in row["registered"].items():
            click.echo(f"    {kind}: {', '.join(names)}")
    for failure in registry.failures:
        click.echo(f"failed: {failure}")


def _plugin_rows(registry: Registry) -> list[dict[str, Any]]:
    return [
        {
            "name": plugin.source.name,
            "module": plugin.source.module,
            "distribution": plugin.source.distribution,
            "version": plugin.source.version,
            "hooks": list(plugin.hooks),
            "registered": {kind: list(names) for kind, names in plugin.names.items()},
        }
        for plugin in registry.plugins
    ]


def _failure_rows(registry: Registry) -> list[dict[str, str]]:
    return [
        {
            "name": failure.source.name,
            "module": failure.source.module,
            "distribution": failure.source.distribution,
            "version": failure.source.version,
            "reason": failure.reason,
        }
        for failure in registry.failures
    ]


def models_command() -> Command:
    """Return the ``models`` command."""
    return Command(
        "models",
        example="editkit models emoji",
        params=[click.Argument(["name"], required=False, type=CompletedText(names=["models"])), json_option()],
        callback=_models,
        reads_only=True,
        help="List the registered models, or describe one: a registered name, a diffusers folder, a checkpoint file or "
        "a hub id. Its weights are not read.",
    )


def _models(name: str | None, as_json: bool) -> None:
    """List the registered models, or describe the one that is named."""
    if name is None:
        _list_models(as_json)
        return
    from .models import describe_model

    description = describe_model(name)
    click.echo(json_text(description.as_dict()) if as_json else description.text())


def _list_models(as_json: bool) -> None:
    registry = installed()
    rows = [
        {
            "name": spec.name,
            "summary": spec.summary,
            "licence": spec.licence,
            "default": spec.default,
            "default_for": sorted(spec.default_for),
            "folder": _model_folder(registry, spec.name),
        }
        for spec in registry.specs["models"].values()
    ]
    if as_json:
        click.echo(json_text({"models": rows}))
        return
    for row in rows:
        click.echo(f"{row['name']}{_default_text(row)}: {row['summary']}")
        click.echo(f"    licence: {row['licence'] or 'unknown'}")
        click.echo(f"    folder: {row['folder'] or 'not available'}")


def _default_text(row: Mapping[str, Any]) -> str:
    """Return the operations for which a model is the default, in brackets."""
    if row["default"]:
        return " (default)"
    return f" (default for {', '.join(row['default_for'])})" if row["default_for"] else ""


def _model_folder(registry: Registry, name: str) -> str | None:
    """Return the folder of a model, or None if it is not available."""
    try:
        folder: Path = registry.load("models", name)
    except Exception:  # any code of a plugin: one that fails must not hide the other models
        return None
    return str(folder) if folder.is_dir() else None


_CHECKED = ("operations", "inverters", "samplers", "backends", "models", "annotators", "controls")
"""Kinds of names with a conformance suite."""


def check_command() -> Command:
    """Return the ``check`` command."""
    return Command(
        "check",
        example="editkit check edict",
        params=[click.Argument(["name"], type=CompletedText(names=_CHECKED))],
        callback=_check,
        reads_only=True,
        help="Run the conformance suite of a registered operation, inverter, sampler, backend or plugin. Of a model's "
        "folder or hub id, compare two images of four steps, unguided and guided, with those of its own pipeline.",
    )


def _check(name: str) -> None:
    """Print one line per check and the totals; exit with 1 if a check failed."""
    from ... import testing

    outcomes: Counter[str] = Counter()
    for result in testing.check(name):
        outcomes[result.outcome] += 1
        detail = f": {' '.join(result.detail.splitlines())}" if result.detail else ""
        click.echo(f"{result.outcome}  {result.check}{detail}")
    click.echo(", ".join(f"{outcomes[outcome]} {outcome}" for outcome in ("passed", "failed", "skipped")))
    if outcomes["failed"]:
        raise click.exceptions.Exit(1)
