"""Write the stub of ``editkit.ops``: the types of editkit's own operations, from their signatures at run time."""

from __future__ import annotations

import inspect
import json
import re
import sys
import textwrap
import types
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Literal, Union, get_args, get_origin

from editkit.functions import docstring_of, signature_of
from editkit.registry.registry import Registry

WIDTH = 120
NOTICE = '''"""Types of the operations of editkit. Written by docs/generate.py. Do not edit."""'''
NAMED = {
    "Any": "typing",
    "Inversion": "editkit.inversion.inversion",
    "Mapping": "collections.abc",
    "MaskSpecification": "editkit.images.masks.specification",
    "PaintedMask": "editkit.images.masks.painted",
    "PathLike": "os",
    "Sequence": "collections.abc",
    "Source": "editkit.images.sources",
}
"""Modules of the names in types that are text."""
REST = '''def __getattr__(name: str) -> Callable[..., Any]:
    """Return the function of an operation that another package registers."""'''


class Types:
    """Types as text, with the imports that the text needs."""

    def __init__(self) -> None:
        self.imports: defaultdict[str, set[str]] = defaultdict(set)
        self.libraries: set[str] = set()

    def text(self, annotation: Any) -> str:
        """Return the text of a type."""
        if isinstance(annotation, str):
            return self.text_of_names(annotation)
        if isinstance(annotation, list):
            return f"[{', '.join(map(self.text, annotation))}]"
        if annotation in (None, types.NoneType, ...):
            return "..." if annotation is ... else "None"
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin in (Union, types.UnionType):
            return " | ".join(self.text(one) for one in sorted(arguments, key=lambda one: one is types.NoneType))
        name = self.name(origin or annotation)
        texts = map(value if origin is Literal else self.text, arguments)
        return f"{name}[{', '.join(texts)}]" if arguments else name

    def text_of_names(self, text: str) -> str:
        """Return a type that is text already, and note the imports of the names in it."""
        for word in NAMED.keys() & set(re.findall(r"\w+", text)):
            self.needs(NAMED[word], word)
        return text

    def needs(self, module: str, name: str) -> str:
        """Note an import and return nothing, to be added to a text."""
        self.imports[module].add(name)
        return ""

    def name(self, kind: Any) -> str:
        """Return the name of a class, which the stub imports."""
        package = kind.__module__.partition(".")[0]
        if package == "builtins":
            return str(kind.__name__)
        if package == "editkit" or package in sys.stdlib_module_names:
            return str(kind.__name__) + self.needs(kind.__module__, kind.__name__)
        self.libraries.add(package)
        return f"{kind.__module__}.{kind.__name__}"  # a parameter may have the bare name: device

    def lines(self) -> Iterator[str]:
        """Yield the lines of the imports: standard library, other libraries, editkit."""
        own = {module for module in self.imports if module.startswith("editkit.")}
        yield from (self.line(module) for module in sorted(self.imports.keys() - own))
        yield from ("", *(f"import {name}" for name in sorted(self.libraries)), "")
        yield from (self.line(module).replace("editkit", "", 1) for module in sorted(own))
        yield ""

    def line(self, module: str) -> str:
        return f"from {module} import {', '.join(sorted(self.imports[module]))}"


def value(default: Any) -> str:
    """Return a default as text."""
    return json.dumps(default, ensure_ascii=False) if isinstance(default, str) else repr(default)


def operations_stub(registry: Registry) -> str:
    """Return the text of ``ops.pyi``."""
    kinds = Types()
    functions = [function(registry, name, kinds) for name in sorted(registry.specs["operations"])]
    kinds.needs("collections.abc", "Callable")
    kinds.needs("typing", "Any")
    return "\n".join([NOTICE, "", *kinds.lines(), "\n\n".join([*functions, REST]), ""])


def function(registry: Registry, operation: str, kinds: Types) -> str:
    """Return the declaration of one operation."""
    spec = registry.spec("operations", operation)
    signature = signature_of(registry, spec)
    lines = [f"def {operation.replace('-', '_')}("]
    lines += [f"    {line}," for line in parameters(signature, kinds)]
    lines += [f") -> {kinds.text(signature.return_annotation)}:"]
    summary, *others = docstring_of(spec).split("\n")
    body = [line for text in others for line in (textwrap.wrap(text, WIDTH - 4, subsequent_indent="    ") or [""])]
    return "\n".join([*lines, *(f"    {line}".rstrip() for line in [f'"""{summary}', *body, '"""'])])


def parameters(signature: inspect.Signature, kinds: Types) -> Iterable[str]:
    """Yield the parameters of a signature."""
    starred = False
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        default = "" if parameter.default is inspect.Parameter.empty else f" = {value(parameter.default)}"
        yield f"{parameter.name}: {kinds.text(parameter.annotation)}{default}"
