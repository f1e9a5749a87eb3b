"""The command line: derived from the registry; an error is one line; files are written whole or not at all."""

from __future__ import annotations

import io
import itertools
import json
import shlex
import shutil
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from pydantic import Field

import editkit
from editkit import (
    CommandSpec,
    DrawingParams,
    EditkitError,
    InvalidParameter,
    OperationSpec,
    Params,
    RegisteredName,
    Table,
)
from editkit.__main__ import _repeat_interrupt
from editkit.cli import main
from editkit.cli.many.given_values import GivenValues
from editkit.cli.many.inputs import Input
from editkit.cli.operations import operation_command
from editkit.cli.options import expand_home, parameters_of
from editkit.cli.outputs.plan import OutputPlan, ResultName
from editkit.cli.outputs.printing import json_text
from editkit.cli.tables import measuring_command
from editkit.files.writing import check_output
from editkit.model import loading
from editkit.registry.registry import PluginSource, Registry, installed

HEAVY = ("torch", "diffusers", "transformers", "numpy", "PIL", "yaml", "tqdm")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, random_image: Any) -> Path:
    """A folder to work in, with three images."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate("abc"):
        random_image((19, 14), seed=number).save(f"{name}.png")
    return tmp_path


def call(*words: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], input=stdin)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def assert_error(result: Result, *fragments: str, status: int = 2) -> None:
    """Assert that the call ended with one line that names the error."""
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1, result.stderr
    for fragment in fragments:
        assert fragment in result.stderr


def test_a_current_folder_that_was_deleted_is_named(here: Path) -> None:
    for path in here.iterdir():
        path.unlink()
    here.rmdir()
    assert_error(call("img2img", "/a.png", "--prompt", "x"), "the current folder cannot be read", status=1)


def run_python(code: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


# Help


def test_help_lists_every_operation_and_command() -> None:
    text = " ".join(call("--help").stdout.split())
    for name, spec in editkit.operations().items():
        assert f"{name} {spec.summary}" in text
    for name in ("replay", "run", "plugins", "models", "check", *editkit.inverters(), *editkit.samplers()):
        assert name in text
    assert call().stdout == call("--help").stdout


def test_help_imports_no_heavy_library(tmp_path: Path) -> None:
    for words in (["--help"], ["img2img", "--help"], ["run", "--help"], ["plugins", "--json"], ["models"]):
        code = f"""
import sys
import time
import weakref
from editkit.cli import main
try: main({words!r})
except SystemExit as end: assert end.code == 0
print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])"""
        assert run_python(code, tmp_path).splitlines()[-1] == "heavy: []", words


@pytest.mark.parametrize("name", ["replay", "run", "plugins", "models", "check", *sorted(editkit.operations())])
def test_every_command_has_help(name: str) -> None:
    result = call(name, "--help")
    assert result.exit_code == 0 and result.stdout.startswith(f"Usage: editkit {name}")


def option_names(command: click.Command) -> list[str]:
    """Names of a command's options, in the order of ``--help``."""
    return [param.name or "" for param in command.params if isinstance(param, click.Option)]


def test_required_options_come_first_and_common_ones_last() -> None:
    for name, spec in editkit.operations().items():
        names = option_names(operation_command(installed(), spec))
        fields = {name: field for name, field in spec.params.model_fields.items() if name in names}
        required = {name for name, field in fields.items() if field.is_required()}
        own = {name for name in fields if name in vars(spec.params)["__annotations__"]} - required
        first, then = names[: len(required)], names[len(required) :]
        assert set(first) == required, name
        assert set(then[: len(own)]) == own, name
        assert set(names[: len(fields)]) == set(fields), name
    assert option_names(operation_command(installed(), editkit.operations()["prompt-edit"]))[:4] == [
        "source",
        "target",
        "strength",
        "inverter",
    ]


def test_each_command_has_the_options_that_apply() -> None:
    everywhere = {"--output", "--model", "--device", "--dtype", "--json", "--verbose"}
    some = {"--mask", "--sheet", "--feather", "--width"}
    expected = {
        "generate": {"--width"},
        "img2img": {"--mask", "--sheet", "--feather"},
        "prompt-edit": {"--mask", "--sheet", "--feather"},
        "interpolate": {"--sheet"},
        "invert": set(),
        "reconstruct": {"--sheet"},
    }
    for name, few in expected.items():
        command = operation_command(installed(), editkit.operations()[name])
        flags = {flag for param in command.params for flag in param.opts}
        assert everywhere <= flags and flags & some == few, name


# Options computed from fields


class ShapeParams(DrawingParams):
    text: str = Field(description="What to do.", json_schema_extra={"argument": True})
    amount: float = Field(0.5, ge=0.0, le=1.0, description="How much.")
    exponent: float = Field(1.0, gt=0.0, lt=3.0, description="How steep.")
    scale: Literal[2, 4] = Field(2, description="How large.")
    kind: Literal["edge", "depth"] = Field("edge", description="Which map.")
    bold: bool = Field(False, description="Whether it is bold.")
    limit: int | None = Field(None, ge=1, description="How many.")
    weights: tuple[float, ...] = Field((), description="One a layer.")
    map_file: Path | None = Field(None, description="A map.")
    by_way_of: str = RegisteredName("inverters", "pinned", "Inverter.")


def nothing() -> Any:
    """The implementation of an operation that is never run."""


def shape(words: list[str], params: type[Params] = ShapeParams) -> dict[str, Any]:
    """Parse the words with the options of a declaration and validate the values."""
    records: dict[str, Any] = {}
    command = click.Command("shape", params=parameters_of(params, installed()), callback=records.update)
    command.main(words, standalone_mode=False)
    arguments = {name: value for name, value in records.items() if value is not None}
    return params.parse("shape", arguments).model_dump()


