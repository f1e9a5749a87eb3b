"""Edges, reliefs and depth match their definitions, and ready-made maps are read correctly."""

from __future__ import annotations

import functools
import importlib.util
import io
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from editkit_annotators.edges import canny, canny_skimage
from editkit_annotators.relief import inflate, solve_poisson
from numpy.typing import NDArray
from PIL import Image

import editkit
from editkit import BadImage, InvalidParameter, WeightsUnavailable, read_map
from editkit.images.condition_maps import map_note
from editkit.registry.registry import installed
from editkit.testing import AnnotatorTests, suite_of

for _name in editkit.annotators():
    _suite = suite_of("annotators", _name)
    globals()[_suite.__name__] = _suite

HERE = Path(__file__).parents[1]
IMAGES = sorted((HERE / "pictures").glob("*.png"))
METHODS = {"opencv": canny, "skimage": canny_skimage}
ANNOTATORS = {**METHODS, "relief": inflate}
RED, WHITE = (200, 40, 30), (255, 255, 255)

Map = NDArray[np.float32]


def annotate(call: str, image: Image.Image) -> Map:
    return installed().build("annotators", call)(image)  # type: ignore[no-any-return]


def ellipse(size: int, *, wide: float = 0.4, high: float = 0.4) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Height (H, W) of half an ellipsoid, at most 1, and its footprint; axes in fractions of the size."""
    across = (np.arange(size) + 0.5) / size - 0.5
    height = 1 - (across / wide) ** 2 - (across[:, None] / high) ** 2
    return np.sqrt(np.maximum(height, 0)), height > 0


def paint(inside: NDArray[np.bool_], colour: tuple[int, ...] = RED, background: tuple[int, ...] = WHITE) -> Image.Image:
    return Image.fromarray(np.where(inside[..., None], np.uint8(colour), np.uint8(background)))


def cut_out(inside: NDArray[np.bool_], background: tuple[int, ...] = WHITE) -> Image.Image:
    image = paint(inside, background=background)
    image.putalpha(Image.fromarray(inside).convert("L"))
    return image


def distance_to(edges: NDArray[Any]) -> NDArray[np.float32]:
    """Distance to the nearest edge in pixels."""
    return cv2.distanceTransform((edges == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def fraction_near(edges: NDArray[Any], others: NDArray[Any], pixels: int) -> float:
    """Fraction of the edges that have one of the others within ``pixels``."""
    return float((distance_to(others)[edges == 1] <= pixels).mean())


def outline(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    shrunk = cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return inside & ~shrunk


# Edges and reliefs


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (17, 120, 200)])
@pytest.mark.parametrize("annotator", ANNOTATORS)
def test_a_constant_image_has_an_empty_map(annotator: str, colour: tuple[int, int, int]) -> None:
    for size in ((1, 1), (64, 48), (700, 3), (900, 2)):
        assert not ANNOTATORS[annotator](Image.new("RGB", size, colour)).any()


# Edges


@pytest.mark.parametrize("size", [48, 200, 900])
@pytest.mark.parametrize("method", METHODS)
def test_edges_of_a_disc_are_its_outline(method: str, size: int) -> None:
    _, inside = ellipse(size)
    edges, true = METHODS[method](paint(inside)), outline(inside)
    assert set(np.unique(edges)) == {0, 1}
    assert fraction_near(edges, true, 2) == 1
    assert fraction_near(true, edges, 2) == 1


@pytest.mark.parametrize("method", METHODS)
def test_thresholds_follow_the_contrast(method: str) -> None:
    _, inside = ellipse(64)
    strong, faint = (paint(inside, (grey,) * 3) for grey in (0, 235))
    assert np.array_equal(METHODS[method](strong), METHODS[method](faint))


@pytest.mark.parametrize("method", METHODS)
def test_noise_of_a_level_has_no_edges(method: str) -> None:
    noise = np.random.default_rng(0).integers(126, 129, (64, 64, 3), dtype=np.uint8)
    assert not METHODS[method](Image.fromarray(noise)).any()


@pytest.mark.parametrize("method", METHODS)
def test_edges_do_not_depend_on_the_scale(method: str) -> None:
    image = Image.open(IMAGES[0]).convert("RGB").resize((512, 512), Image.Resampling.BICUBIC)
    band = image.crop((0, 192, 512, 320))  # smoothing depends on the longest side only, and a band is faster
    small, big = METHODS[method](band), METHODS[method](band.resize((2048, 512), Image.Resampling.BICUBIC))
    shrunk = cv2.dilate(big, np.ones((4, 4), np.uint8))[::4, ::4]
    assert fraction_near(shrunk, small, 3) > 0.95
    assert fraction_near(small, shrunk, 3) > 0.95


def test_opencv_finds_edges_between_colours_of_one_grey() -> None:
    red = (226, 0, 0)
    grey = round(0.299 * red[0])
    image = paint(ellipse(64)[1], red, (grey,) * 3)
    assert canny(image).sum() > 100
    assert canny_skimage(image).sum() == 0


@pytest.mark.parametrize("file", IMAGES[::6], ids=lambda file: file.stem)
def test_thresholds_agree_with_opencv_and_scikit_image(file: Path) -> None:
    from skimage import feature
    from skimage.morphology import skeletonize

    image = Image.open(file).convert("RGB")
    grey = cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2GRAY)
    theirs = cv2.Canny(np.asarray(image), 50, 150, L2gradient=True)
    assert np.array_equal(annotate("edge:low=50,high=150,sigma=0", image) * 255, theirs)
    theirs = skeletonize(
        feature.canny(grey / 255, 1.0, low_threshold=50 / 255, high_threshold=150 / 255, mode="nearest")
    )
    ours = annotate("edge:method=skimage,low=50,high=150,sigma=1", image)
    assert (ours != theirs).mean() < 0.002


@pytest.mark.parametrize("file", IMAGES[::4], ids=lambda file: file.stem)
def test_the_two_methods_agree(file: Path) -> None:
    image = Image.open(file)
    one, other = (annotate(f"edge:method={method}", image) for method in METHODS)
    assert fraction_near(other, one, 2) > 0.8
    assert fraction_near(one, other, 2) > 0.7


def test_one_edge_threshold_determines_the_other() -> None:
    image = Image.open(IMAGES[0])
    assert np.array_equal(annotate("edge:high=100", image), annotate("edge:low=40,high=100", image))
    assert np.array_equal(annotate("edge:low=40", image), annotate("edge:low=40,high=100", image))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("edge:low=200,high=100", "low must be at most high"),
        ("edge:method=sobel", "'opencv' or 'skimage'"),
        ("edge:hihg=3", "did you mean 'high'"),
        ("edge:low=-1", "low=-1"),
        ("edge:sigma=nan", "sigma=nan"),
        ("edge:weights=here", "name it with detector="),
        ("edge:detector=HEDdetector,low=3", "low belong to Canny"),
        ("depth:metric=true", "name it with model="),
        ("depth:model=here,detector=MidasDetector", "leave out one"),
        ("relief:low=3", "no parameter 'low'"),
    ],
)
def test_wrong_parameters_are_named(call: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        installed().build("annotators", call)


# Reliefs


@pytest.mark.parametrize("size", [64, 128, 700])
@pytest.mark.parametrize("axes", [(0.4, 0.4), (0.45, 0.2)])
def test_an_ellipse_becomes_half_an_ellipsoid(size: int, axes: tuple[float, float]) -> None:
    expected, inside = ellipse(size, wide=axes[0], high=axes[1])
    result = inflate(paint(inside))
    assert result.max() == 1
    assert not result[~inside].any()
    assert np.abs(result - expected).mean() < 0.01
    pixel = 1 / (min(axes) * min(size, 256))  # of the shorter axis, at the size at which the equation is solved
    assert np.abs(result - expected)[expected > 0.4].max() < 1.2 * pixel


def test_the_solver_agrees_with_a_dense_one() -> None:
    inside = np.random.default_rng(0).random((14, 17)) < 0.8
    pixels = np.argwhere(inside)
    distance = np.abs(pixels[:, None] - pixels[None]).sum(2)
    dense = np.linalg.solve(4 * (distance == 0) - 1.0 * (distance == 1), np.ones(len(pixels)))
    result = solve_poisson(inside)
    assert not result[~inside].any()
    assert np.abs(result[inside] - dense).max() < 2e-3 * dense.max()


def test_the_background_may_have_any_colour_or_be_transparent() -> None:
    _, inside = ellipse(64)
    expected = inflate(paint(inside))
    for background in ((0, 0, 0), (30, 90, 200), (128, 128, 128)):
        assert np.array_equal(inflate(paint(inside, background=background)), expected)
    without = cut_out(inside, background=RED)
    assert np.array_equal(inflate(without), expected)
    assert np.array_equal(inflate(without.quantize(16)), expected)


def test_an_enclosed_region_belongs_to_the_object_unless_transparent() -> None:
    _, inside = ellipse(64)
    _, middle = ellipse(64, wide=0.15, high=0.15)
    ring = inside & ~middle
    assert np.array_equal(inflate(paint(ring)), inflate(paint(inside)))
    assert not inflate(cut_out(ring))[middle].any()


def test_the_relief_of_a_cut_off_object_ends_at_the_border() -> None:
    _, inside = ellipse(64)
    result = inflate(paint(inside[:32]))
    assert result[-1].max() < result[10:25].max() == 1


def test_weak_noise_does_not_give_the_background_a_relief() -> None:
    _, inside = ellipse(128)
    noise = np.random.default_rng(0).normal(0, 4, (128, 128, 3))
    noisy = Image.fromarray(
        (np.asarray(paint(inside, background=(200, 200, 200))) + noise).clip(0, 255).astype(np.uint8)
    )
    assert np.abs(inflate(noisy) - inflate(paint(inside))).mean() < 0.005


def test_a_background_that_is_not_plain_is_an_error_with_advice() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with pytest.raises(BadImage, match=r"plain background.*only \d+%.*kind 'depth'.*control image"):
        annotate("relief", Image.fromarray(noise))


@pytest.mark.parametrize("file", IMAGES[::4], ids=lambda file: file.stem)
def test_every_image_on_white_has_a_relief(file: Path) -> None:
    result = annotate("relief", Image.open(file))
    assert result.max() == 1
    assert 0.05 < (result > 0).mean() < 1


# Depth


SMALL = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
NECK = {"neck_hidden_sizes": [16, 16, 32, 32], "fusion_hidden_size": 16}


def dpt() -> tuple[Any, dict[str, Any]]:
    """A tiny DPT like MiDaS's models, and the settings of its image processor; near values are large."""
    from transformers import DPTConfig, DPTForDepthEstimation

    shape = {"intermediate_size": 37, "image_size": 32, "patch_size": 16, "backbone_out_indices": [0, 1, 2, 3]}
    config = DPTConfig(**SMALL, **NECK, **shape, is_hybrid=False)
    return DPTForDepthEstimation(config), {"size": {"height": 32, "width": 32}}


