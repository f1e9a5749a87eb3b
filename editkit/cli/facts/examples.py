"""Example commands in help texts and descriptions."""

from __future__ import annotations

import re
import shlex
from typing import Any

from ...registry.params import field_metadata, image_fields
from ...registry.registry import Registry
from ...registry.specs import Spec

_INPUTS = {"image": "image.png", "two images": "a.png b.png", "inversion": "image.safetensors", "nothing": ""}
_MASKS = {"words": "--mask 'words:the hat'", "points": "--mask points:120,80"}
"""Masks that a segmenter finds, by the kind of specification that it reads."""


def example_of(registry: Registry, kind: str, spec: Spec) -> str:
    """Return an example command of an operation or command, or of one that takes a name; empty if there is none."""
    if kind in ("operations", "commands"):
        return usage_of(spec)
    caller, field = _caller(registry, kind, spec)
    if caller is None:
        return ""
    masks = [text for name, text in _MASKS.items() if kind == "segmenters" and name in spec.reads]  # type: ignore[attr-defined]
    masks += ["--mask mask.png"] if getattr(spec, "needs_mask", False) else []
    option = f"--{field.replace('_', '-')}"
    usage = re.sub(rf" {option} \S+", "", usage_of(caller))
    return " ".join([usage, *masks[:1], option, shlex.quote(call_of(spec))])


def usage_of(spec: Spec) -> str:
    """Return the example that a spec declares, else the least command: its inputs and required options."""
    declared: str = getattr(spec, "usage", "")
    if declared:
        return f"editkit {spec.name} {declared}"
    inputs = _INPUTS[getattr(spec, "takes", "nothing")]
    required = [_required_option(spec, name) for name, field in spec.params.model_fields.items() if field.is_required()]
    return " ".join(filter(None, [f"editkit {spec.name}", inputs, *required]))


def call_of(spec: Spec) -> str:
    """Return a name as an option takes it, with the options that have no default."""
    required = [name for name, field in spec.params.model_fields.items() if field.is_required()]
    options = ",".join(f"{name}={_placeholder(spec, name)}" for name in required)
    return f"{spec.name}:{options}" if options else spec.name


def _required_option(spec: Spec, name: str) -> str:
    text = _placeholder(spec, name)
    is_argument = field_metadata(spec.params.model_fields[name]).get("argument")
    return text if is_argument else f"--{name.replace('_', '-')} {text}"


def _placeholder(spec: Spec, name: str) -> str:
    extra = field_metadata(spec.params.model_fields[name])
    return "FOLDER" if "path" in extra else "FILE" if name in image_fields(spec.params) else "TEXT"


def _caller(registry: Registry, kind: str, spec: Spec) -> tuple[Any, str]:
    """Return the operation or command whose option takes a name, and the option; edits of inversions come first."""
    if kind == "accelerators":  # its name is a loading option, which every operation has
        return registry.specs["operations"].get("img2img"), "accelerate"
    reads: frozenset[str] = getattr(spec, "reads", frozenset()) if kind == "controls" else frozenset()
    found = [
        (not getattr(caller, "edits_inversion", False), caller.name, caller, name)
        for calls in ("operations", "commands")
        for caller in registry.specs[calls].values()
        for name, field in caller.params.model_fields.items()
        if field_metadata(field).get("registry") == kind and reads <= set(caller.params.model_fields)
    ]
    return min(found, key=lambda one: one[:2])[2:] if found else (None, "")
