"""Packages, metadata and public names agree, and imports stay within their limits."""

from __future__ import annotations

import ast
import dataclasses as dc
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import editkit
from architecture.syntax import nodes

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/__init__.py"))
HEAVY = {"torch", "diffusers", "transformers", "cv2"}


def imports(file: Path, *, top_level: bool = False) -> Iterator[tuple[str, list[str]]]:
    """(module, names) of the absolute imports in a file; of relative ones the module begins with dots."""
    everything = nodes(file)
    for node in everything[0].body if top_level else everything:
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), [alias.name for alias in node.names]


def test_plugin_folders_are_the_declared_entry_points() -> None:
    folders = {folder.name for folder in PLUGINS}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = project["entry-points"]["editkit"]
    assert folders == set(declared.values())
    assert len(declared) == len(folders)
    assert folders <= {point.value for point in importlib.metadata.entry_points(group="editkit")}


def test_plugins_is_a_source_root_and_no_package() -> None:
    assert not (ROOT / "plugins" / "__init__.py").exists()
    assert not list((ROOT / "plugins").glob("*.py"))
    assert all(folder.name.startswith("editkit_") for folder in PLUGINS)


def test_every_package_is_typed() -> None:
    for folder in (ROOT / "editkit", *PLUGINS):
        assert (folder / "py.typed").is_file(), folder


def test_the_core_imports_no_plugin() -> None:
    plugins = {folder.name for folder in PLUGINS}
    for file in (ROOT / "editkit").rglob("*.py"):
        used = {module.split(".")[0] for module, _ in imports(file)}
        assert not used & plugins, file


def test_plugins_import_public_names_only() -> None:
    for folder in PLUGINS:
        for file in folder.rglob("*.py"):
            for module, names in imports(file):
                if module == "editkit":
                    assert set(names) <= set(editkit.__all__), (file, names)
                else:
                    assert not module.startswith("editkit."), f"{file} reaches into {module}"


def test_plugins_do_not_import_each_other() -> None:
    others = {folder.name for folder in PLUGINS}
    for folder in PLUGINS:
        for file in folder.rglob("*.py"):
            used = {module.split(".")[0] for module, _ in imports(file)} & others
            assert used <= {folder.name}, file


def test_the_top_module_of_a_plugin_imports_nothing_heavy() -> None:
    for folder in PLUGINS:
        used = {module.split(".")[0] for module, _ in imports(folder / "__init__.py", top_level=True)}
        assert not used & HEAVY, folder


def test_importing_editkit_and_listing_plugins_starts_no_heavy_library() -> None:
    code = (
        "import sys, editkit, editkit.registry, editkit.cli; editkit.registry.installed(); "
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


def test_public_names_are_sorted_and_importable() -> None:
    assert list(editkit.__all__) == sorted(set(editkit.__all__))
    for name in editkit.__all__:
        assert getattr(editkit, name) is not None
    assert dir(editkit) == list(editkit.__all__)


def test_public_values_have_a_hash_and_those_that_hold_tensors_are_compared_by_identity() -> None:
    """Tensors have no truth value when they are compared, and mappings and lists no hash."""
    public = [getattr(editkit, name) for name in editkit.__all__]
    kinds = [kind for kind in public if isinstance(kind, type) and dc.is_dataclass(kind) and "__eq__" in vars(kind)]
    fields = [(kind.__name__, field) for kind in kinds if kind.__hash__ for field in dc.fields(kind) if field.compare]
    assert {"Report", "OperationSpec", "Pipeline"} <= {name for name, _ in fields}
    for name, field in fields:
        kind = re.sub(r"Callable\[.*|frozenset\[\w+\]", "", str(field.type))
        assert "Tensor" not in kind and "ndarray" not in kind, (name, field.name)
        assert field.hash is False or not re.search(r"(dict|list|set|Mapping|Sequence)\b", kind), (name, field.name)


def test_a_folder_of_the_core_does_not_replace_a_public_function() -> None:
    """The first import of ``editkit.x`` sets the attribute ``x`` of the package, over a function of that name."""
    code = "import editkit, editkit.model.backend; print(sorted(editkit.models()))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "emoji" in process.stdout, process.stderr


def test_public_names_of_the_test_kit_are_sorted_and_importable() -> None:
    assert list(editkit.testing.__all__) == sorted(set(editkit.testing.__all__))
    for name in editkit.testing.__all__:
        assert getattr(editkit.testing, name) is not None


def test_the_test_kit_runs_without_pytest() -> None:
    for file in (ROOT / "editkit").rglob("*.py"):
        assert "pytest" not in {module.split(".")[0] for module, _ in imports(file)}, file