def depth_anything() -> tuple[Any, dict[str, Any]]:
    """A tiny metric Depth Anything, and the settings of its image processor: distances in metres."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    shape = {"image_size": 28, "patch_size": 14, "out_indices": [1, 2, 3, 4]}
    config = DepthAnythingConfig(
        **NECK,
        backbone_config=Dinov2Config(**SMALL, **shape, reshape_hidden_states=False),
        patch_size=14,
        reassemble_hidden_size=32,
        head_hidden_size=8,
        initializer_range=0.3,  # so that pixels differ by more than rounding
        depth_estimation_type="metric",
        max_depth=20,
    )
    return DepthAnythingForDepthEstimation(config), {"size": {"height": 56, "width": 56}, "ensure_multiple_of": 14}


MODELS = {"dpt": dpt, "depth-anything": depth_anything}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Folder of a tiny model with random weights, by family."""
    from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

    def save(family: str) -> str:
        torch.manual_seed(0)
        model, settings = MODELS[family]()
        folder = tmp_path_factory.mktemp(family)
        model.save_pretrained(folder)
        DPTImageProcessorPil(**settings).save_pretrained(folder)
        return str(folder)

    return functools.cache(save)


class TestDepthByModel(AnnotatorTests):
    name = "depth"

    @pytest.fixture(autouse=True)
    def tiny(self, models: Callable[[str], str]) -> None:
        type(self).options = f"model={models('dpt')}"


