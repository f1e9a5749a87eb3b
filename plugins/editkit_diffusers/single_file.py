"""Conversion of single-file checkpoints to the parts of a diffusers pipeline."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import FluxTransformer2DModel
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from diffusers.loaders.single_file_utils import (
    create_diffusers_clip_model_from_ldm,
    create_diffusers_t5_model_from_checkpoint,
)
from safetensors.torch import load_file
from torch import Tensor
from transformers import T5EncoderModel

from editkit import (
    LoadingOptions,
    WeightsUnavailable,
    check_weights,
    loading,
    quiet,
    read_json,
    read_tensor_header,
    reason_of,
)

from .checkpoint_detection import OPEN_CLIP_ENCODER, original_names, stated_settings
from .components import zero_weights
from .flux_key_names import flux_ignored, flux_tensors
from .network_files.leftovers import leftover_names, leftover_warning, text_leftovers
from .network_files.tensor_file import network_names
from .scaled_weights import unscale

_PREFIXES = {
    "vae": ("first_stage_model.", "vae."),
    "text_encoder": ("cond_stage_model.", "conditioner.embedders.0.transformer.", "text_encoders.clip_l."),
    "text_encoder_2": ("conditioner.embedders.1.", "conditioner.embedders.0.model.", "text_encoders.clip_g."),
    "text_encoder_3": (),
}
"""Beginnings of the names of the tensors of a part."""
_T5 = "text_encoders.t5xxl."
_BESIDE = {"control_model.": "a ControlNet", "lora_": "a LoRA"}
"""Networks beside a model in its file, by the beginning of the names of their tensors."""
_CALLED = {"vae": "autoencoder (VAE)", "text_encoder": "CLIP text encoder"}
_NAMED_KEYS = 3


class CheckpointFile:
    """A safetensors checkpoint in the original format, on the configuration in ``folder``."""

    def __init__(self, file: Path, folder: Path) -> None:
        self.file, self.folder = file, folder
        self.notes: list[str] = []
        """Notes on the parts that were read, one sentence each."""
        header = read_tensor_header(file, f"model {str(file)!r}")
        self.names, self.header = original_names(header.shapes), header.metadata

    @property
    def name(self) -> str:
        return str(self.file)

    @functools.cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Tensors by their original names, with the scales of 8-bit weights applied."""
        return {self.names[name]: tensor for name, tensor in read_tensors(self.file).items()}

    def has_part(self, kind: Any, part: str) -> bool:
        """Return whether the file holds a part, or raise WeightsUnavailable if neither it nor the folder does."""
        prefixes = _PREFIXES.get(part)
        if prefixes is None:
            return True  # by its network the file was detected
        prefixes = (_T5,) if kind is T5EncoderModel else prefixes
        if any(name.startswith(prefixes) for name in self.names.values()):
            return True
        folder = self.folder / part
        try:
            check_weights(folder)
        except (WeightsUnavailable, OSError) as error:
            called = "T5 text encoder" if kind is T5EncoderModel else _CALLED.get(part, "second CLIP text encoder")
            other = ", or pass another one as vae" if part == "vae" else ""
            beside = self.folder in (self.file.with_suffix(""), self.file.parent)
            place = self.folder if beside else self.file.with_suffix("")
            parts = f"the folder {part!r}" if beside else f"all of its base model but the network, {part!r} too,"
            raise WeightsUnavailable(
                f"model {self.name!r} holds no {called}: put {parts} with weights into {str(place)!r}{other}"
            ) from error
        return False

    def network(self, kind: Any, part: str, dtype: torch.dtype) -> Any:
        """Return a part as an instance of ``kind``; raises WeightsUnavailable if the file does not fit it."""
        options: dict[str, Any] = {"config": str(self.folder), "subfolder": part, "local_files_only": True}
        try:
            with loading(), quiet():
                if kind is T5EncoderModel:
                    net = create_diffusers_t5_model_from_checkpoint(kind, self.tensors, torch_dtype=dtype, **options)
                    net.tie_weights()
                    unused = text_leftovers(self._tensors_under((_T5,)), net)
                elif part.startswith("text_encoder"):
                    net = create_diffusers_clip_model_from_ldm(kind, self.tensors, torch_dtype=dtype, **options)
                    net.to(dtype)
                    unused = text_leftovers(self._tensors_under(_PREFIXES[part]), net)
                else:
                    load = _load_flux if kind is FluxTransformer2DModel else load_converted
                    net, unused = load(kind, self.tensors, self.folder / part, dtype)
        except WeightsUnavailable:
            raise
        except Exception as error:  # diffusers raises many types for a file that does not fit
            raise misfit(self.name, self.folder, error) from error
        check_complete(net, self.name, part)
        self._note(net, part, unused)
        return net

    def _tensors_under(self, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in self.tensors.items() if name.startswith(prefixes)}

    def _note(self, net: Any, part: str, unused: Collection[str]) -> None:
        """Note the tensors of a part without a place, and a part of which much is zeros."""
        if part not in _PREFIXES:
            of_others = self.names.values() - network_names(self.names.values()).keys()
            unused, part = [name for name in unused if name not in of_others], "network"
        if unused:
            self.notes.append(leftover_warning(self.file.name, unused, self.folder, part))
        self.notes += zero_weights(net, f"{self.file.name}, {part}")

    def scheduler_settings(self) -> dict[str, Any]:
        """Return the scheduler settings that the names, the header, and the ``.yaml`` beside the file imply."""
        return stated_settings(self.file, self.header, self.names)

    def warnings(self, options: LoadingOptions) -> tuple[str, ...]:
        """Return what the report names, one sentence each: what is left out, and guesses."""
        return (*self.notes, *self._beside(), *self._guesses(options))

    def _beside(self) -> Iterator[str]:
        for beginning, kind in _BESIDE.items():
            if any(name.startswith(beginning) for name in self.names):
                yield f"{self.file.name} also holds {kind}, which is left out"

    def _guesses(self, options: LoadingOptions) -> tuple[str, ...]:
        guessed = "stabilityai" in str(self.folder) and OPEN_CLIP_ENCODER in self.names.values()
        if not guessed or options.prediction or "prediction_type" in self.scheduler_settings():
            return ()
        kind = read_json(self.folder / "scheduler" / "scheduler_config.json").get("prediction_type")
        return (
            f"{self.file.name} does not say what its network predicts; {kind} is taken from the configuration of the "
            "model it seems to be based on: if results are noise, pass --prediction epsilon or v_prediction",
        )


