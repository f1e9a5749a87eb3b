"""Options by environment variables and a config file: order, refusals, and what they do not change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from editkit.cli import main
from editkit.cli.facts.setting_values import value_problems
from editkit.cli.settings import commands_of_all, read_config, without_settings


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config file that is in use."""
    file = tmp_path / "config.toml"
    file.write_text("")
    monkeypatch.setenv("EDITKIT_CONFIG", str(file))
    return file


def context(*words: str) -> click.Context:
    """Return the context of a command whose options are parsed."""
    root = main.make_context("editkit", list(words))
    command = main.get_command(root, words[0])
    assert command is not None
    return command.make_context(words[0], list(words[1:]), parent=root)


def options(*words: str) -> dict[str, Any]:
    return context(*words).params


def call(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_values_replace_each_other_in_order(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("steps = 2")
    assert options("img2img", "a.png")["steps"] == (2,)
    config.write_text("steps = 2\n[img2img]\nsteps = 3")
    assert options("img2img", "a.png")["steps"] == (3,) and options("inpaint", "a.png")["steps"] == (2,)
    monkeypatch.setenv("EDITKIT_STEPS", "4")
    assert options("img2img", "a.png")["steps"] == (4,) and options("inpaint", "a.png")["steps"] == (4,)
    monkeypatch.setenv("EDITKIT_IMG2IMG_STEPS", "5")
    assert options("img2img", "a.png")["steps"] == (5,) and options("inpaint", "a.png")["steps"] == (4,)
    assert options("img2img", "a.png", "--steps", "6")["steps"] == (6,)


def test_the_command_line_replaces_what_contradicts_it(config: Path) -> None:
    config.write_text(
        'format = "jpeg"\nquality = 85\nexisting = "skip"\nembed-sources = true\nprompt-file = "p.txt"\nmask = "m.png"'
    )
    kept = options("inpaint", "a.png", "-o", "folder")
    assert (kept["format"], kept["quality"], kept["existing"], kept["embed_sources"]) == ("jpeg", 85, "skip", True)
    words = ["--overwrite", "--recipe", "none", "--prompt", "x", "--mask-dir", "masks", "-o", "a.PNG"]
    replaced = options("inpaint", "a.png", *words)
    assert not any(replaced[name] for name in ("format", "quality", "existing", "embed_sources", "prompt_file", "mask"))
    assert options("inpaint", "a.png", "-o", "a.webp")["quality"] == 85
    assert options("inpaint", "a.png", "-o", "a.png", "--quality", "9")["quality"] == 9


def test_values_are_read_as_on_the_command_line(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text(
        'negative-prompt = "a dark sky"\ninvert_mask = true\n[img2img]\nprompt = ["a pear", "fig"]\nstrength = [0.4]\n'
        "[compare]\ninverter = 'edict'\n"
    )
    monkeypatch.setenv("EDITKIT_SEED", "0-2")
    monkeypatch.setenv("EDITKIT_TILING", "1")
    values = options("img2img", "a.png")
    assert values["negative_prompt"] == ("a dark sky",) and values["invert_mask"] is True
    assert values["prompt"] == ("a pear", "fig") and values["strength"] == (0.4,)
    assert values["seed"] == (0, 1, 2) and values["tiling"] is True
    compare = options("compare", "a.png", "--source", "a", "--target", "b")
    assert compare["inverter"] == ("edict",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stepz = 2", "did you mean 'steps'"),
        ("[img2img]\nstrenght = 0.5", "did you mean 'strength'"),
        ("[img2imj]\nsteps = 2", "did you mean 'img2img'"),
        ("img2img = 3", "write a table of its options"),
        ("steps = 2020-01-01", "give a text, a number, true or false"),
        ("[models]\njson = [true, false]", "takes one"),
        ("steps = ", "is no TOML"),
        (f"steps = {'9' * 5000}", "is no TOML"),
        (f"steps = {'[' * 5000}", "nested too deeply"),
        ("[img2img]\nmask = ''", "'--mask': it is empty"),
    ],
)
def test_a_config_file_that_is_wrong_is_refused_by_its_key(config: Path, text: str, words: str) -> None:
    config.write_text(text)
    command = ("models",) if "models" in text else ("img2img", "a.png")
    result = call(*command)
    assert result.exit_code == 2 and words in result.stderr and str(config) in result.stderr, result.stderr
    assert result.stderr.count("\n") == 1
    assert call("img2img", "--help").exit_code == 0


@pytest.mark.parametrize(
    ("text", "refused", "words"),
    [
        ("stepz = 2", True, "did you mean 'steps'"),
        ("[img2img]\nstrenght = 0.5", True, "did you mean 'strength'"),
        ("steps = ", True, "is no TOML"),
        ("qqqq = 3", False, "qqqq in"),
        ("[inpaint]\nstepz = 2", False, "no option of inpaint"),
    ],
)
def test_a_fault_of_the_config_file_stops_the_commands_it_is_meant_for(
    config: Path, text: str, refused: bool, words: str
) -> None:
    config.write_text(text)
    kept, edit = call("engines"), call("img2img", "nope.png")
    assert kept.exit_code == 0 and kept.stdout and kept.stderr.startswith("Warning: config")
    assert words in kept.stderr and words in edit.stderr and edit.exit_code == 2
    assert edit.stderr.startswith("Error: config") is refused


def test_faults_of_values_are_found_before_a_command_uses_them(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text(
        'strength = 3\nprompt = ["a pear", "fig"]\n[img2img]\nsampler = "ddmi"\nguidance = "abc"\nsteps = [4, 0]\n'
        'seed = "0-3"\n[models]\njson = [true, false]\n'
    )
    monkeypatch.setenv("EDITKIT_DTYPE", "float32")
    commands = commands_of_all(click.Context(main))
    problems = value_problems(read_config(), commands)
    for words in ("strength=3", "no sampler 'ddmi'", "'abc' is not allowed", "steps=0", "--json takes one"):
        assert len([one for one in problems if words in one and str(config) in one]) == 1
    assert len(problems) == 5


def test_help_shows_own_defaults_with_their_origin(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def help_of(*words: str) -> str:
        return "".join(call(*words, "--help").stdout.split())  # whatever breaks its lines

    plain = help_of("img2img")
    assert "[0to1;default:0.6]" in plain and "fromEDITKIT" not in plain
    config.write_text("[img2img]\nstrength = [0.4, 0.5]\nprompt = 'hat'\nexisting = 'skip'")
    monkeypatch.setenv("EDITKIT_STEPS", "4")
    own = help_of("img2img")
    assert f"[0to1;default:0.4,0.5,fromimg2img.strengthin{config}]" in own
    assert "[1to1000;default:4,fromEDITKIT_STEPS]" in own and "default:hat,fromimg2img.prompt" in own
    assert "default:skip,from" in own and "[default:replacefor-oFILE" not in own
    assert "default:hat" not in help_of("inpaint")


def test_a_variable_that_sets_no_option_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITKIT_STPES", "4")
    monkeypatch.setenv("EDITKIT_INVERT_MASK", "1")
    monkeypatch.setenv("EDITKIT_OUTPAINT_LEFT", "8")
    result = call("engines")
    assert result.exit_code == 0
    assert result.stderr.startswith("Warning: EDITKIT_STPES sets no option; did you mean 'steps'")
    assert result.stderr.count("Warning") == 1


def test_a_config_file_is_read_in_its_own_place_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("config.toml", "editkit.toml", ".editkit.toml"):
        Path(name).write_text("steps = 2")
    assert not options("img2img", "a.png")["steps"]
    monkeypatch.delenv("EDITKIT_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configs"))
    assert not options("img2img", "a.png")["steps"]
    monkeypatch.setenv("EDITKIT_CONFIG", str(tmp_path / "missing.toml"))
    assert "missing.toml' does not exist" in call("models").stderr


def test_a_recorded_edit_keeps_its_own_settings(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text('sampler = "heun"\nmodel = "other"\n[replay]\nexisting = "replace"')
    monkeypatch.setenv("EDITKIT_DEVICE", "cuda")
    replay = options("replay", "a.png")
    assert replay["model"] is None and replay["existing"] == "replace"
    with context("reconstruct", "a.safetensors", "--guidance", "3") as ctx:
        assert ctx.params["sampler"] == ("heun",) and ctx.params["device"] == "cuda"
        kept = without_settings(ctx.params, {"sampler", "guidance"})
    assert kept["sampler"] == () and kept["guidance"] == (3.0,)
