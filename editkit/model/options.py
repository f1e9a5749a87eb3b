"""Loading options of a model: what its files leave open, or another value than theirs."""

from __future__ import annotations

import dataclasses as dc
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from ..errors import InvalidParameter, WeightsUnavailable
from ..files.paths import is_file
from ..literals import ModelPrediction, Quantisation
from ..registry.calls import write_call
from ..registry.params import shorten
from .files.folders import check_part, identity_of
from .files.headers import check_download
from .files.hub import ON_TOP, find_folder

REPLACED = {"vae": ("vae",), "transformer": ("transformer", "unet")}
"""Parts of a folder that an option of this name replaces."""
_NAME = re.compile(r"[\w-][\w.-]*")
_REVISION = re.compile(r"[\w-][\w./-]*")
_DTYPES = {
    "float32": ("fp32", "float", "single"),
    "float16": ("fp16", "half"),
    "bfloat16": ("bf16",),
    "float64": ("fp64", "double"),
}
"""Further names of dtypes."""
AUTO = "auto"
"""Name of the dtype that the weights are stored in."""
PREDICTIONS: tuple[str, ...] = get_args(ModelPrediction)
QUANTISATIONS: tuple[str, ...] = get_args(Quantisation)


def _option(text: str, kind: type = str, metavar: str = "NAME", **more: Any) -> Any:
    """Declare an option; ``more`` has its ``choices``, or the ``registry`` whose names it takes."""
    return dc.field(default=None, metadata={"help": text, "type": kind, "metavar": metavar, **more})


@dc.dataclass(frozen=True)
class LoadingOptions:
    """Options that change what is loaded; a family lists the ones it supports by these names."""

    prediction: str | None = _option(
        "Prediction of the network, if the files lack it or have another: epsilon, v_prediction, sample or flow.",
        metavar="KIND",
        choices=PREDICTIONS,
    )
    variant: str | None = _option("Variant of the weights, such as fp16.  [default: the plain ones, else the only one]")
    revision: str | None = _option("Branch, tag or commit of a hub model, as org/name@REVISION.", metavar="REVISION")
    vae: str | None = _option("Autoencoder in place of the model's own.", metavar="FOLDER|FILE")
    transformer: str | None = _option(
        "Network (transformer or U-Net) in place of the model's own: one file (.safetensors or .gguf), or its folder.",
        metavar="FILE|FOLDER",
    )
    quantise: str | None = _option(
        "Quantise the weights of the network while it is loaded: int8 or fp8 (torchao), nf4 (bitsandbytes, a GPU).",
        metavar="KIND",
        choices=QUANTISATIONS,
    )
    accelerate: str | None = _option(
        "Evaluate the network by another library than torch: openvino, on the CPU, with options after a colon.",
        metavar="NAME[:OPTION=VALUE]",
        registry="accelerators",
    )
    clip_skip: int | None = _option(
        "Number of last layers of the CLIP text encoders to leave out beyond those the model leaves out.", int, "NUMBER"
    )

    @classmethod
    def of(cls, *values: Any, **given: Any) -> LoadingOptions:
        """Check options, in the order of the fields or by name; raises InvalidParameter for one that is not allowed."""
        given |= zip((field.name for field in dc.fields(cls)), values, strict=False)
        clip_skip = given.get("clip_skip")
        if given.get("prediction") == "flow_prediction":
            given["prediction"] = "flow"
        for name, allowed in (("prediction", PREDICTIONS), ("quantise", QUANTISATIONS)):
            _check_choice(name, given.get(name), allowed)
        if clip_skip is not None and (type(clip_skip) is not int or not 0 <= clip_skip <= 100):
            raise InvalidParameter(f"clip_skip={shorten(clip_skip)} is not allowed: a whole number from 0 to 100")
        for name, pattern in (("variant", _NAME), ("revision", _REVISION)):
            value = given.get(name)
            if value is not None and not (isinstance(value, str) and pattern.fullmatch(value) and ".." not in value):
                raise InvalidParameter(f"{name}={shorten(value)} is not allowed: give a name such as fp16 or main")
        given["accelerate"] = _call("accelerate", given.get("accelerate"))
        for name in REPLACED:
            if given.get(name) is not None:
                given[name] = _path(name, given[name])
        return cls(**given)

    @property
    def requested(self) -> dict[str, Any]:
        """Options that are set, by name."""
        return {name: value for name, value in dc.asdict(self).items() if value is not None}

    @property
    def places(self) -> tuple[str, ...]:
        """Files and folders that options name, as they are given."""
        return tuple(str(value) for name, value in self.requested.items() if name in REPLACED)

    @property
    def recorded(self) -> dict[str, Any]:
        """Options for a recipe: files by their names alone; the revision is part of the model's name."""
        named = {name: Path(value).name if name in REPLACED else value for name, value in self.requested.items()}
        return {name: value for name, value in named.items() if name != "revision"}

    @property
    def replaced(self) -> frozenset[str]:
        """Parts of a folder whose weights come from elsewhere."""
        return frozenset(part for name, parts in REPLACED.items() if name in self.requested for part in parts)

    def replacement(self, part: str) -> Path | None:
        """Return the file or folder that replaces a part of the model's folder, None for one that is its own."""
        name = next((name for name, parts in REPLACED.items() if part in parts), "")
        return Path(self.requested[name]) if name in self.requested else None

    def quantisation(self, part: str) -> str | None:
        """Return the quantisation of a part's weights, None for a part other than the network."""
        return self.quantise if part in REPLACED["transformer"] else None

    def find_files(self) -> dict[str, Path]:
        """Return the files and folders of the options that name some; raises WeightsUnavailable if one is of no use."""
        finders = {"vae": find_autoencoder, "transformer": find_network}
        return {name: find(self.requested[name]) for name, find in finders.items() if name in self.requested}

    def combined_identity(self, identity: str, files: Mapping[str, Path]) -> str:
        """Return the identity of a model of ``identity`` with these options and ``files``, those of `find_files`."""
        parts = {name: value for name, value in self.requested.items() if name not in (*REPLACED, "revision")}
        parts |= {name: identity_of(place) for name, place in files.items()}
        if not parts:
            return identity
        return hashlib.sha256(f"{identity}:{sorted(parts.items())}".encode()).hexdigest()[:16]