def test_missing_weights_of_a_depth_model_are_named(models: Callable[[str], str], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(models("dpt"), tmp_path / "model"))
    tensors = load_file(folder / "model.safetensors")
    unused = [name for name in tensors if name.startswith("neck.fusion_stage.layers.0.residual_layer1.")]
    whole = {name: one for name, one in tensors.items() if name not in unused}
    save_file(whole, folder / "model.safetensors", {"format": "pt"})
    assert unused and annotate(f"depth:model={folder}", Image.open(IMAGES[0])) is not None
    name = "head.head.0.weight"
    save_file({key: one for key, one in whole.items() if key != name}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsUnavailable, match=f"has missing weights: {name}"):
        annotate(f"depth:model={folder}", Image.open(IMAGES[0]))


def nearness(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / np.maximum(distances, distances.max() / 1000)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("family", "option", "transform", "tolerance"),
    [
        ("dpt", "", np.positive, 1e-5),
        ("depth-anything", "", nearness, 1e-4),
        ("depth-anything", ",metric=false", np.positive, 1e-5),
    ],
    ids=["relative", "metric", "metric read as relative"],
)
def test_predicted_depth_is_normalised_and_distances_are_inverted(
    models: Callable[[str], str],
    family: str,
    option: str,
    transform: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    tolerance: float,
) -> None:
    from transformers import pipeline

    image = Image.open(IMAGES[0]).convert("RGB").resize((70, 50))
    theirs = pipeline("depth-estimation", model=models(family), device="cpu")(image)["predicted_depth"]
    values = transform(theirs.double().numpy())
    expected = (values - values.min()) / np.ptp(values)
    assert np.allclose(annotate(f"depth:model={models(family)}{option}", image), expected, atol=tolerance)


