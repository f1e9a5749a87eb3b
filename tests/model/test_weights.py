"""A model's folder is found by its path or its hub id, and refused unless it is whole and safe to load."""

from __future__ import annotations

import ast
import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import editkit
from editkit import WeightsUnavailable, model_folder
from editkit.model.files.folders import PIECE, PIECES, piece_offsets
from editkit.model.files.weights import PICKLES, other_variants
from editkit.testing.tiny import chroma_folder, stable_diffusion_folder

ADVICE = "give another one"
DIFFUSERS = ("AutoencoderKL", "AutoencoderTiny")
"""Classes of diffusers, which run no code of a folder."""
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def found(name: object) -> Path:
    return model_folder(str(name), called="test model", advice=ADVICE)


def refused(name: object) -> str:
    with pytest.raises(WeightsUnavailable) as error:
        found(name)
    assert "\n" not in str(error.value)
    return str(error.value)


def fill(folder: Path, *files: str, shards: object = None) -> Path:
    """A folder of empty files, with an index that names shards where some are given."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        (folder / file).touch()
    if shards is not None:
        (folder / "model.safetensors.index.json").write_text(json.dumps(shards))
    return folder


def test_a_whole_folder_is_found(tmp_path: Path) -> None:
    one = fill(tmp_path / "one", "config.json", "model.safetensors", "pytorch_model.bin")
    assert found(one) == one
    index = {"weight_map": {"first": SHARDS[0], "second": SHARDS[1], "third": SHARDS[0]}}
    several = fill(tmp_path / "several", "config.json", *SHARDS, shards=index)
    assert found(several) == several


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = fill(tmp_path / "model", "config.json", "model.safetensors")
    assert found("~/model") == folder
    assert "neither a folder nor a hub id" in refused("~nobody-of-that-name/model")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "has no config.json"),
        (["model.safetensors"], "has no config.json"),
        (["config.json"], "has no *.safetensors weights"),
        (["config.json", *SHARDS], "has no *.safetensors weights"),
        *((["config.json", f"model{ending}"], f"has only pickled weights (model{ending})") for ending in PICKLES),
    ],
)
def test_a_missing_part_is_named(files: list[str], said: str, tmp_path: Path) -> None:
    message = refused(fill(tmp_path / "model", *files))
    assert message.startswith(f"test model '{tmp_path / 'model'}' {said}")
    assert message.endswith(ADVICE)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ({"weight_map": {"weight": SHARDS[0], "bias": SHARDS[1]}}, f"names the shard '{SHARDS[1]}'"),
        ({"weight_map": {"weight": "../model.safetensors"}}, "names the shard '../model.safetensors'"),
        ({"weight_map": {"weight": 3}}, "names the shard '3'"),
        ({"weight_map": [SHARDS[0]]}, "should hold a weight_map"),
        ({}, "should hold a weight_map"),
        ([SHARDS[0]], "should hold a JSON object"),
    ],
)
def test_an_index_names_shards_of_its_folder(index: object, said: str, tmp_path: Path) -> None:
    fill(tmp_path, "model.safetensors")
    assert said in refused(fill(tmp_path / "model", "config.json", SHARDS[0], shards=index))


def test_a_damaged_index_is_refused(tmp_path: Path) -> None:
    folder = fill(tmp_path, "config.json", "model.safetensors", "model.safetensors.index.json")
    assert "model.safetensors.index.json cannot be read" in refused(folder)


@pytest.mark.parametrize(
    "name",
    ["nowhere", "./org/name", "../name", ".org/name", "org/name/more", "org name/x", "/x/y", "models/x.safetensors"],
)
def test_a_name_that_is_no_folder_and_no_hub_id_is_named(name: str) -> None:
    assert refused(name) == f"test model {name!r} is neither a folder nor a hub id 'org/name': check the path"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    assert "is a file" in refused(fill(tmp_path, "model.safetensors") / "model.safetensors")


def test_a_hub_model_that_is_here_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert "is no folder here and could not be fetched from the hub" in refused("org/name")
    commit = "0" * 40
    kept = fill(tmp_path / "models--org--name" / "snapshots" / commit, "config.json", "model.safetensors")
    (fill(tmp_path / "models--org--name" / "refs") / "main").write_text(commit)
    assert found("org/name") == kept
    (kept / "model.safetensors").unlink()
    assert refused("org/name").startswith("test model 'org/name' has no *.safetensors weights")


def test_the_identity_reads_all_of_a_small_file_and_the_ends_of_a_large_one() -> None:
    for size in (1, PIECE, PIECE * PIECES):
        covered = [byte for start in piece_offsets(size) for byte in (start, min(start + PIECE, size))]
        assert (covered[0], covered[-1]) == (0, size)
        assert covered[1:-1:2] == covered[2::2]
    large = piece_offsets(PIECE * PIECES * 10)
    assert (large[0], large[-1] + PIECE, len(large)) == (0, PIECE * PIECES * 10, PIECES)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        *((stable_diffusion_folder, kind) for kind in ("Own", "AutoTokenizer", "CLIPTokenizer")),
        *((chroma_folder, kind) for kind in ("PixtralProcessor", "Qwen2VLProcessor", "AutoProcessor")),
    ],
)
def test_no_code_of_a_model_folder_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path], kind: str
) -> None:
    """The tokenizer names a class in a file of its folder, and standard input would confirm that it may run."""
    folder = make(tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"tokenizer": ["transformers", kind]}))
    settings = folder / "tokenizer" / "tokenizer_config.json"
    auto_map = {"AutoTokenizer": ["own.Own", "own.Own"], "AutoProcessor": "own.Own", "AutoImageProcessor": "own.Own"}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"tokenizer_class": "Own", "auto_map": auto_map}))
    for name in ("preprocessor_config.json", "processor_config.json"):
        (folder / "tokenizer" / name).write_text(json.dumps({"auto_map": auto_map}))
    mark = tmp_path / "ran"
    (folder / "tokenizer" / "own.py").write_text(
        f"open({str(mark)!r}, 'w').close()\nfrom transformers import PreTrainedTokenizerFast as Own\n"
    )
    monkeypatch.setattr("sys.stdin", io.StringIO("y\ny\n"))
    with contextlib.nullcontext() if kind == "CLIPTokenizer" else pytest.raises(WeightsUnavailable):
        editkit.load_model(folder)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("kind", "said"),
    [("DiffusionPipeline", "a whole pipeline"), ("ChromaPipeline", "a whole pipeline"), ("logging", "no such class")],
)
def test_a_part_is_no_pipeline_and_no_module(tmp_path: Path, kind: str, said: str) -> None:
    folder = chroma_folder(tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"scheduler": ["diffusers", kind]}))
    with pytest.raises(WeightsUnavailable, match=said):
        editkit.load_model(folder)


def test_every_automatic_class_of_transformers_is_called_without_remote_code() -> None:
    """``Auto*.from_pretrained`` asks on the terminal if the argument is missing, and one letter lets code run."""
    root = Path(editkit.__file__).parents[1]
    sources = [path for folder in ("editkit", "plugins") for path in (root / folder).rglob("*.py")]
    calls = [
        (path, node)
        for path in sources
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "from_pretrained"
        if isinstance(node.func.value, ast.Name) and node.func.value.id not in DIFFUSERS
        # load_pretrained calls the classes that it gets as arguments.
        if node.func.value.id.startswith("Auto") or path.name == "pretrained.py"
    ]
    assert len(calls) > 2
    for path, call in calls:
        decided = any(word.arg == "trust_remote_code" and ast.unparse(word.value) == "False" for word in call.keywords)
        assert decided, f"{path.name}:{call.lineno} does not say trust_remote_code=False"


def test_one_variant_of_each_part_is_downloaded() -> None:
    unet = ["unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"]
    shards = [f"text_encoder/model.fp16-0000{number}-of-00002.safetensors" for number in (1, 2)]
    others = ["unet/diffusion_pytorch_model.non_ema.safetensors", "model_index.json", "sd.safetensors"]
    files = [*unet, *shards, *others, "vae/diffusion_pytorch_model.safetensors"]
    assert set(other_variants(files, None)) == {unet[1], others[0]}
    assert set(other_variants(files, "fp16")) == {unet[0], others[0]}
    assert other_variants([], None) == []
