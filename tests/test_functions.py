"""Operations as functions: their signatures, their types for mypy, and completion of their keywords."""

from __future__ import annotations

import ast
import inspect
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jedi
import pytest
from pydantic import Field

import editkit
from editkit import InvalidParameter, OperationSpec, Params, PluginFailure, functions
from editkit.registry.registry import PluginSource, Registry, installed

ROOT = Path(__file__).parents[1]
OPERATIONS = [
    name
    for name, spec in installed().specs["operations"].items()
    if installed().owners["operations", name].distribution == "editkit"
]
SAMPLE = """
import editkit

image = editkit.open_image("apple.png")
result = editkit.img2img(image, prompt="an apple", strength=0.5, mask="mask.png", device="cpu")
result.save("out.png")
editkit.interpolate(image, "b.png", steps=4)
editkit.generate(prompt="an apple")
editkit.invert(image).save("apple.safetensors")
editkit.ops.of_another_package(image)
editkit.img2img(image, prompt="an apple", strenght=0.5)  # refused
editkit.img2img(image, prompt="an apple", strength="much")  # refused
editkit.prompt_edit(image, source="an apple")  # refused
editkit.interpolate(image)  # refused
editkit.invert(image).image  # refused
editkit.imgtoimg(image)  # refused
"""
"""Code of a user; the lines marked as refused have a wrong call."""


class SketchParams(Params):
    pencil: float = Field(0.5, description="Width of the pencil.")


class TakenParams(Params):
    device: str = Field("", description="Name of an argument of apply.")


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry with two operations of another package."""
    registry, source = Registry(), PluginSource("sketch", "sketching", "sketching", "1")
    for name, params in (("pencil-sketch", SketchParams), ("taken", TakenParams)):
        spec = OperationSpec(name=name, summary="Draw.", load=lambda: None, params=params)  # type: ignore[arg-type, return-value]
        registry.insert(source, "operations", spec)
    monkeypatch.setattr(functions, "installed", lambda: registry)
    return registry


def test_public_functions_are_the_operations_of_editkit() -> None:
    stub = ast.parse((ROOT / "editkit" / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom) and node.module == "ops"]
    assert {alias.name for node in imports for alias in node.names} == {name.replace("-", "_") for name in OPERATIONS}


@pytest.mark.usefixtures("third_party")
def test_operations_of_other_packages_have_functions_with_their_parameters() -> None:
    assert dir(editkit.ops) == ["pencil_sketch", "taken"]
    parameters = inspect.signature(editkit.ops.pencil_sketch).parameters
    assert list(parameters)[:3] == ["image", "pencil", "model"]
    assert parameters["pencil"].default == 0.5
    assert "pencil: Width of the pencil." in str(editkit.ops.pencil_sketch.__doc__)


@pytest.mark.usefixtures("third_party")
def test_a_parameter_with_the_name_of_an_argument_of_apply_is_refused() -> None:
    with pytest.raises(PluginFailure, match=r"'taken' of plugin 'sketch'.*its parameter 'device' is taken"):
        _ = editkit.ops.taken


def test_an_unknown_operation_is_an_attribute_error_with_the_closest_name() -> None:
    with pytest.raises(AttributeError, match="did you mean 'img2img'"):
        _ = editkit.ops.img2im
    assert not hasattr(editkit.ops, "__path__")


def test_functions_can_be_pickled_and_refuse_wrong_calls_as_apply_does() -> None:
    assert pickle.loads(pickle.dumps(editkit.img2img)) is editkit.ops.img2img
    with pytest.raises(InvalidParameter, match="img2img has no parameter 'strenght'; did you mean 'strength'"):
        editkit.img2img("apple.png", **{"strenght": 0.5})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=re.escape("interpolate(): missing a required argument: 'b'")):
        editkit.interpolate("a.png")  # type: ignore[call-arg]


def test_importing_editkit_and_its_operations_does_not_import_torch() -> None:
    code = "import sys, editkit; assert len(editkit.ops.__dir__()) > 10; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_editors_complete_every_keyword_of_an_operation(operation: str) -> None:
    name = operation.replace("-", "_")
    line = f"editkit.{name}("
    completed = jedi.Script(f"import editkit\n{line}", project=jedi.Project(ROOT)).complete(2, len(line))
    keywords = {one.name.removesuffix("=") for one in completed if one.name.endswith("=")}
    assert keywords == set(inspect.signature(getattr(editkit, name)).parameters)


@pytest.mark.slow
def test_editors_complete_every_public_name_and_its_keywords() -> None:
    script = jedi.Script("import editkit\neditkit.\neditkit.open_image(", project=jedi.Project(ROOT))
    assert {one.name for one in script.complete(2, 8)} >= set(editkit.__all__) - {"__version__"}
    assert "allow_urls=" in {one.name for one in script.complete(3, 19)}


@pytest.mark.slow
def test_mypy_refuses_misspelt_keywords_wrong_types_and_unknown_operations(tmp_path: Path) -> None:
    (tmp_path / "sample.py").write_text(SAMPLE, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--no-color-output", str(tmp_path / "sample.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    refused = {int(line) for line in re.findall(r"sample\.py:(\d+): error", done.stdout)}
    marked = {number for number, line in enumerate(SAMPLE.split("\n"), 1) if "# refused" in line}
    assert refused == marked, done.stdout
    for reason in ('Unexpected keyword argument "strenght"', 'expected "float"', 'maybe "img2img"'):
        assert reason in done.stdout
