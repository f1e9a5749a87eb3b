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
from editkit.registry.registry import installed
from editkit.testing import AnnotatorTests, suite_of

for _name in editkit.annotators():
    _suite = suite_of("annotators", _name)
    globals()[_suite.__name__] = _suite

HERE = Path(__file__).parents[1]
PICTURES = sorted((HERE / "pictures").glob("*.png"))
METHODS = {"opencv": canny, "skimage": canny_skimage}
ANNOTATORS = {**METHODS, "relief": inflate}
RED, WHITE = (200, 40, 30), (255, 255, 255)

Map = NDArray[np.float32]


def annotate(call: str, picture: Image.Image) -> Map:
    return installed().build("annotators", call)(picture)  # type: ignore[no-any-return]


def ellipse(size: int, *, wide: float = 0.4, high: float = 0.4) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The height (H, W) of half an ellipsoid, highest 1, and where it stands; axes in parts of the size."""
    across = (np.arange(size) + 0.5) / size - 0.5
    height = 1 - (across / wide) ** 2 - (across[:, None] / high) ** 2
    return np.sqrt(np.maximum(height, 0)), height > 0


def painted(inside: NDArray[np.bool_], colour: tuple[int, ...] = RED, ground: tuple[int, ...] = WHITE) -> Image.Image:
    return Image.fromarray(np.where(inside[..., None], np.uint8(colour), np.uint8(ground)))


def cut_out(inside: NDArray[np.bool_], ground: tuple[int, ...] = WHITE) -> Image.Image:
    picture = painted(inside, ground=ground)
    picture.putalpha(Image.fromarray(inside).convert("L"))
    return picture


def far_from(edges: NDArray[Any]) -> NDArray[np.float32]:
    """Pixels to the nearest edge."""
    return cv2.distanceTransform((edges == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def share_near(edges: NDArray[Any], others: NDArray[Any], pixels: int) -> float:
    """Share of the edges that have one of the others within so many pixels."""
    return float((far_from(others)[edges == 1] <= pixels).mean())


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
    edges, true = METHODS[method](painted(inside)), outline(inside)
    assert set(np.unique(edges)) == {0, 1}
    assert share_near(edges, true, 2) == 1
    assert share_near(true, edges, 2) == 1


@pytest.mark.parametrize("method", METHODS)
def test_thresholds_follow_the_contrast(method: str) -> None:
    _, inside = ellipse(64)
    strong, faint = (painted(inside, (grey,) * 3) for grey in (0, 235))
    assert np.array_equal(METHODS[method](strong), METHODS[method](faint))


@pytest.mark.parametrize("method", METHODS)
def test_noise_of_a_level_has_no_edges(method: str) -> None:
    noise = np.random.default_rng(0).integers(126, 129, (64, 64, 3), dtype=np.uint8)
    assert not METHODS[method](Image.fromarray(noise)).any()


@pytest.mark.parametrize("method", METHODS)
def test_edges_do_not_depend_on_the_scale(method: str) -> None:
    picture = Image.open(PICTURES[0]).convert("RGB").resize((512, 512), Image.Resampling.BICUBIC)
    band = picture.crop((0, 192, 512, 320))  # the smoothing goes by the longest side, and the rest takes time
    small, big = METHODS[method](band), METHODS[method](band.resize((2048, 512), Image.Resampling.BICUBIC))
    shrunk = cv2.dilate(big, np.ones((4, 4), np.uint8))[::4, ::4]
    assert share_near(shrunk, small, 3) > 0.95
    assert share_near(small, shrunk, 3) > 0.95


def test_edges_between_colours_of_one_grey() -> None:
    red = (226, 0, 0)
    grey = round(0.299 * red[0])
    picture = painted(ellipse(64)[1], red, (grey,) * 3)
    assert canny(picture).sum() > 100
    assert canny_skimage(picture).sum() == 0


@pytest.mark.parametrize("file", PICTURES[::6], ids=lambda file: file.stem)
def test_given_thresholds_are_those_of_opencv_and_of_scikit_image(file: Path) -> None:
    from skimage import feature
    from skimage.morphology import skeletonize

    picture = Image.open(file).convert("RGB")
    grey = cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2GRAY)
    theirs = cv2.Canny(np.asarray(picture), 50, 150, L2gradient=True)
    assert np.array_equal(annotate("edge:low=50,high=150,sigma=0", picture) * 255, theirs)
    theirs = skeletonize(
        feature.canny(grey / 255, 1.0, low_threshold=50 / 255, high_threshold=150 / 255, mode="nearest")
    )
    ours = annotate("edge:method=skimage,low=50,high=150,sigma=1", picture)
    assert (ours != theirs).mean() < 0.002


@pytest.mark.parametrize("file", PICTURES[::4], ids=lambda file: file.stem)
def test_the_two_methods_agree(file: Path) -> None:
    picture = Image.open(file)
    one, other = (annotate(f"edge:method={method}", picture) for method in METHODS)
    assert share_near(other, one, 2) > 0.8
    assert share_near(one, other, 2) > 0.7


def test_one_edge_threshold_determines_the_other() -> None:
    picture = Image.open(PICTURES[0])
    assert np.array_equal(annotate("edge:high=100", picture), annotate("edge:low=40,high=100", picture))
    assert np.array_equal(annotate("edge:low=40", picture), annotate("edge:low=40,high=100", picture))


@pytest.mark.parametrize(
    ("call", "said"),
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
def test_wrong_parameters_are_named(call: str, said: str) -> None:
    with pytest.raises(InvalidParameter, match=said):
        installed().build("annotators", call)


# Reliefs


@pytest.mark.parametrize("size", [64, 128, 700])
@pytest.mark.parametrize("axes", [(0.4, 0.4), (0.45, 0.2)])
def test_an_ellipse_becomes_half_an_ellipsoid(size: int, axes: tuple[float, float]) -> None:
    wanted, inside = ellipse(size, wide=axes[0], high=axes[1])
    found = inflate(painted(inside))
    assert found.max() == 1
    assert not found[~inside].any()
    assert np.abs(found - wanted).mean() < 0.01
    pixel = 1 / (min(axes) * min(size, 256))  # of the shorter axis, at the size the equation is solved at
    assert np.abs(found - wanted)[wanted > 0.4].max() < 1.2 * pixel


def test_the_solver_agrees_with_a_dense_one() -> None:
    inside = np.random.default_rng(0).random((14, 17)) < 0.8
    places = np.argwhere(inside)
    apart = np.abs(places[:, None] - places[None]).sum(2)
    dense = np.linalg.solve(4 * (apart == 0) - 1.0 * (apart == 1), np.ones(len(places)))
    found = solve_poisson(inside)
    assert not found[~inside].any()
    assert np.abs(found[inside] - dense).max() < 2e-3 * dense.max()


def test_the_ground_may_have_any_colour_or_none() -> None:
    _, inside = ellipse(64)
    wanted = inflate(painted(inside))
    for ground in ((0, 0, 0), (30, 90, 200), (128, 128, 128)):
        assert np.array_equal(inflate(painted(inside, ground=ground)), wanted)
    without = cut_out(inside, ground=RED)
    assert np.array_equal(inflate(without), wanted)
    assert np.array_equal(inflate(without.quantize(16)), wanted)


def test_an_enclosed_region_belongs_to_the_object_unless_transparent() -> None:
    _, inside = ellipse(64)
    _, middle = ellipse(64, wide=0.15, high=0.15)
    ring = inside & ~middle
    assert np.array_equal(inflate(painted(ring)), inflate(painted(inside)))
    assert not inflate(cut_out(ring))[middle].any()


def test_the_relief_of_a_cut_off_object_ends_at_the_border() -> None:
    _, inside = ellipse(64)
    found = inflate(painted(inside[:32]))
    assert found[-1].max() < found[10:25].max() == 1


def test_a_little_noise_makes_no_relief_of_the_ground() -> None:
    _, inside = ellipse(128)
    noise = np.random.default_rng(0).normal(0, 4, (128, 128, 3))
    noisy = Image.fromarray((np.asarray(painted(inside, ground=(200, 200, 200))) + noise).clip(0, 255).astype(np.uint8))
    assert np.abs(inflate(noisy) - inflate(painted(inside))).mean() < 0.005


def test_a_ground_that_is_not_plain_is_an_error_that_helps() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with pytest.raises(BadImage, match=r"plain ground.*only \d+%.*kind 'depth'.*control image"):
        annotate("relief", Image.fromarray(noise))


@pytest.mark.parametrize("file", PICTURES[::4], ids=lambda file: file.stem)
def test_every_image_on_white_has_a_relief(file: Path) -> None:
    found = annotate("relief", Image.open(file))
    assert found.max() == 1
    assert 0.05 < (found > 0).mean() < 1


# Depth


SMALL = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
NECK = {"neck_hidden_sizes": [16, 16, 32, 32], "fusion_hidden_size": 16}


def dpt() -> tuple[Any, dict[str, Any]]:
    """A tiny DPT like MiDaS's models, and the settings of its image processor: near values are large."""
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
        initializer_range=0.3,  # so that places differ by more than rounding
        depth_estimation_type="metric",
        max_depth=20,
    )
    return DepthAnythingForDepthEstimation(config), {"size": {"height": 56, "width": 56}, "ensure_multiple_of": 14}


