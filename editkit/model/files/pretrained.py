"""Models of transformers: find, load and check one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import WeightsUnavailable
from ...libraries import loading, quiet, reason_of
from .hub import ON_TOP, find_folder
from .weights import check_weights, count_tensors, read_json


def model_folder(name: str, *, called: str, advice: str) -> Path:
    """Return the folder of a model of transformers: ``name`` itself, or the local copy of the hub id ``org/name``.

    A hub model without a local copy is downloaded, without pickles and code. ``called`` names the model in messages
    ("depth model"); ``advice`` ends them. Raises WeightsUnavailable if there is no such model, it has no configuration
    or no safetensors, or its shards are outside its folder.
    """
    folder = find_folder(os.path.expanduser(name), called, ON_TOP)  # noqa: PTH111 (Path.expanduser raises for unknown users)
    label = f"{called} {name!r}"
    if not (folder / "config.json").is_file():
        raise WeightsUnavailable(f"{label} has no config.json: {advice}")
    check_weights(folder, label, advice)
    return folder


def load_pretrained(
    name: str, model_class: Any, *others: Any, called: str, advice: str, unused: str = ""
) -> tuple[Any, ...]:
    """Load a model of transformers and ``others``, such as its image processor, on the GPU if there is one.

    ``name``, ``called`` and ``advice`` are those of :func:`model_folder`; ``model_class`` and ``others`` are classes
    with ``from_pretrained``. Only safetensors are read, and code that comes with a model is not run. Weights whose
    names contain ``unused`` may be missing. Raises WeightsUnavailable if a part cannot be loaded.
    """
    import torch

    folder, label = model_folder(name, called=called, advice=advice), f"{called} {name!r}"
    variant = check_weights(folder)
    try:
        count_tensors(folder, variant, read_json(folder / "config.json"))
        with loading(), quiet():
            loaded = [other.from_pretrained(folder, local_files_only=True, trust_remote_code=False) for other in others]
            model, info = model_class.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                variant=variant,
            )
    except WeightsUnavailable as error:
        raise WeightsUnavailable(f"{label} cannot be loaded: {error}") from error
    except Exception as error:  # of transformers, or of a library that a processor needs
        raise WeightsUnavailable(f"{label} cannot be loaded from {folder} ({reason_of(error)}): {advice}") from error
    if unused:
        info = {kind: [key for key in keys if unused not in str(key)] for kind, keys in info.items()}
    check_complete(info, label)
    return model.eval().requires_grad_(False).to("cuda" if torch.cuda.is_available() else "cpu"), *loaded


_UNUSED_WEIGHTS = re.compile(r"neck\.fusion_stage\.layers\.0\.residual_layer1\..*")
"""Weights that published models lack because no computation uses them: the first layer of DPT has one input."""
_NAMED_KEYS = 3


def check_complete(info: Mapping[str, Any], called: str, kinds: Sequence[str] = ("missing", "mismatched")) -> None:
    """Raise WeightsUnavailable if a library has set weights at random: those missing, or of another shape.

    ``info`` are the ``missing_keys`` and so on that diffusers and transformers return beside a model; weights that
    its class declares as tied or optional are not in it. The message begins with ``called``.
    """
    for kind in kinds:
        keys = sorted(str(key[0] if isinstance(key, tuple) else key) for key in info[f"{kind}_keys"])
        keys = [key for key in keys if not _UNUSED_WEIGHTS.fullmatch(key)]
        if keys:
            more = f" and {len(keys) - _NAMED_KEYS} more" if len(keys) > _NAMED_KEYS else ""
            named = ", ".join(keys[:_NAMED_KEYS])
            raise WeightsUnavailable(f"{called} has {kind} weights: {named}{more}; get the whole model again")
