"""Weights that a part lacks are named in place of being set at random."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import editkit
from editkit import WeightsUnavailable


def drop_one(folder: Path) -> str:
    """Remove the tensor in the middle from the weights in a folder, and return its name."""
    (file,) = folder.glob("*.safetensors")
    tensors = load_file(file)
    name = sorted(tensors)[len(tensors) // 2]
    del tensors[name]
    save_file(tensors, file, metadata={"format": "pt"})
    return name


@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae"])
def test_a_part_without_one_tensor_is_refused_by_its_name(tiny_folder: Path, tmp_path: Path, part: str) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    name = drop_one(folder / part)
    with pytest.raises(WeightsUnavailable) as refused:
        editkit.load_model(folder)
    assert name in str(refused.value) and part in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("whole", ["controlnet", "unet"])
def test_a_controlnet_without_a_tensor_is_refused(
    tiny_model: Any, tiny_folder: Path, tiny_controlnet: Path, tmp_path: Path, whole: str
) -> None:
    source = tiny_controlnet if whole == "controlnet" else tiny_folder / "unet"
    folder = Path(shutil.copytree(source, tmp_path / "net"))
    name = drop_one(folder) if whole == "controlnet" else "a UNet"
    hint = torch.zeros(1, 3, 16, 16)
    with (
        pytest.raises(WeightsUnavailable, match=name),
        tiny_model.with_controlnet(folder, hint, scale=1.0, low=0.0, high=1.0),
    ):
        pass
