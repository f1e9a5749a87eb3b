"""``editkit evaluate``: a folder in PIE-Bench layout, measured, interrupted and resumed."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner, Result
from editkit_evaluate.measures import gradient_similarity, leakage, measure_image, similarity
from editkit_evaluate.pie_bench import PieBench, decode_mask
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet
from reliability_child import in_child

import editkit
from editkit import evaluation
from editkit.cli import main
from editkit.testing.tiny import stable_diffusion_folder

WIDTH, HEIGHT = 40, 32
GROUPS = ("1_change_object_80", "6_change_attribute_color_40", "9_change_style_80")
METHODS = ("prompt-edit:steps=2", "img2img:strength=0.5,steps=4,guidance=1,mask=annotated")


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Starts and lengths of the marked runs, found pixel by pixel."""
    runs: list[int] = []
    for place, marked in enumerate(mask.ravel().tolist()):
        if marked and (place == 0 or not mask.ravel()[place - 1]):
            runs += [place, 0]
        if marked:
            runs[-1] += 1
    return runs


def mask_of(number: int) -> NDArray[np.bool_]:
    """A rectangle, which touches the border in some cases; everything in the last case."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[number : number + 14, 2 * number : 2 * number + 15] = True
    return mask if number < 11 else np.ones_like(mask)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a model and twelve images in the layouts of PIE-Bench and of PIE-Bench++."""
    root = tmp_path_factory.mktemp("evaluate")
    stable_diffusion_folder(root / "model")
    first: dict[str, Any] = {}
    second: dict[str, Any] = {}
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
        path = f"{GROUPS[number % 3]}/{number:012}.png"
        for layout in ("pie", "plus"):
            file = root / layout / "annotation_images" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(file)
        runs = run_lengths(mask_of(number))
        first[f"{number:012}"] = {
            "image_path": path,
            "original_prompt": "a [red] apple",
            "editing_prompt": "a [green] apple",
            "editing_instruction": "make it green",
            "editing_type_id": path[0],
            "blended_word": "apple apple",
            "mask": runs,
        }
        second[f"{number:012}"] = {
            "image_path": path,
            "source_prompt": "a red apple",
            "target_prompt": "a [green] apple",
            "edit_action": {"green": {"position": 1, "edit_type": 6, "action": "red"}},
            "aspect_mapping": {"apple": ["green"]},
            "blended_words": ["apple,apple"],
            "mask": " ".join(map(str, runs)),
        }
    (root / "pie" / "mapping_file.json").write_text(json.dumps(first))
    (root / "plus" / "mapping_file.json").write_text(json.dumps(second))
    return root


def arguments(root: Path, output: Path, *more: str, methods: Sequence[str] = METHODS, data: str = "pie") -> list[str]:
    named = [part for method in methods for part in ("--method", method)]
    return ["evaluate", str(root / data), "-o", str(output), *named, "--model", str(root / "model"), *more]


def run(root: Path, output: Path, *more: str, **changes: Any) -> Result:
    return CliRunner().invoke(main, arguments(root, output, *more, **changes))


def written(output: Path) -> dict[str, bytes]:
    return {name: (output / name).read_bytes() for name in ("table.md", "results.json", "sheet.png")}


@pytest.fixture(scope="module")
def whole(root: Path) -> tuple[Path, str]:
    """Output folder and standard output of an evaluation that was not interrupted."""
    result = run(root, root / "whole", "--sheet-rows", "1")
    assert result.exit_code == 0, result.output
    return root / "whole", result.stdout


def records(output: Path, method: str) -> dict[str, tuple[NDArray[np.float32], dict[str, Any]]]:
    """Pixels and measures of a method's stored edits by case, whatever the definitions."""
    (folder,) = (one for one in (output / "edits").iterdir() if one.name.startswith(method))
    found = {}
    for file in sorted(folder.glob("*.json")):
        (measures,) = json.loads(file.read_text())["measures"].values()
        found[file.stem] = (np.float32(Image.open(file.with_suffix(".png"))) / 255, measures)
    return found


