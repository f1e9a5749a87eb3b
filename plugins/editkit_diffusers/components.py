"""Loading of the parts of a diffusers folder, without log output and from safetensors only."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import diffusers
import torch

from editkit import (
    EditkitError,
    InvalidParameter,
    WeightsUnavailable,
    check_complete,
    check_part,
    loading,
    quiet,
    read_json,
    reason_of,
)

from .cross_attention_cache import cache_projections
from .network_files.leftovers import BESIDE_TEXT
from .quantisation import check_quantisation, is_quantised
from .scaled_weights import has_scales

_OLD_NAMES = {"Transformer2DModel": ("PixArtTransformer2DModel", "DiTTransformer2DModel")}
"""Classes that have the names of their families now."""

_BESIDE_VISION = re.compile(r"text_model|text_projection|logit_(scale|bias)|position_ids")
"""The same beside those of their image encoders."""

_FEWEST_ZEROS, _SHARE_OF_ZEROS = 3, 0.1
"""Number and share of matrices of zeros from which on a file may be cut short."""


def load_part(kind: Any, folder: Path, *, device: torch.device, **reading: Any) -> Any:
    """Load ``folder`` as :func:`read_part` does, ready to run on a device."""
    return prepare_network(read_part(kind, folder, **reading), device)


def read_part(
    kind: Any,
    folder: Path,
    *,
    dtype: torch.dtype,
    variant: str | None = None,
    strict: bool = False,
    quantisation: Any = None,
    warn: Callable[[str], None] = lambda text: None,
) -> Any:
    """Read ``folder`` as an instance of ``kind``; ``variant`` is that of its weights, such as ``fp16``.

    Weights that the class does not have are left out with a sentence to ``warn``; with ``strict`` they are refused.
    ``quantisation`` is a configuration of diffusers by which plain weights are quantised.

    Raises WeightsUnavailable if it is damaged or incomplete, InvalidParameter if it cannot be quantised.
    """
    try:
        config = read_json(folder / "config.json")
        quantised = check_quantisation(config, folder)
        if quantised and quantisation is not None:
            raise InvalidParameter(f"quantise is not allowed: {folder} holds quantised weights: leave it out")
        more: dict[str, Any] = {} if quantisation is None else {"quantization_config": quantisation}
        if hasattr(kind, "config_class"):  # transformers names weights of another shape in its log alone
            more["ignore_mismatched_sizes"] = True
        check_class(kind, config, folder)
        chosen = check_part(folder, variant=variant)
        with loading(), quiet():
            part, info = kind.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                torch_dtype=dtype,
                output_loading_info=True,
                variant=chosen,
                **more,
            )
        check_complete(info, str(folder))
        for text in _notes_of_weights(part, info["unexpected_keys"], folder, quantised=quantised, strict=strict):
            warn(text)
    except EditkitError:
        raise
    except Exception as error:  # diffusers and transformers raise many types for a damaged folder
        raise WeightsUnavailable(f"{folder} cannot be loaded ({reason_of(error)})") from error
    return part


def _notes_of_weights(
    part: Any, unexpected: Iterable[str], folder: Path, *, quantised: bool, strict: bool
) -> list[str]:
    """Return notes on weights that the class does not have (``unexpected``), which ``strict`` refuses, and on zeros.

    Raises WeightsUnavailable for them, and for scales of weights.
    """
    keys = sorted(unexpected)
    scales = [key for key in keys if has_scales([key])]
    if scales and not quantised:
        raise WeightsUnavailable(
            f"{folder} holds weights with scales ({scales[0]}), which only a checkpoint file may have: get "
            "it in float16 or bfloat16"
        )
    needless = _BESIDE_VISION if "Vision" in type(part).__name__ else BESIDE_TEXT
    unused = [key for key in keys if not needless.search(key)]
    notes = [] if is_quantised(part) else [*zero_weights(part, str(folder))]
    if unused and not scales:
        text = f"{folder} holds {len(unused)} weights that its configuration has no place for, such as {unused[0]}"
        if strict:
            raise WeightsUnavailable(f"{text}: get the configuration that belongs to them, or the whole model again")
        notes.append(f"{text}, which are left out: the configuration may belong to another model")
    return notes


def zero_weights(part: torch.nn.Module | Mapping[str, torch.Tensor], called: str) -> tuple[str, ...]:
    """Return a note if many matrices of a network are zeros, as of a download that ended early in a file of full size.

    The first and the last row of each are read. The message begins with ``called``.
    """
    named = part.items() if isinstance(part, Mapping) else part.named_parameters()
    matrices = {name: weights for name, weights in named if weights.ndim > 1 and len(weights)}
    zero = [name for name, weights in matrices.items() if not (weights[0].any() or weights[-1].any())]
    if len(zero) < max(_FEWEST_ZEROS, len(matrices) * _SHARE_OF_ZEROS):
        return ()
    return (
        f"{called}: {len(zero)} of {len(matrices)} weights are zero, such as {min(zero)}: its file may be cut short, "
        "download it again",
    )


def refuse(text: str) -> NoReturn:
    """Raise a note on weights as WeightsUnavailable, where they are read during an edit."""
    raise WeightsUnavailable(text)


def check_class(kind: Any, config: Mapping[str, Any], folder: Path) -> None:
    """Raise WeightsUnavailable for a part whose configuration names another class, or has texts as numbers."""
    for key, one in inspect.signature(kind.__init__).parameters.items():
        if isinstance(one.default, (bool, int, float)) and isinstance(config.get(key), str):
            kinds = "neither true nor false" if isinstance(one.default, bool) else "no number"
            raise WeightsUnavailable(f"{folder / 'config.json'}: {key}={config[key][:60]!r} is a text, {kinds}")
    name = config.get("_class_name", kind.__name__)
    if name == kind.__name__ or kind.__name__ in _OLD_NAMES.get(str(name), ()):
        return
    if not isinstance(name, str) or hasattr(diffusers, name):
        raise WeightsUnavailable(
            f"{folder} is a {str(name)[:60]} and no {kind.__name__}: it belongs to another pipeline"
        )


def prepare_network(part: Any, device: torch.device) -> Any:
    """Prepare a network for inference on a device: frozen weights, in the channels-last layout if not quantised."""
    if is_quantised(part):
        return part.to(device).requires_grad_(False).eval()
    cache_projections(part)
    # Convolutions are faster so, with equal results up to rounding:
    # https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html
    return part.to(device, memory_format=torch.channels_last).requires_grad_(False).eval()


def longest_side(size: Any, default: int, part: str) -> int:
    """Return the longest side of a ``sample_size``, or the family's default if there is none.

    Raises WeightsUnavailable unless it is a positive number or a pair of them.
    """
    sides = size if isinstance(size, (list, tuple)) else [size]
    if size is None:
        return default
    if not sides or any(type(side) is not int or side < 1 for side in sides):
        raise WeightsUnavailable(f"the {part} has the sample_size {str(size)[:60]!r}, which is no positive number")
    return int(max(sides))