def test_depth_without_a_source_names_all_sources() -> None:
    with pytest.raises(InvalidParameter, match=r"depth:model=.*control image.*'relief'"):
        installed().build("annotators", "depth")


def test_a_missing_depth_model_is_named_before_use(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="neither a folder nor a hub id"):
        installed().build("annotators", "depth:model=nowhere")
    with pytest.raises(WeightsUnavailable, match=r"without config\.json or without \*\.safetensors"):
        installed().build("annotators", f"depth:model={tmp_path}")


@pytest.fixture
def own_model(tmp_path: Path, models: Callable[[str], str]) -> Path:
    """Folder of a tiny model that a test may change."""
    return Path(shutil.copytree(models("dpt"), tmp_path / "model"))


def test_pickled_weights_of_a_model_are_refused(own_model: Path) -> None:
    (own_model / "model.safetensors").rename(own_model / "pytorch_model.bin")
    with pytest.raises(WeightsUnavailable, match=r"without \*\.safetensors"):
        installed().build("annotators", f"depth:model={own_model}")


def test_code_of_a_model_is_not_run(tmp_path: Path, own_model: Path) -> None:
    trace = tmp_path / "ran"
    (own_model / "own.py").write_text(f"open({str(trace)!r}, 'w')\n")
    config = json.loads((own_model / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": dict.fromkeys(("AutoConfig", "AutoModelForDepthEstimation"), "own.Own"),
    }
    (own_model / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsUnavailable, match="cannot be loaded"):
        installed().build("annotators", f"depth:model={own_model}")
    assert not trace.exists()


# Detectors of controlnet-aux


def installed_package(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


@pytest.mark.skipif(installed_package("controlnet_aux"), reason="controlnet-aux is installed here")
@pytest.mark.parametrize("call", ["edge:detector=CannyDetector", "depth:detector=MidasDetector,weights=here"])
def test_a_missing_package_is_named_with_what_to_install(call: str) -> None:
    with pytest.raises(WeightsUnavailable, match=r"controlnet-aux.*not installed: pip install"):
        installed().build("annotators", call)


OFFLINE = ("NewConnectionError", "ConnectTimeout", "No matching distribution", "No module named pip")
PACKAGES = {
    "torchvision": ["torchvision==0.28.0"],
    "detectors": ["controlnet-aux==0.0.10", "einops==0.8.2", "timm==1.0.31"],
}
"""Packages that detectors need, without dependencies: torchvision and timm would install another torch."""


@pytest.fixture(scope="module")
def detectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the packages of detectors, each group in a subfolder, that no other test imports."""
    folder = tmp_path_factory.mktemp("packages")
    for group, packages in PACKAGES.items():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command = [*pip, "--target", folder / group, *packages]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode and any(reason in ended.stderr for reason in OFFLINE):
            pytest.skip(f"{', '.join(packages)} cannot be downloaded here: {ended.stderr.strip().splitlines()[-1]}")
        assert ended.returncode == 0, ended.stderr
    return folder


def outcomes(folders: list[Path], *calls: str) -> dict[str, Any]:
    """Outcome of each call of an annotator, in a process that also imports from ``folders``."""
    path = os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, HERE / "controlnet_aux" / "run_annotators.py", IMAGES[0], *calls]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)  # type: ignore[no-any-return]


class Trap:
    """An object whose unpickling leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


@pytest.mark.slow
def test_detectors_run_with_a_torchvision_built_for_another_torch(detectors: Path, tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    for folder in (good, bad):
        folder.mkdir()
    torch.save(Trap(tmp_path / "ran"), bad / "ControlNetHED.pth")
    calls = {
        "canny": "edge:detector=CannyDetector",
        "hed": f"edge:detector=HEDdetector,weights={good}",
        "trap": f"edge:detector=HEDdetector,weights={bad}",
        "bare": "depth:detector=MidasDetector",
        "coloured": "edge:detector=ContentShuffleDetector",
        "unknown": "edge:detector=Canny",
    }
    folders = [detectors / "torchvision", detectors / "detectors"]
    results = outcomes(folders, f"hed-weights={good}", *calls.values())
    ended = {name: results[call] for name, call in calls.items()}
    size = Image.open(IMAGES[0]).size
    for name in ("canny", "hed"):
        assert ended[name]["shape"] == [size[1], size[0]], ended[name]
        assert ended[name]["dtype"] == "float32"
        assert 0 <= ended[name]["low"] < ended[name]["high"] <= 1
    assert ended["canny"]["near_ours"] > 0.8
    assert "WeightsUnavailable" in ended["trap"]["error"]
    assert not (tmp_path / "ran").exists()
    assert "needs weights=" in ended["bare"]["error"]
    assert "returns colours" in ended["coloured"]["error"]
    assert "known: AnylineDetector, CannyDetector" in ended["unknown"]["error"]


@pytest.mark.slow
def test_a_missing_or_broken_dependency_of_a_detector_is_named(detectors: Path, tmp_path: Path) -> None:
    call = "edge:detector=CannyDetector"
    if not installed_package("torchvision"):
        missing = outcomes([detectors / "detectors"], call)[call]["error"]
        assert "detectors need torchvision, which is not installed" in missing
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::other is missing')\n"
    )
    broken = outcomes([tmp_path, detectors / "detectors"], call)[call]["error"]
    assert f"torchvision does not fit torch {torch.__version__}" in broken
    assert "operator torchvision::other is missing" in broken


# Ready-made maps


def encode(values: NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, kind, **options)
    return stream.getvalue()


RAMP = np.add.outer(np.arange(5), np.arange(7)).astype(np.uint8)  # (5, 7), 0 to 10
COLOUR = np.stack([RAMP * 25, RAMP * 3, 250 - RAMP * 25], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("invert", [False, True])
def test_levels_of_8_bits_are_not_stretched(invert: bool) -> None:
    expected = (RAMP * 9 + 40).astype(np.uint8)
    colour, opaque = np.stack([expected] * 3, axis=-1), np.full_like(expected, 255)
    sources = {
        "array": expected,
        "grey array": expected[..., None],
        "colour array": colour,
        "L": encode(expected),
        "RGB": encode(colour),
        "RGBA": encode(np.dstack([colour, opaque])),
        "P": Image.fromarray(expected).convert("P"),
        "TIFF": encode(expected, "TIFF"),
    }
    for name, source in sources.items():
        levels = np.rint(read_map(source, invert=invert) * 255)
        assert np.array_equal(levels, 255 - expected if invert else expected), name
    constant = np.full((4, 4), 51, np.uint8)
    assert np.allclose(read_map(constant, invert=invert), 0.8 if invert else 0.2, atol=1e-6)


def test_maps_of_1_bit_colour_and_transparency_are_read() -> None:
    bits = RAMP % 2 == 0
    assert np.array_equal(read_map(bits), bits)
    assert np.array_equal(read_map(encode(bits)), bits)
    grey = np.asarray(Image.fromarray(COLOUR).convert("L"))
    assert np.array_equal(np.rint(read_map(COLOUR) * 255), grey)
    clear = Image.fromarray(np.full((5, 7), 200, np.uint8)).convert("RGBA")
    clear.putalpha(Image.fromarray(np.where(bits, 255, 0).astype(np.uint8)))
    assert np.array_equal(read_map(clear) > 0, bits)


def drawn(line: tuple[int, ...], ground: tuple[int, ...]) -> Image.Image:
    image = Image.new("RGBA", (24, 16), ground)
    image.paste(line, (4, 6, 20, 8))
    return image


LINES = np.asarray(drawn((255,) * 4, (0, 0, 0, 255)).convert("L")) / np.float32(255)


@pytest.mark.parametrize(
    "source",
    [
        drawn((0, 0, 0, 255), (255, 255, 255, 0)),
        drawn((0, 0, 0, 255), (0, 0, 0, 0)),
        drawn((255,) * 4, (255, 255, 255, 0)),
        LINES.astype(np.uint8),
    ],
)
def test_lines_of_a_map_are_read_however_they_are_drawn(source: Any) -> None:
    assert np.array_equal(read_map(source), LINES)
    assert map_note(read_map(source), "control_image", invert=False) is None


def test_a_map_that_shows_nothing_or_dark_lines_is_named() -> None:
    opaque = drawn((0, 0, 0, 255), (0, 0, 0, 255))
    assert "one value everywhere" in str(map_note(read_map(opaque), "map", invert=False))
    assert "control_invert=True" in str(map_note(1 - LINES, "map", invert=False))
    assert "control_invert=False" in str(map_note(LINES, "map", invert=True))
    depth = np.tile(np.linspace(0.3, 1, 24, dtype=np.float32), (16, 1))
    assert map_note(1 - LINES, "map", invert=True) is None and map_note(depth, "map", invert=False) is None


@pytest.mark.parametrize("quality", [50, 70, 90])
def test_noise_beside_the_lines_of_a_lossy_map_is_no_line(quality: int) -> None:
    lines = np.zeros((90, 120), np.uint8)
    lines[20:70, 30] = lines[20, 30:100] = lines[70, 30:100] = 255
    buffer = io.BytesIO()
    Image.fromarray(lines).save(buffer, "JPEG", quality=quality)
    read = read_map(buffer.getvalue())
    assert (read[lines == 0] > 0).mean() < 0.005 and read[lines > 0].min() > 0.5
    ramp = np.repeat(np.arange(120, dtype=np.uint8)[None] * 2, 90, 0)
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, "JPEG", quality=quality)
    assert np.abs(read_map(buffer.getvalue()) - ramp / 255).max() < 0.05, "a depth map keeps its dark levels"
    buffer = io.BytesIO()
    Image.fromarray(lines).convert("RGB").save(buffer, "WEBP", quality=quality)
    assert read_map(buffer.getvalue(), colour=True).ndim == 2, "grey but for the losses"


def test_a_map_in_colour_keeps_its_channels_and_a_grey_one_is_unchanged() -> None:
    assert np.array_equal(np.rint(read_map(COLOUR, colour=True) * 255), COLOUR)
    assert np.array_equal(np.rint(read_map(encode(COLOUR), colour=True, invert=True) * 255), 255 - COLOUR)
    double = read_map(COLOUR, (2 * COLOUR.shape[1], 2 * COLOUR.shape[0]), colour=True)
    assert double.shape == (2 * COLOUR.shape[0], 2 * COLOUR.shape[1], 3)
    for grey in (RAMP, np.stack([RAMP] * 3, axis=-1), encode(RAMP)):
        assert np.array_equal(read_map(grey, colour=True), read_map(RAMP))
    clear = Image.fromarray(np.dstack([COLOUR, np.zeros_like(COLOUR[..., 0])]), "RGBA")
    assert not read_map(clear, colour=True).any()


def test_the_colours_of_a_map_reach_the_controlnet(tiny_model: editkit.Backend, tiny_controlnet: Path) -> None:
    source, red = Image.new("RGB", (16, 16), "grey"), Image.new("RGB", (16, 16), (120, 0, 0))
    left = Image.new("RGB", (16, 16))
    left.paste(red.crop((0, 0, 8, 16)))
    maps = {"red": left, "blue": Image.merge("RGB", left.split()[::-1]), "grey": left.convert("L").convert("RGB")}
    results = {
        name: editkit.apply(
            "control", source, model=tiny_model, controlnet=str(tiny_controlnet), control_image=one, steps=2, seed=0
        )
        for name, one in maps.items()
    }
    assert len({result.image.tobytes() for result in results.values()}) == 3


def test_a_colour_profile_changes_nothing() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    plain, tagged = encode(COLOUR), encode(COLOUR, icc_profile=profile)
    assert np.array_equal(read_map(plain), read_map(tagged))


DEEP: dict[str, Callable[[], Any]] = {
    "16-bit PNG": lambda: encode(RAMP.astype(np.uint16) * 100 + 3000),
    "16-bit TIFF": lambda: encode(RAMP.astype(np.uint16) * 6000, "TIFF"),
    "32-bit TIFF": lambda: encode(RAMP.astype(np.int32) * 70000 - 5, "TIFF"),
    "float TIFF": lambda: encode(RAMP.astype(np.float32) * 0.37 + 2, "TIFF"),
    "uint16": lambda: RAMP.astype(np.uint16) + 7,
    "int64": lambda: RAMP.astype(np.int64) * 10**12,
    "float16": lambda: RAMP.astype(np.float16),
    "float32 (H, W, 1)": lambda: RAMP[..., None].astype(np.float32) / 100 + 0.2,
    "float64, negative": lambda: RAMP.astype(np.float64) - 1e3,
    "float64, huge": lambda: (RAMP.astype(np.float64) - 5) * 3e307,
    "PIL image, mode F": lambda: Image.fromarray(RAMP.astype(np.float32)),
    "PIL image, mode I;16": lambda: Image.fromarray(RAMP.astype(np.uint16)),
}


@pytest.mark.parametrize("kind", DEEP)
def test_deeper_maps_are_stretched(kind: str) -> None:
    expected = RAMP / 10
    assert np.allclose(read_map(DEEP[kind]()), expected, atol=1e-6)
    assert np.allclose(read_map(DEEP[kind](), invert=True), 1 - expected, atol=1e-6)
    assert read_map(DEEP[kind]()).dtype == np.float32


@pytest.mark.parametrize("value", [0.0, 0.7, -3.0, 1e9])
def test_a_constant_deep_map_is_0(value: float) -> None:
    for invert in (False, True):
        assert not read_map(np.full((4, 5), value, np.float32), invert=invert).any()
    assert not read_map(encode(np.full((4, 5), 65535, np.uint16))).any()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_maps_with_nan_or_infinity_are_refused(value: float) -> None:
    values = RAMP.astype(np.float32)
    values[2, 3] = values[0, 1] = value
    for source in (values, encode(values, "TIFF")):
        with pytest.raises(BadImage, match=r"control_image .* NaN or infinity in 2 of 35 places"):
            read_map(source)


@pytest.mark.parametrize(("size", "other"), [(24, 96), (96, 24)])
def test_a_map_of_another_size_but_the_same_shape_is_resampled(size: int, other: int) -> None:
    (values, _), (expected, _) = ellipse(size), ellipse(other)
    result = read_map(values.astype(np.float32), (other, other))
    assert result.shape == (other, other)
    assert np.abs(result - expected).mean() < 0.03


def test_a_map_has_the_shape_of_its_image_to_a_pixel() -> None:
    assert read_map(RAMP, (70, 50)).shape == (50, 70)
    assert read_map(RAMP, (71, 50)).shape == (50, 71)
    with pytest.raises(InvalidParameter, match=r"7 x 5 pixels, another shape than the image's 50 x 70"):
        read_map(RAMP, (50, 70))


def test_map_files_are_rotated_by_their_exif_orientation(tmp_path: Path) -> None:
    rotated = Image.Exif()
    rotated[0x0112] = 6
    for values in (RAMP * 9, RAMP.astype(np.uint16)):
        file = tmp_path / "map.png"
        Image.fromarray(values).save(file, exif=rotated)
        assert np.allclose(read_map(file), np.rot90(read_map(values), -1), atol=1e-6)


def test_read_map_refuses_what_open_image_refuses(tmp_path: Path) -> None:
    deep = encode(np.random.default_rng(0).integers(0, 65535, (50, 50)).astype(np.uint16))
    stream = io.BytesIO()
    frames = [Image.fromarray(RAMP), Image.fromarray(RAMP + 1)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    refused: dict[str, Any] = {
        "no such file": tmp_path / "nowhere.png",
        "damaged or cut short": deep[: len(deep) // 2],
        "not an image": b"P9 what is this",
        "frames": stream.getvalue(),
        "too many": np.broadcast_to(np.float32(0), (10_000, 10_000)),
        "wrong dtype": np.zeros((4, 4), complex),
        "wrong shape": np.zeros((4, 4, 2), np.float32),
        "pass a path": 3,
    }
    for message, source in refused.items():
        with pytest.raises(BadImage, match=f"control_image.*{message}"):
            read_map(source)
