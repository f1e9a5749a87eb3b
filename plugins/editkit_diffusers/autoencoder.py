"""Autoencoders of latent models: pixels to latents and back."""

from __future__ import annotations

import copy
import dataclasses as dc
import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor

from editkit import WeightsUnavailable, is_finite, latent_dtype, loading, numbers_on, quiet, read_json, reason_of

from .components import load_part, prepare_network, zero_weights
from .network_files.leftovers import leftover_warning
from .single_file import check_complete, load_converted, misfit, read_tensors

_UNTILED_SIDE = 512
"""Minimum side of a tile in pixels, for any model: smaller tiles save too little memory to be worth their seams."""
OVERFLOW = (
    "the autoencoder overflowed in float16 and works in float32 now, which takes more memory: with force_upcast true "
    "in its config.json it begins so"
)
"""Warning of an autoencoder whose dtype changed."""
KINDS = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}
_UNSUPPORTED = {
    "AsymmetricAutoencoderKL": "it decodes beside the image and the mask of an edit",
    "ConsistencyDecoderVAE": "it decodes by sampling from noise",
}
"""Why autoencoders for latents of a supported kind are refused, by their class."""
_OWN = re.compile(r"(first_stage_model\.|vae\.)?(encoder|decoder|(post_)?quant_conv)\.")
"""Names of the tensors of an autoencoder in a checkpoint, or alone in a file."""
_COLOURS = 3
"""Channels of an image."""


STATISTICS = ("latents_mean", "latents_std", "shift_factor")
"""Entries of a configuration by which pipelines shift and scale latents beside its ``scaling_factor``."""