MODELS = {"dpt": dpt, "depth-anything": depth_anything}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A tiny model of random weights, by family: its folder."""
    from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

    def saved(family: str) -> str:
        torch.manual_seed(0)
        model, told = MODELS[family]()
        folder = tmp_path_factory.mktemp(family)
        model.save_pretrained(folder)
        DPTImageProcessorPil(**told).save_pretrained(folder)
        return str(folder)

    return functools.cache(saved)


class TestDepthByModel(AnnotatorTests):
    name = "depth"

    @pytest.fixture(autouse=True)
    def tiny(self, models: Callable[[str], str]) -> None:
        type(self).options = f"model={models('dpt')}"


def nearness(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / np.maximum(distances, distances.max() / 1000)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("family", "option", "meant", "tolerance"),
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
    meant: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    tolerance: float,
) -> None:
    from transformers import pipeline

    picture = Image.open(PICTURES[0]).convert("RGB").resize((70, 50))
    theirs = pipeline("depth-estimation", model=models(family), device="cpu")(picture)["predicted_depth"]
    values = meant(theirs.double().numpy())
    wanted = (values - values.min()) / np.ptp(values)
    assert np.allclose(annotate(f"depth:model={models(family)}{option}", picture), wanted, atol=tolerance)


def test_depth_without_a_way_names_all_ways() -> None:
    with pytest.raises(InvalidParameter, match=r"depth:model=.*control image.*'relief'"):
        installed().build("annotators", "depth")


def test_a_model_that_is_not_there_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="neither a folder nor a hub id"):
        installed().build("annotators", "depth:model=nowhere")
    with pytest.raises(WeightsUnavailable, match=r"without config\.json or without \*\.safetensors"):
        installed().build("annotators", f"depth:model={tmp_path}")


@pytest.fixture
def model_of_its_own(tmp_path: Path, models: Callable[[str], str]) -> Path:
    """A tiny model's folder that a test may change."""
    return Path(shutil.copytree(models("dpt"), tmp_path / "model"))