def test_text_becomes_the_declared_type() -> None:
    words = ["bolder", "--amount", "1", "--scale", "4", "--kind", "depth", "--bold", "--limit", "3"]
    got = shape([*words, "--weights", "[1, 0.5]", "--map-file", "m.png", "--seed", "7", "--by-way-of", "ddim"])
    expected = {"text": "bolder", "amount": 1.0, "scale": 4, "kind": "depth", "bold": True, "limit": 3, "seed": 7}
    expected |= {"weights": (1.0, 0.5), "map_file": Path("m.png"), "by_way_of": "ddim"}
    assert {name: got[name] for name in expected} == expected


def test_nothing_given_leaves_the_declared_defaults() -> None:
    assert shape(["x"]) == ShapeParams.parse("shape", {"text": "x"}).model_dump()


@pytest.mark.parametrize(
    "words", [["--amount", "much"], ["--limit", "1.5"], ["--scale", "3"], ["--kind", "x"], ["--weights", "1,2"]]
)
def test_text_of_another_type_names_the_option(words: list[str]) -> None:
    with pytest.raises(click.BadParameter) as caught:
        shape(["x", *words])
    assert words[0] in caught.value.format_message()


@pytest.mark.parametrize("words", [["--amount", "nan"], ["--amount", "1.5"], ["--limit", "0"], ["--seed", "-1"]])
def test_values_are_checked_by_the_declaration(words: list[str]) -> None:
    with pytest.raises(editkit.InvalidParameter, match=words[0][2:]):
        shape(["x", *words])


def test_help_states_constraints_and_defaults() -> None:
    spec = OperationSpec(name="shape", summary="Shape it.", load=nothing, params=ShapeParams)
    text = " ".join(CliRunner().invoke(operation_command(installed(), spec), ["--help"]).stdout.split()).replace(
        "- ", "-"
    )
    for fragment in (
        "--amount NUMBER How much. [0 to 1; default: 0.5]",
        "[more than 0; less than 3; default: 1.0]",
        "--scale [2|4] How large. [default: 2]",
        "--bold / --no-bold Whether it is bold. --limit",
        "INTEGER How many. [at least 1]",
        f"[one of {', '.join(sorted(editkit.inverters()))}; default: pinned]",
        "IMAGE... TEXT",
    ):
        assert fragment in text


@pytest.mark.parametrize("name", ["model", "dtype", "verbose", "help", "image"])
def test_a_parameter_with_the_name_of_an_option_is_a_plugin_failure(name: str) -> None:
    clash = type("Clash", (Params,), {"__annotations__": {name: str}, name: ""})
    registry = Registry()
    spec = OperationSpec(name="clash", summary="Clash.", load=nothing, params=clash)
    registry.insert(PluginSource("clash", "clash_module", "clash-dist", "1"), "operations", spec)
    with pytest.raises(editkit.PluginFailure, match=rf"clash-dist.*{name}' is taken"):
        operation_command(registry, spec)


# Bad input