def published_ssim(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """SSIM as torchmetrics computes it: Gaussian windows of 11 pixels that lie in the image, averaged."""
    line = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    window = (line[:, None] * line[None] / line.sum() ** 2).expand(3, 1, 11, 11)
    x, y = (torch.from_numpy(image).double().permute(2, 0, 1)[None] for image in (one, other))
    mean_x, mean_y, xx, yy, xy = (F.conv2d(each, window, groups=3) for each in (x, y, x * x, y * y, x * y))
    above = (2 * mean_x * mean_y + 0.01**2) * (2 * (xy - mean_x * mean_y) + 0.03**2)
    below = (mean_x**2 + mean_y**2 + 0.01**2) * (xx - mean_x**2 + yy - mean_y**2 + 0.03**2)
    return float((above / below).mean())


@pytest.mark.slow
def test_published_measures_equal_their_formulas(root: Path, tmp_path: Path) -> None:
    result = run(root, tmp_path, "--as-published", methods=METHODS[:1])
    assert result.exit_code == 0, result.output
    annotations = json.loads((root / "pie" / "mapping_file.json").read_text())
    for name, (edited, measures) in records(tmp_path, "prompt-edit").items():
        source = np.float32(Image.open(root / "pie" / "annotation_images" / annotations[name]["image_path"])) / 255
        marked = mask_of(int(name)).astype(np.float32)
        marked[0], marked[-1], marked[:, 0], marked[:, -1] = 1, 1, 1, 1
        if marked.all():
            assert [measures[f"{measure}_unedit_part"] for measure in ("psnr", "mse", "ssim")] == [None] * 3
            continue
        one, other = (image * (1 - marked)[..., None] for image in (source, edited))
        error = float(((one - other) ** 2).mean(dtype=np.float64))
        assert measures["mse_unedit_part"] == pytest.approx(error, rel=1e-5)
        assert measures["psnr_unedit_part"] == pytest.approx(10 * math.log10(1 / error), abs=1e-4)
        assert measures["ssim_unedit_part"] == pytest.approx(published_ssim(one, other), abs=1e-6)
    row = json.loads((tmp_path / "results.json").read_text())["rows"][1]
    values = [measures["psnr_unedit_part"] for _, measures in records(tmp_path, "prompt-edit").values()]
    defined = [value for value in values if value is not None]
    assert (row["n"], row["psnr_unedit_part"]["count"], len(defined)) == (12, 11, 11)
    assert row["psnr_unedit_part"]["value"] == pytest.approx(np.mean(defined), rel=1e-9)


@pytest.mark.slow
def test_killed_evaluation_resumes_to_the_same_bytes(
    root: Path, whole: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, calls = evaluation.EditMethod.edit, itertools.count(1)

    def kill_in_the_fifth(*args: Any) -> Any:
        if next(calls) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return edit(*args)

    call = arguments(root, tmp_path, "--sheet-rows", "1")
    with monkeypatch.context() as patched:
        patched.setattr(evaluation.EditMethod, "edit", kill_in_the_fifth)
        assert in_child(lambda: main(call)).state == "crashed"
    finished = list((tmp_path / "edits").glob("prompt-edit*/*.json"))
    assert len(finished) == 4
    assert not (tmp_path / "table.md").exists()
    times = [file.with_suffix(".png").stat().st_mtime_ns for file in finished]
    finished[0].write_text('{"key": ')  # a damaged record is computed again
    assert CliRunner().invoke(main, call).exit_code == 0
    assert written(tmp_path) == written(whole[0])
    assert [file.with_suffix(".png").stat().st_mtime_ns for file in finished[1:]] == times[1:]


def test_both_layouts_have_the_same_cases(root: Path) -> None:
    first, second = (PieBench(root / layout) for layout in ("pie", "plus"))
    assert len(first) == len(second) == 12
    for one, other in zip(first, second, strict=True):  # type: ignore[call-overload]
        assert (one.name, one.source, one.target, one.group) == (other.name, other.source, other.target, other.group)
        assert one.target == "a green apple"
        assert one.mask.tobytes() == other.mask.tobytes() == (255 * mask_of(int(one.name)).astype(np.uint8)).tobytes()
        assert (one.instruction, other.instruction) == ("make it green", "")


def test_tables_of_a_hub_hold_the_same_cases(root: Path, tmp_path: Path) -> None:
    annotations = json.loads((root / "plus" / "mapping_file.json").read_text())
    for group in GROUPS:
        rows = []
        for name, entry in annotations.items():
            if entry["image_path"].startswith(group):
                image = (root / "plus" / "annotation_images" / entry["image_path"]).read_bytes()
                texts = {key: str(value) for key, value in entry.items() if key != "image_path"}
                rows.append({"image": {"bytes": image, "path": f"{name}.png"}, "id": name, **texts})
        (tmp_path / group).mkdir()
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / group / "V1-00000-of-00001.parquet")
    tables, folder = PieBench(tmp_path), PieBench(root / "plus")
    expected = {f"{case.group} {case.name}": case for case in (folder[place] for place in range(12))}
    assert len(tables) == 12
    for case in (tables[place] for place in range(12)):
        other = expected[case.name]
        assert case.digest == other.digest
        assert (case.group, case.source, case.target) == (other.group, other.source, other.target)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "V1.parquet").write_bytes(b"PAR1")
    with pytest.raises(editkit.BadFile, match=r"bad/V1\.parquet"):
        PieBench(tmp_path)