@dc.dataclass
class Autoencoder:
    """An ``AutoencoderKL`` or ``AutoencoderTiny`` with the scale and shift of its latents in the network's input."""

    net: Any
    warnings: tuple[str, ...] = ()
    """Notes for the report, one sentence each."""
    statistics: Sequence[str] = ()
    """Entries of the configuration, beside ``scaling_factor``, that the pipelines of the model's family read. All of
    them are used, or none if one is missing."""

    def __post_init__(self) -> None:
        """Raise WeightsUnavailable for an autoencoder of other images than colours, or whose two halves do not fit."""
        config = self.net.config
        for name in ("in_channels", "out_channels"):
            if config.get(name, _COLOURS) != _COLOURS:
                raise WeightsUnavailable(
                    f"the autoencoder has {name} {config[name]}, and images have {_COLOURS} channels: it belongs to "
                    "a model of something else"
                )
        if isinstance(self.net, AutoencoderTiny):
            smaller = 2 ** (len(config.num_encoder_blocks) - 1)
            larger = config.upsampling_scaling_factor ** (len(config.num_decoder_blocks) - 1)
            if smaller != larger:
                raise WeightsUnavailable(
                    f"the autoencoder makes images {smaller} times smaller and latents {larger} times larger: it is "
                    "not supported"
                )

    @classmethod
    def from_folder(cls, folder: Path, *, device: torch.device, dtype: torch.dtype, **reading: Any) -> Autoencoder:
        """Load the autoencoder in ``folder``; ``reading`` are further arguments of :func:`read_part`.

        Raises WeightsUnavailable if it is damaged or of another kind.
        """
        config = read_json(folder / "config.json")
        kind = kind_of(config, folder)
        check_scaling(config, str(folder / "config.json"))
        return cls(load_part(kind, folder, device=device, dtype=safe_dtype(config, dtype), **reading))

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], folder: Path, name: str, *, device: torch.device, dtype: torch.dtype
    ) -> Autoencoder:
        """Convert an autoencoder of the original format, on the configuration in ``folder``.

        ``name`` is that of the file. Raises WeightsUnavailable if the two do not fit or a tensor is missing.
        """
        config = read_json(folder / "config.json")
        check_scaling(config, str(folder / "config.json"))
        try:
            with loading(), quiet():
                net, unused = load_converted(AutoencoderKL, tensors, folder, safe_dtype(config, dtype))
        except Exception as error:  # diffusers raises many types for a file that does not fit
            raise misfit(name, folder, error) from error
        check_complete(net, name, "vae")
        file, own = Path(name).name, [one for one in unused if _OWN.match(one)]
        notes = [leftover_warning(file, own, folder, "autoencoder")] if own else []
        return cls(prepare_network(net, device), (*notes, *zero_weights(net, f"{file}, autoencoder")))

    @classmethod
    def replacement(cls, place: Path, *, own: Path, device: torch.device, dtype: torch.dtype) -> Autoencoder:
        """Load an autoencoder in place of a model's ``own``: a folder, or a file on the configuration of that one."""
        folder = place if place.is_dir() else place.parent
        if place.is_dir() or ((folder / "config.json").is_file() and place.name.startswith("diffusion_pytorch_model")):
            unused: list[str] = []
            loaded = cls.from_folder(folder, device=device, dtype=dtype, warn=unused.append)
            loaded.warnings = (*unused, *_other_scale(folder, own))
            return loaded
        tensors = read_tensors(place)
        if not any(name.endswith("decoder.conv_out.weight") for name in tensors):
            raise WeightsUnavailable(
                f"vae {str(place)!r} holds no autoencoder (it begins with {min(tensors, default='nothing')})"
            )
        try:
            return cls.from_tensors(tensors, own, str(place), device=device, dtype=dtype)
        except WeightsUnavailable as error:
            raise WeightsUnavailable(
                f"vae {str(place)!r} does not fit the configuration of the model's own in {own} "
                f"({reason_of(error.__cause__ or error)}): give one of the same latents and of the class "
                "AutoencoderKL, as a folder if its layers are others"
            ) from error

    @property
    def channels(self) -> int:
        return self.net.config.latent_channels  # type: ignore[no-any-return]

    @property
    def reduction(self) -> int:
        """Pixels per latent along a side."""
        config = self.net.config
        levels = config.num_decoder_blocks if isinstance(self.net, AutoencoderTiny) else config.block_out_channels
        return 2 ** (len(levels) - 1)  # type: ignore[no-any-return]

    def tile(self, side: int) -> None:
        """Process images larger than ``side`` pixels in tiles, and one image at a time."""
        # Tiles overlap by a quarter, which must be a whole number of latents.
        latents = 4 * math.ceil(max(side, _UNTILED_SIDE) / self.reduction / 4)
        self.net.tile_latent_min_size, self.net.tile_sample_min_size = latents, latents * self.reduction
        self.net.enable_tiling()
        self.net.enable_slicing()

    def of_family(self, statistics: Sequence[str]) -> Autoencoder:
        """Return the autoencoder as the pipelines of a family use it, which read the entries ``statistics``."""
        one = dc.replace(self, statistics=statistics)
        given = [name for name in STATISTICS if _has_effect(self.net.config.get(name))]
        ignored = [name for name in given if name not in one._used]
        if not ignored:
            return one
        verb = "is" if len(ignored) == 1 else "are"
        note = (
            f"the autoencoder's {' and '.join(ignored)} {verb} left out, as by the model's pipeline in diffusers: "
            "colours and shapes come out wrong if the network was trained with them"
        )
        return dc.replace(one, warnings=(*self.warnings, note))

    @property
    def _used(self) -> Mapping[str, Any]:
        """Statistics that are used, by name."""
        config = self.net.config
        whole = all(config.get(name) is not None for name in self.statistics)
        return {name: config[name] for name in self.statistics} if whole else {}

    def shift(self, latents: Tensor) -> Tensor | float:
        mean = self._used.get("latents_mean")
        return (self._used.get("shift_factor") or 0.0) if mean is None else _per_channel(mean, latents)

    def scale(self, latents: Tensor) -> Tensor | float:
        factor, deviation = self.net.config.scaling_factor, self._used.get("latents_std")
        return factor if deviation is None else factor / _per_channel(deviation, latents)  # type: ignore[no-any-return]

    def encode(self, pixels: Tensor, *, shifted: bool = True) -> Tensor:
        """Encode pixels (B, 3, H, W) in [0, 1] to latents (B, C, h, w), the mean of a distribution.

        Without ``shifted`` they are scaled alone.
        """
        return self._finite(functools.partial(self._encode, shifted=shifted), pixels)

    def _encode(self, pixels: Tensor, shifted: bool) -> Tensor:
        encoded = self.net.encode(pixels.to(self.net.dtype) * 2 - 1)
        mean: Tensor = encoded.latents if isinstance(self.net, AutoencoderTiny) else encoded.latent_dist.mode()
        mean = mean.to(latent_dtype(mean.dtype))
        return ((mean - self.shift(mean) if shifted else mean) * self.scale(mean)).contiguous()

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents (B, C, h, w) to pixels (B, 3, H, W), clamped to [0, 1]; NaN where one is infinite."""
        pixels = self._finite(self._decode, latents)
        return pixels.masked_fill_(pixels.isinf(), torch.nan).clamp(0, 1).contiguous()

    def _decode(self, latents: Tensor) -> Tensor:
        decoded: Tensor = self.net.decode(self.unscale(latents)).sample
        return decoded.to(latent_dtype(decoded.dtype)) / 2 + 0.5

    def _finite(self, function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        """Return ``function`` of finite inputs; if float16 overflows in it, from now on the network is in float32."""
        outputs = function(inputs)
        if self.net.dtype is torch.float16 and not is_finite(outputs) and is_finite(inputs):
            # A copy, because another thread may use the network.
            self.net = copy.deepcopy(self.net).float()
            self.warnings = (*self.warnings, OVERFLOW)
            outputs = function(inputs)
        return outputs

    def unscale(self, latents: Tensor) -> Tensor:
        """Return latents (B, C, h, w) in the scale and the dtype of the autoencoder itself."""
        dtype = self.net.dtype  # diffusers searches all modules for it
        latents = latents.to(latent_dtype(dtype))
        return (latents / self.scale(latents) + self.shift(latents)).to(dtype)


def kind_of(config: Mapping[str, Any], folder: Path) -> Any:
    """Return the class of an autoencoder, AutoencoderKL if its configuration names none; raises WeightsUnavailable."""
    name = config.get("_class_name", "AutoencoderKL")
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        reason = _UNSUPPORTED.get(str(name), "")
        raise WeightsUnavailable(
            f"{folder} is of the class {str(name)[:60]}, which is not supported{reason and f': {reason}'}; give an "
            f"autoencoder of the same latents as vae, of the class {' or '.join(KINDS)}"
        )
    return kind


def _other_scale(folder: Path, own: Path) -> tuple[str, ...]:
    """Return a warning if an autoencoder scales its latents in another way than a model's own."""
    if not (own / "config.json").is_file():
        return ()
    given, usual = (read_json(place / "config.json").get("scaling_factor") for place in (folder, own))
    if given == usual or None in (given, usual):
        return ()
    return (
        f"the autoencoder given as vae has the scaling_factor {given} and the model's own {usual}: it may belong to "
        "another family, and colours and shapes come out wrong then",
    )