def load_converted(kind: Any, tensors: Mapping[str, Tensor], folder: Path, dtype: torch.dtype) -> tuple[Any, list[str]]:
    """Return a network of the first implementation by its configuration, and the names of tensors without a place.

    Missing weights stay without values.
    """
    config = kind.load_config(str(folder), local_files_only=True)
    with init_empty_weights():
        net = kind.from_config(config)
    own = net.state_dict()
    rest = dict(tensors)
    named = rest
    if 2 * len(own.keys() & rest.keys()) < len(own):  # else its names are those of diffusers
        named = SINGLE_FILE_LOADABLE_CLASSES[kind.__name__]["checkpoint_mapping_fn"](rest, config=config)
    _assign(net, named, dtype)
    return net, leftover_names(tensors, rest, named, own)


def _load_flux(kind: Any, tensors: Mapping[str, Tensor], folder: Path, dtype: torch.dtype) -> tuple[Any, list[str]]:
    """Do the same for a network of FLUX, which diffusers converts at one width alone."""
    with init_empty_weights():
        net = kind.from_config(kind.load_config(str(folder), local_files_only=True))
    named = flux_tensors(tensors)
    _assign(net, named, dtype)
    return net, leftover_names(tensors, flux_ignored(tensors), named, net.state_dict())


def _assign(net: Any, named: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Give a network the tensors that have a place in it."""
    own = net.state_dict()
    weights = {name: tensor.to(dtype) for name, tensor in named.items() if name in own}
    net.load_state_dict(weights, strict=False, assign=True)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file and apply the scales of 8-bit weights; raises WeightsUnavailable."""
    header = read_tensor_header(file, repr(str(file)))
    return unscale(load_file(file), header.metadata, repr(str(file)))


def misfit(name: str, folder: Path, error: Exception) -> WeightsUnavailable:
    """Return the error of a file whose tensors do not fit a configuration."""
    place = str(Path(name).with_suffix(""))
    return WeightsUnavailable(
        f"model {name!r} does not fit the configuration in {folder} ({reason_of(error)}): put the configuration of its "
        f"base model into {place!r}"
    )


def check_complete(net: Any, name: str, part: str) -> None:
    """Raise WeightsUnavailable if tensors of a converted part are missing, which diffusers leaves without values."""
    missing = [key for key, tensor in net.state_dict().items() if tensor.is_meta]
    if missing:
        more = f" and {len(missing) - _NAMED_KEYS} more" if len(missing) > _NAMED_KEYS else ""
        raise WeightsUnavailable(
            f"model {name!r} lacks weights of its {part}: {', '.join(missing[:_NAMED_KEYS])}{more}; download it again, "
            "or put the configuration of its base model beside it"
        )
