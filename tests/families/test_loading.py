"""Folders load without packages that only other uses of their parts need, or are refused by the package's name."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers.utils import is_torchvision_available

import editkit
from editkit import WeightsUnavailable

FamilyFolder = Callable[[str], Path]
without_torchvision = pytest.mark.skipif(is_torchvision_available(), reason="torchvision is installed")


@without_torchvision
@pytest.mark.slow
def test_a_processor_loads_without_its_part_for_videos(family_folder: FamilyFolder) -> None:
    model = editkit.load_model(family_folder("nucleus-image"))
    assert model.embed(["a red apple"])


@without_torchvision
@pytest.mark.slow
def test_the_tokenizer_stands_for_a_processor_of_pixtral(family_folder: FamilyFolder, tmp_path: Path) -> None:
    folder = family_folder("flux2")
    for part in folder.iterdir():
        (tmp_path / part.name).symlink_to(part)
    index = json.loads((folder / "model_index.json").read_text())
    index["tokenizer"] = ["transformers", "PixtralProcessor"]
    (tmp_path / "model_index.json").unlink()
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert editkit.load_model(tmp_path).pipe.tokenizer.chat_template


@pytest.mark.parametrize(
    ("name", "package"),
    [("PRXPipeline", "ftfy"), ("KolorsPipeline", "sentencepiece"), ("OmniGenPipeline", "torchvision")],
)
def test_a_pipeline_that_needs_a_missing_package_is_refused_by_its_name(
    family_folder: FamilyFolder, tmp_path: Path, name: str, package: str
) -> None:
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    folder = family_folder("chroma")
    for part in folder.iterdir():
        (tmp_path / part.name).symlink_to(part)
    (tmp_path / "model_index.json").unlink()
    (tmp_path / "model_index.json").write_text(
        (folder / "model_index.json").read_text().replace("ChromaPipeline", name)
    )
    with pytest.raises(WeightsUnavailable, match=f"{name}.*pip install {package}"):
        editkit.load_model(tmp_path)