def check_scaling(config: Mapping[str, Any], called: str) -> None:
    """Raise WeightsUnavailable for scales and shifts of latents that are no numbers, or scales of 0.

    The message begins with ``called``.
    """
    named = {name: config.get(name) for name in ("scaling_factor", *STATISTICS)}
    for name, value in named.items():
        numbers = value if isinstance(value, list) else [] if value is None else [value]
        zero = name in ("scaling_factor", "latents_std") and 0 in numbers
        null = name == "scaling_factor" and name in config and value is None
        short = isinstance(value, list) and len(value) != config.get("latent_channels", len(value))
        if zero or null or short or any(type(one) not in (int, float) or not math.isfinite(one) for one in numbers):
            raise WeightsUnavailable(f"{called}: {name}={str(value)[:60]!r} is no usable number")


def _has_effect(value: Any) -> bool:
    """Whether a statistic of latents is given, other than zeros."""
    return any(value) if isinstance(value, list) else bool(value)


def _per_channel(numbers: list[float], latents: Tensor) -> Tensor:
    """Return numbers, one per channel, that broadcast over latents (B, C, h, w)."""
    return numbers_on(numbers, latents.device, latents.dtype)[:, None, None]


def safe_dtype(config: Mapping[str, Any], dtype: torch.dtype) -> torch.dtype:
    """Dtype of an autoencoder: float32 in place of float16, in which large ones overflow.

    An autoencoder whose configuration declares that it needs no upcast keeps float16.
    """
    upcast = config.get("force_upcast", config.get("_class_name") == "AutoencoderKL")
    return torch.float32 if upcast and dtype is torch.float16 else dtype
