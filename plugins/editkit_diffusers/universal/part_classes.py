"""Classes of a pipeline and its parts where optional packages of diffusers and transformers are missing."""

from __future__ import annotations

import importlib
import importlib.util
from types import MappingProxyType
from typing import Any

import transformers
from transformers.utils import is_torchvision_available

_UNDECLARED = MappingProxyType(
    {
        "Cosmos2TextToImagePipeline": "cosmos_guardrail",
        "OmniGenPipeline": "torchvision",
        "PRXPipeline": "ftfy",
        "PRXPixelPipeline": "ftfy",
    }
)
"""Packages that pipelines use without a check, so that they fail in a call."""
_TOKENIZED = ("PixtralProcessor",)
"""Processors that transformers does not have without torchvision, and of which pipelines use the tokenizer alone."""


def missing_package(name: str, kind: Any) -> str:
    """Return the package without which diffusers does not run a class of pipelines; empty if it is installed."""
    needed = [*vars(kind).get("_backends", ()), *([_UNDECLARED[name]] if name in _UNDECLARED else [])]
    return next((package for package in needed if importlib.util.find_spec(package) is None), "")


def part_class(library: str, name: str) -> Any:
    """Return the class of a part by its entry in the index of a folder; None if the library has no such class.

    Transformers needs torchvision to load the part of a processor that reads videos. Without torchvision the class has
    no such part: pipelines of images never use it.
    """
    own = library in {"diffusers", "transformers"}
    found = getattr(importlib.import_module(library if own else f"diffusers.pipelines.{library}"), name, None)
    kind: Any = found if isinstance(found, type) else None
    if kind is None or library != "transformers" or is_torchvision_available():
        return kind
    if name in _TOKENIZED:
        return transformers.AutoTokenizer
    if not (issubclass(kind, transformers.ProcessorMixin) and "video_processor" in kind.get_attributes()):
        return kind
    parts = [part for part in kind.get_attributes() if part != "video_processor"]
    members = {"__module__": kind.__module__, "get_attributes": classmethod(lambda _: parts)}
    return type(name, (kind,), members)  # diffusers compares its name with that in the index
