"""Layers of the core that import-linter does not see: type-only imports, and the size of modules and folders."""

from __future__ import annotations

import ast
import importlib.util
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from architecture.syntax import nodes

ROOT = Path(__file__).parents[2]
CORE = ROOT / "editkit"
FOLDERS = sorted({file.parent for file in CORE.rglob("*.py")})
ANY_TYPE = "editkit.registry.specs"
"""The one page that names the type of every extension point."""


def ranks() -> dict[str, int]:
    """The rank of each module directly below ``editkit``, from the layers contract; higher is further up."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    (contract,) = (one for one in tool["importlinter"]["contracts"] if one["type"] == "layers")
    layers = [layer.split(" | ") for layer in reversed(contract["layers"])]
    return {name: rank for rank, layer in enumerate(layers) for name in layer}


RANKS = ranks()


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def rank(module: str) -> int | None:
    """The rank of a module's layer; ``editkit`` itself and other packages have none."""
    package, _, rest = module.partition(".")
    return RANKS.get(rest.partition(".")[0]) if package == "editkit" else None


def type_only_imports(file: Path) -> Iterator[str]:
    """Absolute names of the modules that a file imports under ``if TYPE_CHECKING:``."""
    package = module_name(file) if file.name == "__init__.py" else module_name(file).rpartition(".")[0]
    for block in nodes(file):
        if not (isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")):
            continue
        for node in (node for statement in block.body for node in ast.walk(statement)):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                name = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
                yield from (f"{name}.{alias.name}" for alias in node.names) if node.module is None else [name]


def upward_type_imports() -> set[tuple[str, str]]:
    pairs = ((module_name(file), imported) for file in CORE.rglob("*.py") for imported in type_only_imports(file))
    return {(here, there) for here, there in pairs if (rank(here) or 0) < (rank(there) or 0) and here != ANY_TYPE}


def test_every_module_of_the_core_has_a_layer() -> None:
    outside = {"__init__", "__main__", "__pycache__"}
    assert {path.stem for path in CORE.iterdir() if path.suffix in {"", ".py"}} - outside == set(RANKS)


def test_type_only_imports_are_found() -> None:
    found = set(type_only_imports(CORE / "registry" / "specs.py"))
    assert {"editkit.model.backend", "editkit.sampling.loop", "PIL"} <= found


def test_no_type_only_import_points_upward() -> None:
    assert not upward_type_imports()


def test_modules_have_at_most_330_lines() -> None:
    long = {module_name(file): len(file.read_text(encoding="utf-8").splitlines()) for file in CORE.rglob("*.py")}
    assert {name: lines for name, lines in long.items() if lines > 330} == {}


@pytest.mark.parametrize("folder", FOLDERS, ids=module_name)
def test_folders_have_at_most_14_modules(folder: Path) -> None:
    modules = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    assert len(modules) <= 14, sorted(modules)