@pytest.mark.slow
def test_masked_method_leaks_nothing_and_undefined_values_are_counted(whole: tuple[Path, str]) -> None:
    output, printed = whole
    results = json.loads((output / "results.json").read_text())
    bound, free, masked = results["rows"]
    assert bound["method"] == "autoencoder round trip"
    assert masked["psnr_outside"] == {"value": 100.0, "low": 100.0, "high": 100.0, "count": 11, "total": 12}
    assert masked["leakage"]["value"] == 0.0 < free["leakage"]["value"]
    assert free["network_samples"] > 0
    (difference,) = results[f"Paired differences to {METHODS[0]}"]
    means = masked["psnr_outside"]["value"] - free["psnr_outside"]["value"]
    assert difference["psnr_outside"]["value"] == pytest.approx(means, abs=1e-9)
    assert difference["psnr_outside"]["count"] == 11
    assert [row["kind"] for row in results["By kind of edit"]][::3] == sorted(GROUPS)
    assert ", n 11" in printed
    assert (output / "table.md").read_text() == printed
    assert editkit.open_image(output / "sheet.png").width > 6 * 192


@pytest.mark.slow
def test_batches_of_any_size_give_the_same_bytes_and_note_failures(root: Path, tmp_path: Path) -> None:
    annotations = json.loads((root / "pie" / "mapping_file.json").read_text())
    some = {name: annotations[name] for name in list(annotations)[:5]}
    some["000000000003"]["mask"] = None
    (root / "pie" / "five.json").write_text(json.dumps(some))
    tables = []
    for batch in (2, 4):
        output = tmp_path / str(batch)
        options = ("--batch", str(batch), "--limit", "1") if batch == 4 else ("--batch", "2")
        changes = {"data": "pie/five.json", "methods": ["prompt-edit:steps=1,mask=annotated"]}
        assert run(root, output, *options, **changes).exit_code == 0
        tables.append(run(root, output, "--batch", str(batch), **changes).stdout)
        row = json.loads((output / "results.json").read_text())["rows"][1]
        assert (row["n"], row["failed"], row["psnr_outside"]["value"]) == (4, 1, 100.0)
    assert tables[0] == tables[1]
    images = [sorted((tmp_path / batch / "edits").glob("prompt-edit*/*.png")) for batch in ("2", "4")]
    assert [file.read_bytes() for file in images[0]] == [file.read_bytes() for file in images[1]]
    assert "case '000000000003' has no mask" in tables[0]


def test_warnings_of_edits_are_counted(root: Path, tmp_path: Path) -> None:
    result = run(root, tmp_path, "--limit", "2", methods=["prompt-edit:steps=1,guidance_rescale=0.5"])
    assert result.exit_code == 0, result.output
    (row,) = json.loads((tmp_path / "results.json").read_text())["Warnings"]
    assert row["edits"] == 2
    assert row["warning"].startswith("guidance_rescale=0.5 has no effect")
    assert row["warning"] in result.stdout