def test_pickled_weights_of_a_model_are_refused(model_of_its_own: Path) -> None:
    (model_of_its_own / "model.safetensors").rename(model_of_its_own / "pytorch_model.bin")
    with pytest.raises(WeightsUnavailable, match=r"without \*\.safetensors"):
        installed().build("annotators", f"depth:model={model_of_its_own}")


def test_code_of_a_model_is_not_run(tmp_path: Path, model_of_its_own: Path) -> None:
    trace = tmp_path / "ran"
    (model_of_its_own / "own.py").write_text(f"open({str(trace)!r}, 'w')\n")
    config = json.loads((model_of_its_own / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": dict.fromkeys(("AutoConfig", "AutoModelForDepthEstimation"), "own.Own"),
    }
    (model_of_its_own / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsUnavailable, match="cannot be loaded"):
        installed().build("annotators", f"depth:model={model_of_its_own}")
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
    """A folder with the packages of detectors, each group in a folder of its own, that nothing else here sees."""
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
    """The outcome of each call of an annotator, in a process that also finds the packages of ``folders``."""
    path = os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, HERE / "controlnet_aux" / "run_annotators.py", PICTURES[0], *calls]
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
def test_detectors_run_beside_a_torch_that_their_torchvision_was_not_built_for(detectors: Path, tmp_path: Path) -> None:
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
    found = outcomes(folders, f"hed-weights={good}", *calls.values())
    ended = {name: found[call] for name, call in calls.items()}
    size = Image.open(PICTURES[0]).size
    for name in ("canny", "hed"):
        assert ended[name]["shape"] == [size[1], size[0]], ended[name]
        assert ended[name]["dtype"] == "float32"
        assert 0 <= ended[name]["low"] < ended[name]["high"] <= 1
    assert ended["canny"]["near_ours"] > 0.8
    assert "WeightsUnavailable" in ended["trap"]["error"]
    assert not (tmp_path / "ran").exists()
    assert "needs weights=" in ended["bare"]["error"]
    assert "draws in colours" in ended["coloured"]["error"]
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


def written(values: NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, kind, **options)
    return stream.getvalue()


