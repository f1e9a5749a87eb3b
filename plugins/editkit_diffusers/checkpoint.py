"""A model on disk: a diffusers folder, or a checkpoint file on the configuration of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from transformers import T5EncoderModel

from editkit import InvalidParameter, LoadingOptions, identity_of, read_json

from .autoencoder import Autoencoder
from .components import load_part, prepare_network
from .network_files.fitting import check_network
from .network_files.reading import network_settings, read_network
from .quantisation import quantisation_config
from .scheduler_config import class_warnings, read_config
from .single_file import CheckpointFile
from .text_encoder import TextEncoder, load_tokenizer


class Checkpoint:
    """The parts of a model, loaded one by one in ``dtype`` on ``device`` with the user's options.

    ``weights`` is a checkpoint file whose parts replace those of ``folder``, which then holds their configuration.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: torch.device,
        dtype: torch.dtype,
        weights: Path | None = None,
        options: LoadingOptions = LoadingOptions(),  # noqa: B008 (it is frozen)
    ) -> None:
        self.folder, self.device, self.dtype, self.options = folder, device, dtype, options
        self._quantisation = quantisation_config(options.quantise, dtype)
        self._noted: list[str] = []
        check_network(folder, options)
        self.index = read_json(folder / "model_index.json")
        self.file = None if weights is None else CheckpointFile(weights, folder)
        self.identity = identity_of(folder, weights)

    def network(self, kind: Any, part: str, *, changed: bool = False) -> Any:
        """Load a part as an instance of ``kind``, ready to run; raises WeightsUnavailable if it does not fit.

        It is the backend's own, whether it is to be ``changed`` or not.
        """
        replacement = self.options.replacement(part)
        quantisation = self._quantisation if self.options.quantisation(part) else None
        if replacement is not None:
            net = read_network(kind, self.folder / part, replacement, self.dtype, quantisation, self._noted.append)
            return prepare_network(net, self.device)
        if self.file is not None and self.file.has_part(kind, part):
            return prepare_network(self.file.network(kind, part, self.dtype), self.device)
        reading = {"variant": self.options.variant, "quantisation": quantisation, "warn": self._noted.append}
        return load_part(kind, self.folder / part, device=self.device, dtype=self.dtype, **reading)

    def autoencoder(self) -> Autoencoder:
        """Load the autoencoder, or the one that the user gives in its place."""
        target: dict[str, Any] = {"device": self.device, "dtype": self.dtype}
        if self.options.vae is not None:
            return Autoencoder.replacement(Path(self.options.vae), own=self.folder / "vae", **target)
        if self.file is not None and self.file.has_part(None, "vae"):
            return Autoencoder.from_tensors(self.file.tensors, self.folder / "vae", self.file.name, **target)
        reading: dict[str, Any] = {"variant": self.options.variant, "warn": self._noted.append}
        return Autoencoder.from_folder(self.folder / "vae", **target, **reading)

    def text_encoder(self, part: str, kind: Any, length: int | None = None, left_out: int = 0) -> TextEncoder:
        """Load a text encoder and its tokenizer; ``length`` is that of a prompt in tokens, by default its own.

        The family leaves out the last ``left_out`` layers of a CLIP encoder. Raises InvalidParameter if the user leaves
        out more than there are.
        """
        name = part.replace("text_encoder", "tokenizer")
        tokenizer = load_tokenizer(self.folder / name, self.index.get(name))
        net = self.network(kind, part)
        skip = 0 if kind is T5EncoderModel else self.options.clip_skip or 0
        most = getattr(net.config, "num_hidden_layers", 0) - left_out
        if skip > most:
            raise InvalidParameter(
                f"clip_skip={skip} is not allowed: the {part} of this model has {most} layers to leave out"
            )
        return TextEncoder(net, tokenizer, length, skip)

    def scheduler(self, part: str = "scheduler", *, fixed: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
        """Return a scheduler's configuration; that of the sampling with the settings of the file and of the user.

        ``fixed`` are values that the pipeline sets. Raises InvalidParameter for a prediction of another kind of model.
        """
        config = read_config(self.folder, part, fixed=fixed)
        if part != "scheduler":
            return config
        entry = self.index.get(part)
        named = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
        self._noted += class_warnings(read_json(self.folder / part / "scheduler_config.json"), named)
        if self.file is not None:
            config |= self.file.scheduler_settings()
        network = self.options.replacement("transformer")
        if network is not None and network.is_file():
            config |= network_settings(network)
        prediction = self.options.prediction
        is_flow = "FlowMatch" in config.get("_class_name", "")
        if prediction is not None and (prediction == "flow") != is_flow:
            kind = "a rectified flow" if is_flow else "not a rectified flow"
            raise InvalidParameter(
                f"prediction={prediction!r} is not allowed: the scheduler of this model is a "
                f"{config.get('_class_name')}, {kind}"
            )
        return config if prediction in (None, "flow") else config | {"prediction_type": prediction}

    @property
    def warnings(self) -> tuple[str, ...]:
        """Notes on the parts that are loaded, and guesses, for the report, one sentence each."""
        guesses = () if self.file is None else self.file.warnings(self.options)
        return (*self._noted, *guesses)