def test_single_failure_stops_nothing_and_is_tried_again(root: Path, tmp_path: Path) -> None:
    annotations = json.loads((root / "pie" / "mapping_file.json").read_text())
    annotations["000000000001"]["mask"] = None
    file = root / "pie" / "some.json"
    file.write_text(json.dumps({name: annotations[name] for name in ("000000000000", "000000000001")}))
    changes = {"data": "pie/some.json", "methods": METHODS[1:]}
    result = run(root, tmp_path, **changes)
    assert result.exit_code == 0, result.output
    assert "case '000000000001' has no mask" in result.stdout
    assert json.loads((tmp_path / "results.json").read_text())["rows"][1]["failed"] == 1
    annotations["000000000001"]["mask"] = [0, 100]
    file.write_text(json.dumps({name: annotations[name] for name in ("000000000000", "000000000001")}))
    assert "no mask" not in run(root, tmp_path, **changes).stdout
    row = json.loads((tmp_path / "results.json").read_text())["rows"][1]
    assert (row["n"], row["failed"]) == (2, None)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("prompt-edit:stepz=3", "no option 'stepz=3'; did you mean 'steps'"),
        ("prompt-edit:steps=x", "steps='x' is not allowed"),
        ("prompt-edit:steps=0", "steps=0 is not allowed"),
        ("prompt-edit:inverter=pinnd", "did you mean 'pinned'"),
        ("prompt-edit:inverter=[rex:coupling=3]", "coupling=3 is not allowed"),
        ("prompt-edit:mask=mine.png", "mask=annotated"),
        ("prompt-edit:inverter=[rex,steps=3", "square brackets"),
        ("generate:steps=3", "a method edits one image"),
        ("outpaint:right=8", "only results of the image's size"),
        ("upscale:scale=3", "one of 2, 4"),
        ("upscal", "did you mean 'upscale'"),
    ],
)
def test_unusable_method_is_refused_before_a_model_loads(root: Path, tmp_path: Path, method: str, message: str) -> None:
    result = CliRunner().invoke(main, [*arguments(root, tmp_path, methods=[method])[:-1], str(tmp_path / "no-model")])
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_folder_with_results_of_something_else_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("mine")
    result = run(root, tmp_path)
    assert result.exit_code == 2 and "holds results.json and no edits of an evaluation" in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": [0]}, "each start needs a length"),
        ({"mask": [0, 5, WIDTH * HEIGHT, 1]}, f"has {WIDTH * HEIGHT} pixels"),
        ({"mask": "0 five"}, "no list of whole numbers"),
        ({"image_path": "../secret.png"}, "is not allowed: give a path inside annotation_images"),
        ({"image_path": "missing.png"}, "missing.png"),
        ({"original_prompt": None}, "has neither original_prompt nor source_prompt"),
    ],
)
def test_unusable_annotation_is_refused_by_name(
    root: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    entry = {"image_path": f"{GROUPS[0]}/000000000000.png", "original_prompt": "a", "editing_prompt": "b", "mask": []}
    (root / "pie" / "bad.json").write_text(json.dumps({"first": entry | changes}))
    result = run(root, tmp_path, data="pie/bad.json")
    assert result.exit_code != 0
    assert message in result.stderr


def test_method_reads_brackets_repetitions_and_seeds() -> None:
    method = evaluation.EditMethod.parse(
        "prompt-edit:inverter=[rex:scheme=euler,coupling=0.99],attach=prompt-to-prompt,"
        "attach=[mutual-attention:start=0.5,beside=true],frame=off,seed=7"
    )
    assert method.values == {
        "inverter": "rex:scheme=euler,coupling=0.99",
        "attach": ("prompt-to-prompt", "mutual-attention:start=0.5,beside=true"),
        "frame": "off",
        "seed": 7,
    }
    assert evaluation.EditMethod.parse("inpaint").masked
    assert evaluation.EditMethod.parse("upscale:scale=2").values == {"scale": 2}


def test_number_selects_a_kind_of_edit(root: Path) -> None:
    dataset = evaluation.open_dataset("pie-bench:group=9", root / "plus")
    assert [dataset[place].name for place in range(len(dataset))] == [f"{number:012}" for number in (2, 5, 8, 11)]


def test_runs_past_the_last_pixel_end_there() -> None:
    assert decode_mask([1, 2, 5, 9], (2, 3)).tolist() == [[0, 1, 1], [0, 0, 1]]


def test_measures_outside_do_not_depend_on_the_inside() -> None:
    random = np.random.default_rng(0)
    source, result = random.random((2, HEIGHT, WIDTH, 3))
    other = np.where(mask_of(4)[..., None], random.random((HEIGHT, WIDTH, 3)), result)
    first, second = (measure_image(source, image, mask_of(4)) for image in (result, other))
    assert {name for name in first if first[name] == second[name]} == {
        f"{measure}_outside" for measure in ("psnr", "mse", "ssim", "gradient")
    }
    same = measure_image(source, source, mask_of(4))
    assert (same["psnr_outside"], same["ssim_inside"], same["gradient"], same["leakage"]) == (100, 1, 1, None)


def test_structure_measures_see_edges_and_leakage_sees_squares() -> None:
    flat = np.zeros((HEIGHT, WIDTH, 3))
    step = flat.copy()
    step[:, WIDTH // 2 :] = 1
    assert gradient_similarity(step, 1 - step) == pytest.approx(1, abs=1e-9)
    assert gradient_similarity(flat, step) < 0.96  # type: ignore[operator]
    assert similarity(step, 1 - step) < 0.5  # type: ignore[operator]
    half = np.zeros((HEIGHT, WIDTH), bool)
    half[: HEIGHT // 2] = True
    assert leakage(flat, np.where(half[..., None], 0.2, 0.1), half) == pytest.approx(0.2, abs=1e-9)


def test_undefined_measures_have_no_estimate() -> None:
    assert evaluation.mean_of([None, None]) is None
    assert str(evaluation.mean_of([1.0, None])) == "1, n 1"
    assert str(evaluation.mean_of([math.inf, 1.0])) == "inf"
    estimate = evaluation.mean_of([1.0, 2.0, 3.0, None])
    assert estimate is not None
    assert (estimate.value, estimate.count, estimate.total) == (2.0, 3, 4)
    assert estimate.low <= 2.0 <= estimate.high  # type: ignore[operator]
