"""The parts of a diffusers folder without their weights, for facts about a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from editkit import WeightsUnavailable, loading, quiet, read_index, read_json, reason_of

from .autoencoder import Autoencoder, check_scaling, kind_of
from .components import check_class
from .scheduler_config import read_config
from .text_encoder import TextEncoder, load_tokenizer


class Outline:
    """The parts of a folder as networks of the right shapes that hold no values; see :class:`Checkpoint`."""

    identity = ""
    warnings: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = read_index(folder)

    def network(self, kind: Any, part: str, *, changed: bool = False) -> Any:
        """Return a part as an instance of ``kind``; raises WeightsUnavailable if its configuration does not fit."""
        folder = self.folder / part
        config = read_json(folder / "config.json")
        check_class(kind, config, folder)
        try:
            with loading(), quiet(), torch.device("meta"):
                if hasattr(kind, "config_class"):
                    return kind(kind.config_class.from_dict(config))
                return kind.from_config(config)
        except Exception as error:  # diffusers and transformers raise many types for a damaged configuration
            raise WeightsUnavailable(f"{folder} cannot be read ({reason_of(error)})") from error

    def autoencoder(self) -> Autoencoder:
        """Return the autoencoder."""
        file = self.folder / "vae" / "config.json"
        config = read_json(file)
        check_scaling(config, str(file))
        return Autoencoder(self.network(kind_of(config, file.parent), "vae"))

    def text_encoder(self, part: str, kind: Any, length: int | None = None, left_out: int = 0) -> TextEncoder:
        """Return a text encoder with its tokenizer."""
        name = part.replace("text_encoder", "tokenizer")
        tokenizer = load_tokenizer(self.folder / name, self.index.get(name))
        return TextEncoder(self.network(kind, part), tokenizer, length)

    def scheduler(self, part: str = "scheduler", *, fixed: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
        """Return the configuration of a scheduler."""
        return read_config(self.folder, part, fixed=fixed)