RAMP = np.add.outer(np.arange(5), np.arange(7)).astype(np.uint8)  # (5, 7), 0 to 10
COLOUR = np.stack([RAMP * 25, RAMP * 3, 250 - RAMP * 25], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("invert", [False, True])
def test_levels_of_8_bits_are_taken_as_they_are(invert: bool) -> None:
    wanted = (RAMP * 9 + 40).astype(np.uint8)
    colour, opaque = np.stack([wanted] * 3, axis=-1), np.full_like(wanted, 255)
    sources = {
        "array": wanted,
        "grey array": wanted[..., None],
        "colour array": colour,
        "L": written(wanted),
        "RGB": written(colour),
        "RGBA": written(np.dstack([colour, opaque])),
        "P": Image.fromarray(wanted).convert("P"),
        "TIFF": written(wanted, "TIFF"),
    }
    for name, source in sources.items():
        levels = np.rint(read_map(source, invert=invert) * 255)
        assert np.array_equal(levels, 255 - wanted if invert else wanted), name
    constant = np.full((4, 4), 51, np.uint8)
    assert np.allclose(read_map(constant, invert=invert), 0.8 if invert else 0.2, atol=1e-6)


def test_black_and_white_colour_and_transparency() -> None:
    bits = RAMP % 2 == 0
    assert np.array_equal(read_map(bits), bits)
    assert np.array_equal(read_map(written(bits)), bits)
    grey = np.asarray(Image.fromarray(COLOUR).convert("L"))
    assert np.array_equal(np.rint(read_map(COLOUR) * 255), grey)
    clear = Image.fromarray(np.full((5, 7), 200, np.uint8)).convert("RGBA")
    clear.putalpha(Image.fromarray(np.where(bits, 255, 0).astype(np.uint8)))
    assert np.array_equal(read_map(clear) > 0, bits)


def test_a_colour_profile_changes_nothing() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    plain, tagged = written(COLOUR), written(COLOUR, icc_profile=profile)
    assert np.array_equal(read_map(plain), read_map(tagged))


DEEP: dict[str, Callable[[], Any]] = {
    "16-bit PNG": lambda: written(RAMP.astype(np.uint16) * 100 + 3000),
    "16-bit TIFF": lambda: written(RAMP.astype(np.uint16) * 6000, "TIFF"),
    "32-bit TIFF": lambda: written(RAMP.astype(np.int32) * 70000 - 5, "TIFF"),
    "float TIFF": lambda: written(RAMP.astype(np.float32) * 0.37 + 2, "TIFF"),
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
    wanted = RAMP / 10
    assert np.allclose(read_map(DEEP[kind]()), wanted, atol=1e-6)
    assert np.allclose(read_map(DEEP[kind](), invert=True), 1 - wanted, atol=1e-6)
    assert read_map(DEEP[kind]()).dtype == np.float32


@pytest.mark.parametrize("value", [0.0, 0.7, -3.0, 1e9])
def test_a_deep_map_without_depth_is_0(value: float) -> None:
    for invert in (False, True):
        assert not read_map(np.full((4, 5), value, np.float32), invert=invert).any()
    assert not read_map(written(np.full((4, 5), 65535, np.uint16))).any()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_maps_with_nan_or_infinity_are_refused(value: float) -> None:
    values = RAMP.astype(np.float32)
    values[2, 3] = values[0, 1] = value
    for source in (values, written(values, "TIFF")):
        with pytest.raises(BadImage, match=r"control_image .* NaN or infinity in 2 of 35 places"):
            read_map(source)


@pytest.mark.parametrize(("size", "other"), [(24, 96), (96, 24)])
def test_a_map_of_another_size_but_the_same_shape_is_resampled(size: int, other: int) -> None:
    (values, _), (wanted, _) = ellipse(size), ellipse(other)
    found = read_map(values.astype(np.float32), (other, other))
    assert found.shape == (other, other)
    assert np.abs(found - wanted).mean() < 0.03


def test_a_map_has_the_shape_of_its_image_to_a_pixel() -> None:
    assert read_map(RAMP, (70, 50)).shape == (50, 70)
    assert read_map(RAMP, (71, 50)).shape == (50, 71)
    with pytest.raises(InvalidParameter, match=r"7 x 5 pixels, another shape than the image's 50 x 70"):
        read_map(RAMP, (50, 70))


def test_files_stand_upright(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    for values in (RAMP * 9, RAMP.astype(np.uint16)):
        file = tmp_path / "map.png"
        Image.fromarray(values).save(file, exif=turned)
        assert np.allclose(read_map(file), np.rot90(read_map(values), -1), atol=1e-6)


def test_read_map_refuses_what_open_image_refuses(tmp_path: Path) -> None:
    deep = written(np.random.default_rng(0).integers(0, 65535, (50, 50)).astype(np.uint16))
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
    for said, source in refused.items():
        with pytest.raises(BadImage, match=f"control_image.*{said}"):
            read_map(source)