def broken_inputs(folder: Path, random_image: Any) -> None:
    (folder / "text.png").write_text("no image")
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:200])
    frames = [random_image((19, 14), seed=seed) for seed in range(2)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    random_image((40, 7)).save(folder / "wide.png")
    random_image((16384, 2)).save(folder / "long.png")
    frames[0].save(folder / "pages.tif", save_all=True, append_images=frames[1:])
    (folder / "pointer.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    (folder / "page.jpg").write_text("\n<!DOCTYPE HTML><html>")
    (folder / "circle.png").symlink_to("circle.png")
    (folder / "empty").mkdir()
    (folder / "steps.yaml").write_text("steps:\n- img2img: {strength: 0.5}\n")
    (folder / "wrong.yaml").write_text("steps:\n- img2img: {strenght: 0.5}\n")
    (folder / "no.yaml").write_text("{")


LONG = "x" * 300
BAD: dict[str, tuple[list[str], str]] = {
    "missing file": (["img2img", "nope.png"], "'nope.png'"),
    "directory": (["img2img", "empty"], "'empty'"),
    "text": (["img2img", "text.png"], "'text.png'"),
    "truncated": (["img2img", "cut.png"], "'cut.png'"),
    "animated": (["invert", "moving.gif"], "2 frames"),
    "jpeg of an animation": (["img2img", "moving.gif", "--format", "jpeg"], "--format jpeg is not for an animation"),
    "gif of a still image": (["img2img", "a.png", "--format", "gif"], "--format gif is not for a still image"),
    "resume": (["img2img", "a.png", "--resume"], "batch goes on by itself, other commands by --skip-existing"),
    "anchor of a still image": (["img2img", "a.png", "--anchor"], "--anchor is for animations"),
    "nan": (["img2img", "a.png", "--strength", "nan"], "strength=nan"),
    "out of range": (["img2img", "a.png", "--strength", "1.5"], "strength=1.5"),
    "not a number": (["img2img", "a.png", "--steps", "many"], "; allowed: 1 to 1000"),
    "misspelt option": (["img2img", "a.png", "--strenght", "0.5"], "--strenght"),
    "unknown operation": (["img2imgg", "a.png"], "did you mean 'img2img'?"),
    "missing parameter": (["prompt-edit", "a.png", "--source", "x"], "'target'"),
    "no image": (["img2img"], "IMAGE"),
    "no instruction": (["instruct", "a.png"], "Missing argument 'INSTRUCTION'"),
    "no instruction after two images": (["instruct", "a.png", "a.png"], "INSTRUCTION 'a.png' is the name of a file"),
    "neither image nor instruction": (["instruct"], "Missing argument 'IMAGE...'"),
    "no image of a pipeline": (["run", "steps.yaml"], "Missing argument 'IMAGE...'"),
    "missing output folder": (["img2img", "a.png", "-o", "nowhere/x.png"], "'nowhere/x.png'"),
    "neither file nor folder": (["img2img", "a.png", "-o", "out"], "'out' is no folder: end it in / for a new one"),
    "wrong ending": (["img2img", "a.png", "-o", "x.bmp"], ".webp"),
    "no ending": (["img2img", "a.png", "-o", "x"], "'x'"),
    "wrong ending of an inversion": (["invert", "a.png", "-o", "x.png"], ".safetensors"),
    "sheet": (["img2img", "a.png", "--sheet", "nowhere/s.png"], "sheet 'nowhere/s.png'"),
    "sheet over the input": (["img2img", "a.png", "--sheet", "a.png"], "'a.png'"),
    "preview over the input": (["img2img", "a.png", "--preview", "./a.png"], "'a.png'"),
    "preview over the output": (["img2img", "a.png", "--preview", "x.png", "-o", "x.png"], "'x.png'"),
    "output over the input": (["img2img", "a.png", "-o", "./a.png"], "'a.png'"),
    "output over the mask": (["img2img", "a.png", "--mask", "b.png", "-o", "b.png"], "'b.png'"),
    "missing mask": (["img2img", "a.png", "--mask", "nope.png"], "mask 'nope.png'"),
    "mask of another size": (["img2img", "a.png", "--mask", "wide.png"], "mask 'wide.png' is 40 x 7"),
    "map of another shape": (["control", "a.png", "--control-image", "wide.png"], "control_image 'wide.png' is 40 x 7"),
    "several into a file": (["img2img", "a.png", "b.png", "-o", "x.png"], "folder"),
    "one name twice": (["img2img", "a.png", "nowhere/a.jpg", "-o", "out"], "'a.png'"),
    "several to a pipe": (["img2img", "a.png", "b.png", "-o", "-"], "folder"),
    "json and a pipe": (["img2img", "a.png", "--json", "-o", "-"], "--json"),
    "name too long for an image": (["img2img", LONG], "too long"),
    "name too long for an output": (["img2img", "a.png", "-o", f"{LONG}.png"], "too long"),
    "name too long for a folder": (["img2img", "a.png", "-o", f"{LONG}/"], "too long"),
    "no output": (["img2img", "a.png", "-o", ""], "'--output': it is empty"),
    "an empty mask": (["img2img", "a.png", "--mask", ""], "'--mask': it is empty"),
    "an empty folder of masks": (["img2img", "a.png", "--mask-dir", ""], "'--mask-dir': it is empty"),
    "an empty model": (["img2img", "a.png", "--model", ""], "'--model': it is empty"),
    "an empty image": (["img2img", ""], "IMAGE...': it is empty"),
    "an empty second image": (["interpolate", "a.png", ""], "'B': it is empty"),
    "a name of gigabytes": (["img2img", "a.png", "--name", "{stem:>9999999999}.png"], "at most 999 characters"),
    "a Git LFS pointer": (["img2img", "pointer.png"], "git lfs pull"),
    "a web page": (["img2img", "page.jpg"], "it is a web page"),
    "pages": (["img2img", "pages.tif"], "save one page as PNG"),
    "a circle of links": (["img2img", "circle.png"], "name the file itself"),
    "empty mask from a pipe": (["inpaint", "a.png", "--mask", "-"], "mask 'standard input'"),
    "quality of a lossless format": (["img2img", "a.png", "--quality", "50"], "quality=50 has no effect in PNG"),
    "quality out of range": (["img2img", "a.png", "-o", "x.jpg", "--quality", "0"], "--quality"),
    "quality of an animation": (["interpolate", "a.png", "b.png", "-o", "x.gif", "--quality", "9"], "quality=9"),
    "side that a format cannot hold": (["img2img", "long.png", "-o", "x.webp"], "does not fit in .webp"),
    "two formats": (["img2img", "a.png", "-o", "x.jpg", "--format", "png"], "--format png contradicts output 'x.jpg'"),
    "folder without images": (["img2img", "empty", "-o", "out"], "image 'empty' is a folder"),
    "too many pixels": (["generate", "--prompt", "x", "--width", "8192", "--height", "8192"], "too large"),
    "output that has to be new": (["img2img", "a.png", "-o", "b.png", "--existing", "refuse"], "'b.png' exists"),
    "pipe to nowhere": (["img2img", "-"], "-o"),
    "replay without recipe": (["replay", "a.png"], "recipe"),
    "two masks for one image": (["img2img", "a.png", "--mask", "b.png", "--mask", "c.png"], "--mask is given 2 times"),
    "two masks for three": (
        ["img2img", "a.png", "b.png", "c.png", *["--mask", "a.png"] * 2, "-o", "out"],
        "or 3 times",
    ),
    "seeds in reverse": (["img2img", "a.png", "--seed", "3-1"], "'3-1'"),
    "too many seeds": (["img2img", "a.png", "--seed", "0-999999999999"], "10000"),
    "one seed twice": (["img2img", "a.png", "--seed", "0-2,1"], "twice"),
    "seeds to a pipe": (["img2img", "a.png", "--seed", "0-1", "-o", "-"], "one result"),
    "no pipeline": (["run", "nope.yaml", "a.png"], "pipeline 'nope.yaml'"),
    "an option twice": (["img2img", "a.png", "--seed", "1", "--seed", "2"], "--seed is given 2 times"),
    "an option twice, short and long": (
        ["img2img", "a.png", "-o", "x.png", "--output", "y.png"],
        "--output is given 2",
    ),
    "both of two flags": (["invert", "a.png", "--cache", "--no-cache"], "--cache is given 2 times"),
    "a pipeline's option twice": (["run", "steps.yaml", "a.png", "--seed", "1", "--seed", "1"], "--seed is given 2"),
    "a prompt that is not UTF-8": (["img2img", "a.png", "--prompt", "\udcff"], "prompt="),
    "an empty instruction": (["instruct", "a.png", ""], "instruction=''"),
    "one image missing": (["run", "steps.yaml", "nope.png"], "'nope.png'"),
}
WITH_TORCH: dict[str, tuple[list[str], str]] = {
    "name too long for a model": (["img2img", "a.png", "-m", LONG], "model"),
    "name too long for an adapter": (["img2img", "a.png", "--adapter", LONG], "adapter"),
    "unknown sampler": (["img2img", "a.png", "--sampler", "dimm"], "did you mean 'ddim'?"),
    "unknown inverter option": (["invert", "a.png", "--method", "ddim:eta=1"], "eta"),
    "misspelt in a pipeline": (["run", "wrong.yaml", "a.png"], "strenght"),
    "not a pipeline": (["run", "no.yaml", "a.png"], "pipeline"),
    "bad seed in a pipeline": (["run", "steps.yaml", "a.png", "--seed", "-1"], "seed=-1"),
    "missing inversion": (["reconstruct", "nope.safetensors"], "nope.safetensors"),
    "image as inversion": (["reconstruct", "a.png"], "a.png"),
    "missing model": (["img2img", "a.png", "-m", "nowhere"], "'nowhere'"),
    "empty model": (["img2img", "a.png", "-m", "empty"], "model_index.json"),
    "dtype": (["img2img", "a.png", "--dtype", "int8"], "dtype='int8'"),
    "device": (["img2img", "a.png", "--device", "toaster"], "device='toaster'"),
    "two sizes": (["interpolate", "a.png", "small.png"], "one size"),
    "unknown check": (["check", "dimm"], "did you mean 'ddim'?"),
}


@pytest.mark.parametrize("case", [*BAD, *WITH_TORCH])
def test_bad_input_is_one_line_and_writes_nothing(here: Path, case: str, random_image: Any) -> None:
    broken_inputs(here, random_image)
    random_image((5, 5)).save("small.png")
    words, fragment = {**BAD, **WITH_TORCH}[case]
    before = files(here)
    assert_error(call(*words), fragment)
    assert files(here) == before


def test_bad_input_is_reported_without_importing_torch(here: Path, random_image: Any) -> None:
    broken_inputs(here, random_image)
    without = [words for case, (words, _) in BAD.items() if words[0] != "run"]
    code = f"""
import sys
import time
import weakref
from editkit.cli import main
for words in {without!r}:
    try: main(words)
    except SystemExit as end: assert end.code == 2, words
    assert 'torch' not in sys.modules, words"""
    run_python(code, here)


def test_incomplete_and_pickled_models_are_errors(here: Path, tiny_folder: Path) -> None:
    shutil.copytree(tiny_folder, "pickled")
    weights = next(Path("pickled/unet").glob("*.safetensors"))
    weights.rename(weights.with_suffix(".bin"))
    shutil.copytree(tiny_folder, "partial")
    shutil.rmtree("partial/vae")
    before = files(here)
    assert_error(call("img2img", "a.png", "-m", "pickled"), "pickled weights")
    assert_error(call("img2img", "a.png", "-m", "partial"), "vae")
    assert files(here) == before


def test_an_unexpected_error_is_one_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **named: object) -> None:
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr("editkit.model.loading.resolve_model", fail)
    assert_error(call("img2img", "a.png"), "RuntimeError: first second", "-v", status=1)
    verbose = call("img2img", "a.png", "-v")
    assert verbose.exit_code == 1 and "Traceback" in verbose.stderr
    assert verbose.stderr.splitlines()[-1].startswith("Error: RuntimeError")


def test_an_interrupt_ends_with_the_status_of_shells(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("editkit.model.loading.resolve_model", stop)
    assert_error(call("img2img", "a.png"), "cancelled", status=130)


def test_an_interrupt_during_the_imports_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    words = [sys.executable, "-m", "editkit", "plugins"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Error: cancelled\n")


def test_an_interrupt_that_python_ignores_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lock:
        pass

    def interrupt(gone: object) -> None:
        raise KeyboardInterrupt

    lock = Lock()
    kept = weakref.ref(lock, interrupt)
    monkeypatch.setattr(sys, "unraisablehook", _repeat_interrupt)
    with pytest.raises(KeyboardInterrupt):
        del lock
        for _ in range(1000):
            time.sleep(0.01)
    assert kept() is None


def test_an_image_is_neither_printed_to_a_terminal_nor_read_from_one(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("editkit.cli.outputs.plan.is_terminal", lambda stream: True)
    assert_error(call("img2img", "a.png", "-o", "-"), "output '-' is standard output, and that is a terminal", status=2)
    monkeypatch.setattr("editkit.cli.jobs.is_terminal", lambda stream: True)
    assert_error(call("img2img", "-", "-o", "b.png"), "image '-' is standard input, and that is a terminal", status=2)
    assert_error(call("show", "-"), "recipe '-' is standard input", status=2)


def test_an_option_that_is_not_given_is_no_value_of_the_recipe() -> None:
    for name in ("img2img", "upscale", "outpaint"):
        command, spec = main.get_command(click.Context(main), name), editkit.operations()[name]
        assert command is not None
        options = command.make_context(name, ["a.png"], parent=click.Context(main)).params
        assert GivenValues.of(spec, options, [Input("a.png")]).first == {}


def test_a_file_that_begins_like_an_option_is_named(here: Path) -> None:
    (here / "a.png").rename(here / "-a.png")
    assert_error(call("show", "-a.png"), "Write the file as ./-a.png", status=2)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell closes the file")
@pytest.mark.parametrize("words", ["--help", "samplers --json"])
def test_what_is_printed_to_a_closed_output_is_an_error(words: str) -> None:
    line = f"{shlex.quote(sys.executable)} -m editkit {words} >&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "Error: standard output cannot be written: it is closed\n")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell closes the file")
def test_no_file_takes_the_place_of_a_closed_standard_error() -> None:
    code = (
        "import sys; from editkit import __main__; __main__._fill_closed_streams(); "
        "print(open('/dev/null').fileno() > 2, sys.stderr.isatty())"
    )
    line = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} 2>&-"
    assert subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout == "True False\n"


# Where results go


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such devices")
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/null"])
def test_a_device_as_output_names_the_option_for_standard_output(here: Path, name: str) -> None:
    with pytest.raises(InvalidParameter, match="device: give - for standard output"):
        plan(["a.png"], name)


def plan(names: list[str], output: str | None, operation: str = "img2img", **options: Any) -> list[Path | None]:
    return OutputPlan(output, (".png",), **options).targets([ResultName(name) for name in names], operation)


@pytest.mark.parametrize("output", ["s3://bucket/x.png", "gs://bucket/folder/", "https://host/x.png"])
def test_an_address_as_output_names_the_command_for_it(here: Path, output: str) -> None:
    before = sorted(here.iterdir())
    ended = call("img2img", "a.png", "--prompt", "x", "-o", output)
    assert ended.exit_code == 2 and ended.stderr.count("\n") == 1
    assert f"output {output!r} is an address" in ended.stderr and "use 'editkit batch'" in ended.stderr
    with pytest.raises(InvalidParameter, match="is an address"):
        check_output(output)
    assert sorted(here.iterdir()) == before


def test_default_output_is_beside_the_input_and_replaces_nothing(here: Path) -> None:
    (here / "sub").mkdir()
    assert plan(["sub/x.y.jpg"], None) == [Path("sub/x.y-img2img.png")]
    assert plan([""], None, "generate") == [Path("generate.png")]
    Path("generate.png").touch()
    Path("generate-2.png").symlink_to("nowhere")
    assert plan([""], None, "generate") == [Path("generate-3.png")]


def test_a_missing_animation_is_called_missing_and_no_default_of_ones_own_is_in_the_way(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        "'c.gif' cannot be read: there is no such file"
        in call("img2img", "c.gif", "--prompt", "x", "-o", "d.gif").stderr
    )
    words = ["img2img", "a.png", "--prompt", "x", "--model", "none", "-o", "new.png"]
    monkeypatch.setenv("EDITKIT_ANCHOR", "0")
    assert "model 'none'" in call(*words).stderr
    assert "--anchor is for animations" in call(*words, "--no-anchor").stderr
    assert "--name needs a folder" in call(*words, "--name", "{n}.png").stderr


def test_a_file_that_a_parameter_or_a_step_names_is_not_replaced(here: Path) -> None:
    steps = "[{img2img: {prompt: x}}, {img2img: {prompt: x, mask: b.png, attach: [{name: controlnet, image: c.png}]}}]"
    Path("steps.yaml").write_text(f"steps: {steps}")
    commands = [["run", "steps.yaml", "a.png"], ["img2img", "a.png", "--prompt", "x"]]
    commands[1] += ["--attach", "controlnet:image=c.png,mask=b.png"]
    for command, output, option in itertools.product(commands, ("b.png", "c.png"), ("-o", "--sheet", "--preview")):
        ended = call(*command, option, output, "--model", "none")
        assert (ended.exit_code, f"{output!r} would replace another file" in ended.stderr) == (2, True)
    assert "model 'none'" in call(*commands[0], "-o", "new.png", "--model", "none").stderr


def test_an_animation_on_standard_input_is_named(here: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(data := io.BytesIO(), "GIF", save_all=True, append_images=frames[1:])
    ended = call("img2img", "-", "--prompt", "x", "-o", "b.png", stdin=data.getvalue())
    assert ended.exit_code == 2 and "standard input holds an animation: give its file by name" in ended.stderr


def test_a_folder_keeps_the_names(here: Path) -> None:
    expected: list[Path | None] = [Path("new/deep/a.png"), Path("new/deep/b.png")]
    assert plan(["x/a.png", "y/b.jpg"], "new/deep") == expected
    assert plan(["x/a.png"], "new/") == plan(["x/a.png"], "new", into_folder=True) == [Path("new/a.png")]
    assert plan(["-"], "new/") == [Path("new/stdin.png")]
    with pytest.raises(EditkitError, match=r"'x/a\.png' and 'y/a\.jpg'.*--existing number"):
        plan(["x/a.png", "y/a.jpg"], "new")
    with pytest.raises(EditkitError, match=r"--existing number in place of skip$"):
        plan(["x/a.png", "y/a.jpg"], "new", existing="skip")
    with pytest.raises(EditkitError, match=r"replace.* give another name, or add --existing number$"):
        plan(["a.png", "x/b.png"], ".")
    assert plan(["a.png", "x/b.png", "x/new.png"], ".", existing="number")[1:] == [Path("b-2.png"), Path("new.png")]
    assert not Path("new").exists()


def test_the_home_of_a_user_is_meant_where_a_shell_leaves_its_sign(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    (here / "config.toml").write_text('output = "~/new/"\n')
    monkeypatch.setenv("EDITKIT_CONFIG", "~/config.toml")
    words = ["img2img", "~/[ab].png", "--mask=~/a.png", "--steps", 1, "--prompt", "x"]
    done = call(*words, "--sheet=~/sheet.png", "--model", "~/model")
    assert "model '" + str(here / "model") in done.stderr and done.exit_code == 2
    assert expand_home("~/a.png") == str(here / "a.png")
    (here / "~").mkdir()
    unchanged = ["~/a.png", "~no-user/a.png", "a/~/b", "words:~", 5]
    assert [expand_home(value) for value in unchanged] == unchanged
    with pytest.raises(EditkitError, match="write the whole path in place of ~"):
        editkit.open_image("~/b.png")


def test_a_folder_keeps_earlier_results(here: Path) -> None:
    (here / "out").mkdir()
    (here / "out" / "a.png").touch()
    names = ["x/a.png", "x/b.png", "y/a.png"]
    assert plan(names[:2], "out") == [Path("out/a-2.png"), Path("out/b.png")]
    assert plan(names, "out", existing="number") == [Path("out/a-2.png"), Path("out/b.png"), Path("out/a-3.png")]
    assert plan(["x/c.png", "x/c.png"], "out") == [Path("out/c.png"), Path("out/c-2.png")]
    for mode in ("replace", "skip"):
        assert plan(names[:2], "out", existing=mode) == [Path("out/a.png"), Path("out/b.png")]
    with pytest.raises(EditkitError, match="exists"):
        plan(names[:2], "out", existing="refuse")
    assert plan(["x/a.png"], "out/a.png") == [Path("out/a.png")]  # a file that is named is replaced
    assert plan(["x/a.png"], "out/a.png", existing="number") == [Path("out/a-2.png")]


def test_json_has_no_nan() -> None:
    text = json_text({"a": float("nan"), "b": [float("inf"), 1.5], "c": (1, None, True, "x")})
    assert json.loads(text, parse_constant=pytest.fail) == {"a": None, "b": [None, 1.5], "c": [1, None, True, "x"]}


# Listings


class LevelParams(Params):
    level: int = Field(0, ge=0, description="Level.", json_schema_extra={"letter": "l"})


def test_a_command_ends_with_the_exit_status_of_its_table() -> None:
    registry = Registry()
    load = lambda: lambda params: Table([{"level": params.level}], exit_status=params.level)  # noqa: E731
    spec = CommandSpec(name="measure", summary="Measures.", load=load, params=LevelParams)
    registry.insert(PluginSource("own", "own", "own", "1"), "commands", spec)
    command = measuring_command(registry, spec)
    for words, status in (([], 0), (["-l", "2"], 2), (["--level", "2", "--json"], 2)):
        done = CliRunner().invoke(command, words)
        assert (done.exit_code, "level" in done.stdout) == (status, True), done.output


@pytest.mark.parametrize(
    ("command", "message"),
    [(lambda params: 7, "returned int, not a Table"), (lambda params: 1 / 0, "failed: ZeroDivisionError: division")],
)
def test_a_command_that_breaks_its_contract_is_named(command: Callable[..., Any], message: str) -> None:
    registry = Registry()
    spec = CommandSpec(name="measure", summary="Measures.", load=lambda: command)
    registry.insert(PluginSource("own", "own", "own", "1"), "commands", spec)
    done = CliRunner().invoke(measuring_command(registry, spec), [])
    assert (done.exit_code, done.stderr.startswith("Error: command 'measure' of plugin 'own'")) == (1, True)
    assert message in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_name_without_a_suite_refers_to_its_plugin() -> None:
    for name, plugin in (("local", "batch"), ("clipseg", "annotators"), ("emoji-edge", "emoji")):
        assert_error(call("check", name), f"{name!r} of plugin", f"editkit check {plugin}")


def test_plugins_as_json_and_text() -> None:
    listing = json.loads(call("plugins", "--json").stdout)
    rows = {row["module"]: row for row in listing["plugins"]}
    for folder in (Path(__file__).parents[2] / "plugins").glob("editkit_*"):
        assert rows[folder.name]["hooks"] and rows[folder.name]["registered"]
    assert rows["editkit_invert"]["registered"] == {"operations": ["invert", "reconstruct"]}
    text = call("plugins").stdout
    assert all(module in text for module in rows)


def test_plugin_failures_are_listed_and_do_not_affect_other_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry()
    registry.add(PluginSource("odd", "odd_module", "odd-dist", "2"), OddPlugin())
    for module in ("editkit.cli", "editkit.cli.facts.listing", "editkit.registry"):
        monkeypatch.setattr(f"{module}.installed", lambda: registry)
    (failure,) = json.loads(call("plugins", "--json").stdout)["failures"]
    assert failure["distribution"] == "odd-dist" and "nothing works" in failure["reason"]
    assert "failed: plugin 'odd' (odd_module, odd-dist 2)" in call("plugins").stdout
    assert "editkit plugins" in call("--help").stdout
    assert_error(call("sharpen", "a.png"), "'sharpen'", "odd-dist")


class OddPlugin:
    """A plugin whose one hook fails."""

    @editkit.hookimpl
    def register_operations(self) -> list[OperationSpec]:
        raise RuntimeError("nothing works")


def test_models_as_json() -> None:
    rows = {row["name"]: row for row in json.loads(call("models", "--json").stdout)["models"]}
    assert rows["emoji"]["default"] and rows["emoji"]["licence"]
    assert set(rows["emoji"]) == {"name", "summary", "licence", "default", "default_for", "folder"}


def test_check_prints_one_line_per_check_and_the_totals(monkeypatch: pytest.MonkeyPatch) -> None:
    from editkit.testing.checks import Check

    outcomes = [Check("draws", "passed", ""), Check("lifts", "skipped", "no\ncrane")]
    monkeypatch.setattr("editkit.testing.check", lambda name: iter(outcomes))
    result = call("check", "ddim")
    assert result.stdout.splitlines() == [
        "passed  draws",
        "skipped  lifts: no crane",
        "1 passed, 0 failed, 1 skipped",
    ]
    assert result.exit_code == 0
    outcomes.append(Check("sings", "failed", "hoarse"))
    assert call("check", "ddim").exit_code == 1


# Real runs


def run_with(*words: str | Path, model: Path, stdin: bytes | None = None) -> Result:
    result = call(*words, "-m", model, stdin=stdin)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result


def test_generate_and_replay_bit_for_bit(here: Path, tiny_folder: Path) -> None:
    created = run_with(
        "generate", "--prompt", "a red apple", "--steps", "2", "--seed", "3", "--json", model=tiny_folder
    )
    report = json.loads(created.stdout)
    assert (report["operation"], report["seed"], report["output"]) == ("generate", 3, "generate.png")
    assert run_with("replay", "generate.png", model=tiny_folder).stdout == "generate-replay.png\n"
    first, second = Image.open("generate.png"), Image.open("generate-replay.png")
    assert first.size == second.size and first.tobytes() == second.tobytes()


def test_prompt_edit_writes_report_and_sheet(here: Path, tiny_folder: Path) -> None:
    words = ["prompt-edit", "a.png", "--source", "red", "--target", "green", "--steps", "2", "-o", "out.webp"]
    report = json.loads(run_with(*words, "--json", "--sheet", "sheet.jpg", model=tiny_folder).stdout)
    assert report["output"] == "out.webp" and report["output_size"] == [19, 14]
    assert report["recon_psnr"] == pytest.approx(report["vae_psnr"], abs=0.05)
    assert Image.open("out.webp").size == (19, 14)
    assert Image.open("sheet.jpg").width > 512


@pytest.mark.slow
def test_several_seeds_give_a_file_for_each(here: Path, tiny_folder: Path) -> None:
    words = ["--prompt", "red", "--steps", "1"]
    lines = run_with("img2img", "a.png", *words, "--seed", "0-1,5", "--json", model=tiny_folder).stdout.splitlines()
    reports = [json.loads(line) for line in lines]
    assert [report["seed"] for report in reports] == [0, 1, 5]
    assert [report["output"] for report in reports] == [f"a-img2img-seed{seed}.png" for seed in (0, 1, 5)]
    run_with("img2img", "a.png", *words, "--seed", "5", "-o", "alone.png", model=tiny_folder)
    assert Image.open("alone.png").tobytes() == Image.open("a-img2img-seed5.png").tobytes()
    in_file = run_with("img2img", "a.png", *words, "--seed", "5,6", "-o", "out.png", model=tiny_folder).stdout
    assert in_file == "out-seed5.png\nout-seed6.png\n"
    in_folder = run_with("img2img", "a.png", "b.png", *words, "--seed", "5,6", "-o", "many", model=tiny_folder).stdout
    assert in_folder.split() == [f"many/{name}-seed{seed}.png" for name in "ab" for seed in (5, 6)]
    Path("steps.yaml").write_text("steps:\n- img2img: {strength: 0.5, steps: 1}\n")
    run = run_with("run", "steps.yaml", "a.png", "--seed", "1-2", model=tiny_folder).stdout
    assert run == "a-run-seed1.png\na-run-seed2.png\n"


def test_seeds_of_an_edit_without_noise_are_named(here: Path, tiny_folder: Path) -> None:
    words = ["prompt-edit", "a.png", "--source", "red", "--target", "blue", "--steps", "1", "--seed", "1-2"]
    result = call(*words, "-m", tiny_folder)
    assert result.exit_code == 0 and "seed=2 gives the same image" in result.stderr


@pytest.mark.slow
def test_each_image_may_have_a_mask_of_its_own(here: Path, tiny_folder: Path) -> None:
    for name, corner in (("first", (0, 0)), ("second", (10, 4))):
        mask = Image.new("L", (19, 14))
        mask.paste(255, (*corner, corner[0] + 8, corner[1] + 8))
        mask.save(f"{name}.png")
    words = ["inpaint", "a.png", "b.png", "--prompt", "red", "--steps", "1", "--seed", "0"]
    run_with(*words, "--mask", "first.png", "--mask", "second.png", "-o", "many", model=tiny_folder)
    for name, mask in (("a", "first"), ("b", "second")):
        row = {"operation": "inpaint", "image": f"{name}.png", "mask": f"{mask}.png", "model": str(tiny_folder)}
        ((_, alone),) = editkit.edit_rows([{**row, "prompt": "red", "steps": 1, "seed": 0}])
        assert alone.image.tobytes() == Image.open(f"many/{name}.png").tobytes()


def test_a_mask_keeps_the_other_pixels(here: Path, tiny_folder: Path) -> None:
    mask = Image.new("L", (19, 14))
    mask.paste(255, (0, 0, 8, 14))
    mask.save("mask.png")
    words = ["img2img", "a.png", "--mask", "-", "--steps", "2", "--seed", "1", "--json", "-o", "m.png"]
    report = json.loads(run_with(*words, model=tiny_folder, stdin=Path("mask.png").read_bytes()).stdout)
    assert report["untouched_max_diff"] == 0
    before, after = (np.asarray(Image.open(name)) for name in ("a.png", "m.png"))
    assert np.array_equal(after[:, 8:], before[:, 8:])
    assert not np.array_equal(after[:, :8], before[:, :8])


MAPS = {
    "float": np.linspace(-3, 9, 19 * 14, dtype=np.float32).reshape(14, 19),
    "16-bit of another size": np.arange(38 * 28, dtype=np.uint16).reshape(28, 38) * 50,
}


@pytest.mark.parametrize("kind", MAPS)
def test_a_condition_map_is_read_as_in_python(here: Path, tiny_folder: Path, kind: str, tiny_controlnet: Path) -> None:
    arguments = {"steps": 1, "seed": 1, "controlnet": str(tiny_controlnet)}
    Image.fromarray(MAPS[kind]).save("map.tiff")
    options = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
    words = ["control", "a.png", "--control-image", "map.tiff", *options, "-o", "made.png"]
    run_with(*words, model=tiny_folder)
    expected = editkit.apply("control", "a.png", model=str(tiny_folder), control_image=MAPS[kind], **arguments)
    assert Image.open("made.png").tobytes() == expected.image.tobytes()


def test_an_error_in_one_image_does_not_stop_the_others(
    here: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, loaded = loading.load_model, []

    def counted(*args: Any, **arguments: Any) -> editkit.Backend:
        loaded.append(args)
        return load(*args, **arguments)

    monkeypatch.setattr(loading, "load_model", counted)
    loading.cached_model.cache_clear()
    words = ["img2img", "a.png", "nope.png", "c.png", "--steps", "1", "--seed", "0", "--json", "--sheet", "s.png"]
    result = call(*words, "-o", "out/new", "-m", tiny_folder)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: image 'nope.png'") and result.stderr.count("\n") == 1
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["output"] for row in rows] == ["out/new/a.png", None, "out/new/c.png"]
    assert [row["input"] for row in rows] == words[1:4]
    assert rows[1]["error"] == "BadImage" and rows[1]["message"] in result.stderr
    assert files(here / "out") == {"new", "new/a.png", "new/c.png"}
    assert Image.open("s.png").width > 1024
    assert len(loaded) == 1


def test_several_images_have_the_bits_of_rows(here: Path, tiny_folder: Path) -> None:
    words = ["--prompt", "red", "--steps", "2", "--seed", "3"]
    run_with("img2img", "a.png", "c.png", "b.png", *words, "-o", "out", model=tiny_folder)
    row = {"operation": "img2img", "prompt": "red", "steps": 2, "seed": 3, "model": str(tiny_folder)}
    ((_, alone),) = editkit.edit_rows([{**row, "image": "c.png"}])
    assert Image.open("out/c.png").tobytes() == alone.image.tobytes()
    assert (
        Image.open("out/c.png").tobytes()
        == editkit.replay("out/c.png", source="c.png", model=row["model"]).image.tobytes()
    )


def test_images_are_read_from_and_written_to_pipes(here: Path, tiny_folder: Path) -> None:
    words = ["img2img", "-", "-o", "-", "--steps", "1", "--seed", "0", "--prompt", "blue"]
    before = files(here)
    created = run_with(*words, model=tiny_folder, stdin=Path("a.png").read_bytes()).stdout_bytes
    assert files(here) == before
    image = Image.open(io.BytesIO(created))
    assert image.format == "PNG" and image.size == (19, 14)
    again = run_with("replay", "-", "--source", "a.png", "-o", "-", model=tiny_folder, stdin=created).stdout_bytes
    assert Image.open(io.BytesIO(again)).tobytes() == image.tobytes()


def test_invert_and_reconstruct(here: Path, tiny_folder: Path) -> None:
    inverted = json.loads(run_with("invert", "a.png", "--steps", "2", "--json", model=tiny_folder).stdout)
    assert inverted["output"] == "a-invert.safetensors" and inverted["inverter"] == "pinned"
    words = ["reconstruct", "a-invert.safetensors", "--json", "--sheet", "s.png"]
    report = json.loads(run_with(*words, model=tiny_folder).stdout)
    assert report["recon_psnr"] == pytest.approx(report["vae_psnr"], abs=0.05)
    assert report["output"] == "a-invert-reconstruct.png"
    stored = run_with("invert", "a.png", "--steps", "2", "-o", "-", model=tiny_folder).stdout_bytes
    again = run_with("reconstruct", "-", "-o", "-", model=tiny_folder, stdin=stored).stdout_bytes
    run_with("prompt-edit", "-", "--target", "red", "-o", "e.png", model=tiny_folder, stdin=stored)
    image = Path("a.png").read_bytes()
    assert_error(call("prompt-edit", "-", "--target", "red", "-o", "e.png", stdin=image), "'source'", status=2)
    assert Image.open(io.BytesIO(again)).tobytes() == Image.open(report["output"]).tobytes()


@pytest.mark.slow
def test_an_animation_is_written_in_its_format_beside_still_images(
    here: Path, tiny_folder: Path, random_image: Any
) -> None:
    frames = [random_image((19, 14), seed=seed) for seed in range(2)]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    Image.new("L", (19, 14)).save("mask.png")
    words = ["img2img", "moving.gif", "a.png", "--prompt", "x", "--steps", "1", "--no-anchor", "-o", "out"]
    result = call(*words, "--mask", "mask.png", "--mask-out", "masks", "-m", tiny_folder)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{Path('out/moving.gif')}\n{Path('out/a.png')}\n"
    assert Image.open("out/moving.gif").n_frames == 2  # type: ignore[attr-defined]
    assert Image.open("masks/moving-mask.png").size == Image.open("out/a.png").size == (19, 14)


def test_interpolate_writes_an_animation(here: Path, tiny_folder: Path) -> None:
    words = ["interpolate", "a.png", "b.png", "--frames", "3", "--steps", "2", "-o", "x.gif"]
    written = call(*words, "-m", tiny_folder)
    assert written.stdout == "x.gif\n" and written.stderr.startswith("Warning: GIF has a palette of 256 colours")
    assert Image.open("x.gif").n_frames == 3  # type: ignore[attr-defined]
    again = ["replay", "x.gif", "--source", "a.png", "--source", "b.png", "--model", str(tiny_folder)]
    assert call(*again).stdout == "x-replay.gif\n" and call(*again, "-o", "y.png").exit_code == 0
    assert Path("x-replay.gif").read_bytes() == Path("x.gif").read_bytes()


def test_a_pipeline_file_is_run_and_replayed(here: Path, tiny_folder: Path) -> None:
    steps = "steps:\n- img2img: {prompt: red, steps: 1}\n- img2img: {prompt: blue, steps: 1, seed: 5}\n"
    Path("p.yaml").write_text(steps)
    report = json.loads(run_with("run", "p.yaml", "a.png", "--seed", "9", "--json", model=tiny_folder).stdout)
    assert [step["img2img"]["seed"] for step in report["params"]["steps"]] == [9, 5]
    assert report["output"] == "a-run.png" and Image.open("a-run.png").size == (19, 14)
    run_with("replay", "a-run.png", "--source", "a.png", "-o", "again.png", model=tiny_folder)
    assert Image.open("again.png").tobytes() == Image.open("a-run.png").tobytes()


@pytest.mark.parametrize(
    ("words", "redirection"),
    [(("-o", "-"), ">/dev/full"), (("-o", "x.png"), ">&-"), (("-o", "x.png", "--json"), ">/dev/full")],
)
@pytest.mark.slow
def test_full_or_closed_standard_output_is_one_line(
    here: Path, tiny_folder: Path, words: tuple[str, ...], redirection: str
) -> None:
    edit = [
        sys.executable,
        "-m",
        "editkit",
        "img2img",
        "a.png",
        "--prompt",
        "x",
        "--steps",
        "1",
        "-m",
        str(tiny_folder),
    ]
    line = shlex.join([*edit, *words]) + redirection
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: standard output cannot be written"), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.slow
def test_folder_stands_for_its_images_and_an_interrupted_batch_continues(here: Path, tiny_folder: Path) -> None:
    (here / "album").mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(name, here / "album" / name)
    (here / "album" / "notes.txt").touch()
    edit = ["img2img", "album", "--prompt", "x", "--steps", "1", "--seed", "0", "-o", "out", "--format", "webp"]
    assert run_with(*edit, model=tiny_folder).stdout.split() == ["out/a.webp", "out/b.webp"]
    first = Path("out/a.webp").read_bytes()
    Path("out/b.webp").unlink()
    again = call(*edit, "--existing", "skip", "--model", tiny_folder)
    assert again.stdout.split() == ["out/b.webp"]
    assert "Skipped: 'out/a.webp' exists" in again.stderr
    assert Path("out/a.webp").read_bytes() == first
