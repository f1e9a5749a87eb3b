"""File names of results by a template: ``--name "{stem}-{seed}.{ext}"``."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

import click

from ...errors import InvalidParameter, did_you_mean

_LONG = re.compile(r"\d{4}")


def name_option() -> click.Option:
    """Return the option for the names of files."""
    text = (
        "Name of each result, with {stem}, {ext}, {operation}, {n}, which counts the results, {seed} and other "
        "parameters in braces: {stem}-{seed}.{ext}."
    )
    return click.Option(["--name"], metavar="TEMPLATE", help=text)


def fields_of(template: str) -> list[str]:
    """Return the names in braces; raises InvalidParameter for a template that cannot be read or names a folder."""
    try:
        fields = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise InvalidParameter(f"name={template!r} is not allowed: {error}; write {{stem}}-{{seed}}.{{ext}}") from None
    if "/" in template or "\\" in template or not template.strip("."):
        raise InvalidParameter(
            f"name={template!r} is not allowed: a name without folders is needed; give those with -o"
        )
    return fields


def fill_template(
    template: str | None, results: Sequence[Mapping[str, Any]], endings: Sequence[Sequence[str]]
) -> list[str] | None:
    """Return the file name of each of several results, with the suffixes that each may have; None without a template.

    A name may hold ``ext``, the default suffix, and ``n``, which counts the results from 1.
    """
    if template is None:
        return None
    fields_of(template)
    return [
        _fill(template, {**values, "ext": suffixes[0][1:], "n": number + 1}, suffixes)
        for number, (values, suffixes) in enumerate(zip(results, endings, strict=True))
    ]


def _fill(template: str, values: Mapping[str, Any], suffixes: Sequence[str]) -> str:
    """Return a file name, with values in place of the names in braces; a value loses what no file name may hold.

    Raises InvalidParameter for an unknown name or format, and for a suffix that the result cannot have.
    """
    parts = []
    for text, name, form, _ in string.Formatter().parse(template):
        parts.append(text)
        if name is None:
            continue
        if values.get(name) is None:
            known = sorted(key for key, value in values.items() if value is not None)
            advice = f": give --{name.replace('_', '-')}" if name in values else f"; {did_you_mean(name, known)}"
            raise InvalidParameter(f"name: {name!r} in {template!r} has no value here{advice}")
        if _LONG.search(form or ""):  # filling a name of gigabytes takes minutes
            raise InvalidParameter(f"name: {name!r} cannot be written as {form!r}: at most 999 characters are allowed")
        try:
            parts.append(re.sub(r'[/\\:*?"<>|\x00-\x1f]+', "_", format(values[name], form or "")))
        except (ValueError, TypeError) as error:
            raise InvalidParameter(f"name: {name!r} cannot be written as {form!r}: {error}") from None
    filled = "".join(parts)
    if not filled.lower().endswith(tuple(suffixes)):
        raise InvalidParameter(f"name={filled!r} ends in no format: write .{{ext}}, or one of {', '.join(suffixes)}")
    return filled