def _check_choice(name: str, value: Any, allowed: Sequence[str]) -> None:
    if value is not None and value not in allowed:
        raise InvalidParameter(f"{name}={shorten(value)} is not allowed: one of {', '.join(allowed)}")


def _call(name: str, value: Any) -> Any:
    """Return the text of an option's registered name that is a mapping with its options, and others unchanged."""
    try:
        return write_call(value) if isinstance(value, Mapping) else value
    except ValueError as error:
        raise InvalidParameter(f"{name}={shorten(value)} is not allowed: {error}") from None


def _path(name: str, value: Any) -> str:
    """Return the path in an option; raises InvalidParameter for another value."""
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise InvalidParameter(f"{name}={shorten(value)} is not allowed: give a folder or a file")
    return os.fspath(value)


def dtype_name(dtype: object) -> str | None:
    """Return the full name of a dtype, None for one that depends on the weights; raises InvalidParameter for others."""
    text = AUTO if dtype is None else str(dtype).lower().removeprefix("torch.")
    known = {name: full for full, names in _DTYPES.items() for name in (full, *names)}
    if text != AUTO and text not in known:
        raise InvalidParameter(
            f"dtype={shorten(dtype)} is not allowed: one of {', '.join(_DTYPES)}, a short name of theirs such as fp16, "
            f"or {AUTO} for that of the weights"
        )
    return known.get(text)


def find_autoencoder(name: str) -> Path:
    """Return the folder or file of an autoencoder: its own folder, that in a model's folder, a file, or a hub id.

    Raises WeightsUnavailable if there is none, or it is incomplete or not safe to load.
    """
    return _find_part(name, "vae", (".safetensors",))


def find_network(name: str) -> Path:
    """Return the folder or file of a transformer or U-Net, as :func:`find_autoencoder` does; a file may be GGUF."""
    return _find_part(name, "transformer", (".safetensors", ".gguf"))


def _find_part(name: str, option: str, suffixes: Sequence[str]) -> Path:
    place = Path(os.path.expanduser(name))  # noqa: PTH111 (Path.expanduser raises for unknown users)
    if is_file(place):
        if place.suffix not in suffixes:
            raise WeightsUnavailable(
                f"{option} {name!r} is a file other than {' and '.join(suffixes)}, which can run code when loaded: "
                "convert it"
            )
        check_download(place)
        return place
    folder = find_folder(str(place), option, ON_TOP)
    within = [folder / part for part in REPLACED[option] if (folder / part / "config.json").exists()]
    folder = next(iter(within), folder)
    if not (folder / "config.json").exists():
        raise WeightsUnavailable(f"{option} {name!r} has no config.json: give the folder of this part, or a file")
    check_part(folder, f"{option} {name!r}")
    return folder


def described_model(name: str, adapters: Sequence[str], options: Mapping[str, object]) -> str:
    """Return a model's name with its adapters and loading options, for a message."""
    added = ", ".join([*adapters, *(f"{option}={value}" for option, value in options.items())])
    return f"{name} with {added}" if added else name
