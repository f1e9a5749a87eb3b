"""Loading options of a model: what its files leave open, or another value than theirs."""

from __future__ import annotations

import dataclasses as dc
import hashlib
import os
import re
from pathlib import Path
from typing import Any, get_args

from ..errors import InvalidParameter, WeightsUnavailable
from ..files import is_file
from ..literals import ModelPrediction
from ..registry.params import shorten
from .folders import check_part, identity_of
from .weights import ON_TOP, check_weights, find_folder

_NAME = re.compile(r"[\w-][\w.-]*")
_REVISION = re.compile(r"[\w-][\w./-]*")
PREDICTIONS: tuple[str, ...] = get_args(ModelPrediction)


def _option(text: str, kind: type = str, metavar: str = "NAME") -> Any:
    return dc.field(default=None, metadata={"help": text, "type": kind, "metavar": metavar})


@dc.dataclass(frozen=True)
class LoadingOptions:
    """Options that change what is loaded; a family lists the ones it supports by these names."""

    prediction: str | None = _option(
        "Prediction of the network, if the files lack it or have another: epsilon, v_prediction, sample or flow.",
        metavar="KIND",
    )
    variant: str | None = _option("Variant of the weights, such as fp16.  [default: the plain ones, else the only one]")
    revision: str | None = _option("Branch, tag or commit of a hub model, as org/name@REVISION.", metavar="REVISION")
    vae: str | None = _option("Autoencoder in place of the model's own.", metavar="FOLDER|FILE")
    clip_skip: int | None = _option(
        "Number of last layers of the CLIP text encoders to leave out beyond those the model leaves out.", int, "NUMBER"
    )

    @classmethod
    def of(cls, **given: Any) -> LoadingOptions:
        """Check options and return them; raises InvalidParameter for a value that is not allowed."""
        prediction, clip_skip, vae = given.get("prediction"), given.get("clip_skip"), given.get("vae")
        if prediction == "flow_prediction":
            given["prediction"] = prediction = "flow"
        if prediction is not None and prediction not in PREDICTIONS:
            raise InvalidParameter(f"prediction={shorten(prediction)} is not allowed: one of {', '.join(PREDICTIONS)}")
        if clip_skip is not None and (type(clip_skip) is not int or not 0 <= clip_skip <= 100):
            raise InvalidParameter(f"clip_skip={shorten(clip_skip)} is not allowed: a whole number from 0 to 100")
        for name, pattern in (("variant", _NAME), ("revision", _REVISION)):
            value = given.get(name)
            if value is not None and not (isinstance(value, str) and pattern.fullmatch(value) and ".." not in value):
                raise InvalidParameter(f"{name}={shorten(value)} is not allowed: give a name such as fp16 or main")
        if vae is not None:
            if not isinstance(vae, (str, os.PathLike)) or not os.fspath(vae):
                raise InvalidParameter(f"vae={shorten(vae)} is not allowed: give a folder or a .safetensors file")
            given["vae"] = os.fspath(vae)
        return cls(**given)

    @property
    def requested(self) -> dict[str, Any]:
        """Options that are set, by name."""
        return {name: value for name, value in dc.asdict(self).items() if value is not None}

    @property
    def recorded(self) -> dict[str, Any]:
        """Options for a recipe: the autoencoder by its name alone; the revision is part of the model's name."""
        named = {name: Path(value).name if name == "vae" else value for name, value in self.requested.items()}
        return {name: value for name, value in named.items() if name != "revision"}

    def combined_identity(self, identity: str, vae: Path | None) -> str:
        """Return the identity of a model of ``identity`` loaded with these options and the autoencoder ``vae``."""
        parts = {name: value for name, value in self.requested.items() if name not in ("vae", "revision")}
        if vae is not None:
            parts["vae"] = identity_of(vae)
        if not parts:
            return identity
        return hashlib.sha256(f"{identity}:{sorted(parts.items())}".encode()).hexdigest()[:16]


def find_autoencoder(name: str) -> Path:
    """Return the folder or file of an autoencoder: its own folder, that in a model's folder, a file, or a hub id.

    Raises WeightsUnavailable if there is none, or it is incomplete or not safe to load.
    """
    place = Path(os.path.expanduser(name))  # noqa: PTH111 (Path.expanduser raises for unknown users)
    if is_file(place):
        if place.suffix != ".safetensors":
            raise WeightsUnavailable(
                f"vae {name!r} is a file other than .safetensors, which can run code when loaded: convert it"
            )
        return place
    folder = find_folder(str(place), "vae", ON_TOP)
    folder = folder / "vae" if (folder / "vae" / "config.json").exists() else folder
    if not (folder / "config.json").exists():
        raise WeightsUnavailable(f"vae {name!r} has no config.json: give the folder of an autoencoder, or a file")
    check_part(folder, check_weights(folder, f"vae {name!r}"))
    return folder
