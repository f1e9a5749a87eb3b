"""The shell for many images: folders, patterns, lists of values, names of files, and files that exist."""

from __future__ import annotations

import io
import json
import unicodedata
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageChops

import editkit
from editkit.cli import main
from editkit.cli.jobs import Inputs, Invocation
from editkit.cli.many.file_names import fill_template
from editkit.cli.many.inputs import Input, expand_inputs, masks_in, read_prompts
from editkit.cli.many.lines import Count, OutputLines
from editkit.cli.many.variants import plan_variants, seeds_of_count
from editkit.cli.outputs.plan import OutputPlan, ResultName
from editkit.cli.outputs.writing import output_place
from editkit.cli.running import one_by_one, run_jobs
from editkit.editing.recipe import read_recipe
from editkit.testing import ToyBackend


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Current folder with images in ``album``, ``album/inner`` and masks of their names."""
    for number, name in enumerate(("album/a", "album/b", "album/inner/a")):
        for folder in ("", "masks/"):
            path = tmp_path / f"{folder}{name.removeprefix('album/') if folder else name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.new("RGB", (16, 16), (90 * number, 80, 200))
            if folder:
                image = Image.new("L", (16, 16))
                image.paste(255, (0, 0, 8 + number, 16))
            image.save(path)
    (tmp_path / "album/notes.txt").write_text("no image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: Any) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def edit(*words: Any, model: Path) -> Result:
    result = run("img2img", *words, "--steps", 1, "--model", model)
    assert result.exit_code == 0, result.output
    return result


def test_folders_and_patterns_stand_for_their_images(album: Path) -> None:
    assert [one.name for one in expand_inputs(["album"])] == ["album/a.png", "album/b.png"]
    deep = expand_inputs(["album"], recursive=True)
    assert [(one.name, one.folder) for one in deep[2:]] == [("album/inner/a.png", "inner")]
    assert [one.name for one in expand_inputs(["album/*.png"])] == ["album/a.png", "album/b.png"]
    assert len(expand_inputs(["album/**/*.png"], recursive=True)) == 3
    Path("album/a.safetensors").touch()
    assert [one.name for one in expand_inputs(["album/*.safetensors", "album/*a*"])] == [
        "album/a.safetensors",
        "album/a.png",
    ]
    for nothing in ("album/*.jpg", "masks/inner/nothing*"):
        with pytest.raises(editkit.BadImage, match="matches no image"):
            expand_inputs([nothing])


def test_images_that_are_left_out_are_named(album: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("album/b.png").rename("album/b.apng")
    Path("album/link.jpg").symlink_to("nowhere.jpg")
    for name in ("raw.NEF", "phone.HEIC"):
        (album / "album" / name).touch()
    found = ["album/a.png", "album/b.apng", "album/link.jpg"]
    for named in ("album", "album/*"):
        assert [one.name for one in expand_inputs([named])] == found
        reason = f"{named!r} has 2 images of kinds that are not read, such as 'album/phone.HEIC': convert them to PNG"
        assert capsys.readouterr().err == f"Left out: {reason}\n"
    for name in found:
        Path(name).unlink()
    for named in ("album", "album/*.HEIC"):
        with pytest.raises(editkit.BadImage, match=r"images? of kinds that are not read, such as 'album/phone.HEIC'"):
            expand_inputs([named])


def test_prompts_are_lines_of_a_file_or_of_standard_input(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = "\ufeffred\u2028apple\r\n\r\nblue\x0bpear\ra fig\n".encode()
    Path("prompts.txt").write_bytes(data)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert read_prompts("prompts.txt") == read_prompts("-") == ["red\u2028apple", "blue\x0bpear", "a fig"]
    for words in (["-", "--prompt-file", "-"], ["album/a.png", "--prompt-file", "-", "--mask", "-"]):
        twice = CliRunner().invoke(main, ["img2img", *words, "-o", "x.png"], input="a")
        assert twice.exit_code == 2 and "standard input '-' can be given once" in twice.stderr


def test_a_mask_is_found_by_its_name_in_other_letters(album: Path) -> None:
    typed, stored = (unicodedata.normalize(form, "masks/café") for form in ("NFC", "NFD"))
    for name in ("masks/IMG_1.PNG", "masks/IMG_2.JPG", "masks/IMG_2.PNG", f"{stored}.png"):
        Path(name).touch()
    names = ["x/IMG_1.JPG", "x/IMG_2.JPG", f"x/{Path(typed).name}.jpg", "x/img_1.jpg"]
    found = ["masks/IMG_1.PNG", "masks/IMG_2.JPG", f"{stored}.png", "masks/img_1.png"]
    assert masks_in("masks", [Input(name) for name in names]) == found


def test_values_of_options_are_combined_with_the_seed_last() -> None:
    variants = plan_variants({"seed": (0, 1), "strength": (0.4, 0.6), "prompt": ("a pear", "a fig"), "steps": (4,)})
    assert len(variants) == 8
    assert variants[1].settings == {"strength": 0.4, "prompt": "a pear", "seed": 1}
    assert [one.label for one in variants[:3:2]] == ["-strength0.4-prompt1-seed0", "-strength0.4-prompt2-seed0"]
    with pytest.raises(click.UsageError, match="--strength has a value twice"):
        plan_variants({"strength": (0.5, 0.5)})
    with pytest.raises(click.UsageError, match="20000 results"):
        plan_variants({"seed": range(10_000), "strength": (0.1, 0.2)})
    assert list(seeds_of_count(3, [7])) == [7, 8, 9]
    assert len(set(seeds_of_count(5, []))) == 5


def test_names_of_files_follow_a_template() -> None:
    values = {"stem": "a", "seed": 7, "prompt": "a/b", "operation": "img2img", "steps": None}
    names = fill_template("{n:02}-{stem}-{seed:03}-{prompt}.{ext}", [values, values], [(".png",)] * 2)
    assert names == ["01-a-007-a_b.png", "02-a-007-a_b.png"]
    wrong = {
        "{sed}.{ext}": "did you mean 'seed'",
        "{steps}.{ext}": "has no value here: give --steps",
        "{stem}": "no format",
    }
    wrong |= {"../{stem}.{ext}": "without folders", "{stem": "not allowed", "{stem.__class__}.{ext}": "has no value"}
    for template, reason in wrong.items():
        with pytest.raises(editkit.InvalidParameter, match=reason):
            fill_template(template, [values], [(".png",)])


def test_lines_are_printed_in_the_order_of_the_inputs(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    lines = OutputLines(as_json=False)
    for place in (2, 0, 1):
        lines.written(place, "x", Path(f"{place}.png"), {"warnings": ()})
    assert capfdbinary.readouterr().out == b"0.png\n1.png\n2.png\n"


def test_time_left_follows_the_groups_that_have_ended() -> None:
    count = Count(30, done=2, batch=14)
    count.add()
    assert count._left(count.start + 60) == pytest.approx(60, abs=1e-9)


def test_each_image_gets_its_mask_its_prompt_and_its_folder(album: Path, tiny_folder: Path) -> None:
    Path("prompts.txt").write_text("red\n\nblue\ngreen\n")
    words = ["--prompt-file", "prompts.txt", "--mask-dir", "masks", "--recursive", "--seed", 1, "-o", "out", "--json"]
    reports = [json.loads(line) for line in edit("album", *words, model=tiny_folder).stdout.splitlines()]
    assert [one["params"]["prompt"] for one in reports] == ["red", "blue", "green"]
    assert [one["output"] for one in reports] == ["out/a.png", "out/b.png", "out/inner/a.png"]
    assert all(one["untouched_max_diff"] == 0 for one in reports)
    named = edit("album", *words[:2], "--recursive", "--name", "{prompt}.{ext}", "-o", "named", model=tiny_folder)
    assert named.stdout.split() == ["named/red.png", "named/blue.png", "named/inner/green.png"]
    guided = run("img2img", "album/a.png", "--prompt", "x", "--name", "{guidance}.{ext}")
    assert "has no value here: give --guidance" in guided.stderr, "the model decides about it"
    Path("masks/b.png").unlink()
    failed = run("img2img", "album", *words[2:], "--model", tiny_folder, "--steps", 1, "--skip-existing")
    assert failed.exit_code == 0, "the missing mask is that of an image whose result exists"
    failed = run("img2img", "album", *words[2:], "--model", tiny_folder, "--steps", 1, "--overwrite")
    assert failed.exit_code == 2
    assert [json.loads(line).get("error") for line in failed.stdout.splitlines()] == [None, "BadImage", None]
    assert "Replaced: 'out/a.png'" in failed.stderr


@pytest.mark.slow
def test_inexact_results_differ_by_rounding_alone(album: Path, tiny_folder: Path) -> None:
    """Calls have as many rows as there are results in place of a fixed number, which the recipe says."""
    words = ["generate", "--prompt", "red", "--seed", "0-2", "--steps", 2, "--model", tiny_folder, "--batch", 3]
    results: dict[str, list[Image.Image]] = {}
    for option in ("--exact", "--no-exact"):
        ended = run(*words, option, "-o", f"{option[2:]}/")
        assert ended.exit_code == 0, ended.output
        files = ended.stdout.split()
        assert {read_recipe(file)[0].steps[0].filled for file in files} == {option == "--exact"}
        results[option] = [Image.open(file).convert("RGB") for file in files]
    for exact, inexact in zip(*results.values(), strict=True):
        assert max(high for _, high in ImageChops.difference(exact, inexact).getextrema()) <= 1, "8-bit levels"


def test_a_grid_has_one_sheet_with_a_row_for_each_value(
    album: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled, draw = [], editkit.draw_sheet

    def draw_sheet(images: Any, **options: Any) -> Image.Image:
        labelled.extend(images)
        return draw(images, **options)

    monkeypatch.setattr("editkit.images.contact_sheet.draw_sheet", draw_sheet)
    words = ["--strength", "0.4,0.8", "--seed", "0-2", "-o", "out", "--sheet", "sheet.png", "--prompt", "x"]
    paths = edit("album/a.png", *words, "--name", "{strength}_{seed}.{ext}", "--format", "webp", model=tiny_folder)
    assert paths.stdout.split() == [f"out/{strength}_{seed}.webp" for strength in (0.4, 0.8) for seed in range(3)]
    assert [label for label, _ in labelled][:5] == [
        "a before",
        *(f"a-strength0.4-seed{seed} img2img" for seed in range(3)),
        "a before",
    ]
    four_columns = editkit.draw_sheet([("x", Image.new("RGB", (16, 16)))] * 8, columns=4)
    assert Image.open("sheet.png").width == four_columns.width


def test_several_results_of_one_image_go_into_a_folder_that_is_named_like_one(tmp_path: Path) -> None:
    results = [ResultName("a.png", label=label) for label in ("-1", "-2")]
    for name, files in (("new", ["new/a-1.png", "new/a-2.png"]), ("b.png", ["b-1.png", "b-2.png"])):
        targets = OutputPlan(str(tmp_path / name), (".png",)).targets(results, "img2img")
        assert targets == [tmp_path / file for file in files]


def test_a_job_that_is_repeated_says_once_that_it_numbers_its_files(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "a.png").touch()

    def targets(*names: str, existing: str | None = None) -> list[str]:
        plan = OutputPlan(str(tmp_path), (".png",), existing, into_folder=True)
        return [target.name for target in plan.targets([*map(ResultName, names)], "img2img") if target]

    assert targets("x/a.png", "x/b.png") == ["a-2.png", "b.png"]
    text = capsys.readouterr().err
    assert text.startswith("Numbered: 1 of 2 outputs exist") and "--skip-existing" in text and text.count("\n") == 1
    assert targets("x/c.png", "x/b.png") == ["c.png", "b.png"]
    assert targets("x/a.png", existing="number") == ["a-2.png"] and targets("x/a.png", existing="skip") == ["a.png"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("output", "names"), [(None, ["a-img2img.png", "a-img2img-2.png"]), ("x.png", ["x.png"])])
def test_results_of_simultaneous_commands_are_kept_unless_a_file_is_named(
    output: str | None, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, random_image: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.png").touch()
    options = {"output": output, "json": False}
    commands = [Invocation.plan(options, "img2img", Inputs([Input("a.png")]), (".png",)) for _ in range(2)]
    results = [
        editkit.apply("img2img", random_image((16, 16)), model=ToyBackend(), seed=seed, steps=1) for seed in range(2)
    ]
    for command, result in zip(commands, results, strict=True):
        run_jobs(command, lambda job: None, lambda result=result: one_by_one(lambda request: result))
    written = [Image.open(name).tobytes() for name in names]
    assert written == [result.image.tobytes() for result in results][-len(names) :]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a.png", *names])


def test_a_sheet_and_a_preview_may_be_in_the_folder_that_results_make(album: Path, tiny_folder: Path) -> None:
    words = ["album/a.png", "--prompt", "x", "-o", "new/deep/"]
    edit(*words, "--sheet", "new/deep/s.png", "--preview", "new/../new/deep/p.png", model=tiny_folder)
    assert sorted(path.name for path in Path("new/deep").iterdir()) == ["a.png", "p.png", "s.png"]
    for option in ("--sheet", "--preview"):
        for file, reason in {"other/s.png": "no such folder", "fresh/s.xyz": "must end in"}.items():
            refused = run("img2img", *words[:-1], "fresh/", option, file)
            assert refused.exit_code == 2 and reason in refused.stderr and not Path("fresh").exists()


def test_a_link_to_a_missing_file_is_written_through_and_nothing_is_called_replaced(
    tmp_path: Path, capsys: Any
) -> None:
    link = tmp_path / "link.png"
    link.symlink_to("new.png")
    for said in ("", f"Replaced: {str(link)!r}\n"):
        with output_place(link, replace=True) as path:
            path.write_bytes(b"x")
        assert capsys.readouterr().err == said
    assert link.is_symlink() and (tmp_path / "new.png").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("existing", "kept", "written"),
    [(None, {"m/a-mask.png"}, {"s.png", "m/a-mask-2.png"}), ("number", {"s.png"}, {"s-2.png", "m/a-mask.png"})],
)
def test_sheets_and_masks_follow_the_rule_of_results_while_they_are_written(
    existing: str | None, kept: set[str], written: set[str], album: Path, random_image: Any
) -> None:
    mask = Image.open("masks/a.png")
    result = editkit.apply("img2img", random_image((16, 16)), model=ToyBackend(), mask=mask, seed=0, steps=1)
    Path("m").mkdir()
    options = {"output": "x.png", "json": False, "sheet": "s.png", "mask_out": "m", "existing": existing}
    inputs = Inputs([Input("album/a.png")])
    command = Invocation.plan(options, "img2img", inputs, (".png",))
    for name in kept:
        Path(name).write_text("of another command")
    run_jobs(command, lambda job: None, lambda: one_by_one(lambda request: result))
    assert all(Path(name).read_text() == "of another command" for name in kept)
    assert all(Image.open(name).size for name in written)
    Invocation.plan(options, "img2img", inputs, (".png",))
    with pytest.raises(editkit.InvalidParameter, match=r"sheet 's\.png' exists: choose --existing number"):
        Invocation.plan({**options, "output": "y.png", "existing": "refuse"}, "img2img", inputs, (".png",))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--prompt", "x", "--prompt-file", "album/notes.txt"], "contradict"),
        (["--mask", "masks/a.png", "--mask-dir", "masks"], "contradict"),
        (["--overwrite", "--skip-existing"], "contradict"),
        (["--count", "2", "--seed", "0-1"], "contradict"),
        (["--prompt-file", "missing.txt"], "cannot be read"),
        (["--strength", "0.4,7"], "strength=7"),
        (["--mask-dir", "nowhere"], "is not a folder"),
    ],
)
def test_contradictions_are_refused_before_any_work(album: Path, words: list[str], reason: str) -> None:
    result = run("img2img", "album/a.png", *words, "-o", "out")
    assert result.exit_code == 2 and reason in result.stderr and result.stderr.count("\n") == 1
    assert not Path("out").exists()


def test_help_has_its_options_under_headings() -> None:
    text = run("img2img", "--help").output
    headings = ["Options:", "Sampling:", "Mask:", "Output:", "Several images and results:", "Model:"]
    assert [line for line in text.splitlines() if line in headings] == sorted(headings, key=text.index)
    assert text.index("--prompt TEXT") < text.index("Sampling:")
