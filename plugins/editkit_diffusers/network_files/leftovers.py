"""Tensors of a file that have no place in the network that is read from it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
from torch import Tensor

MARKER = re.compile(r"__\w+__|v_pred|ztsnr")
"""Tensors without weights, with which other programs mark a network."""
BESIDE_TEXT = re.compile(
    r"vision_model|visual_projection|text_projection|logit_scale|position_ids|lm_head"
    r"|^decoder\.(block|embed_tokens|final_layer_norm)"
)
"""Weights of whole models of transformers beside those of their text encoders."""
_OPEN_CLIP = re.compile(r"(.*\.model\.)transformer\.resblocks\.")
"""Names of a text encoder of OpenCLIP."""


def leftover_names(
    stored: Mapping[str, Tensor], ignored: Mapping[str, Tensor], named: Mapping[str, Tensor], own: Collection[str]
) -> list[str]:
    """Return the names of tensors without a place in a network whose tensors are ``own``.

    ``stored`` are the tensors of a file, ``ignored`` those of them that its conversion did not take, and ``named`` its
    result: tensors of the file, or pieces of them, which have their names in diffusers.
    """
    places = {_values(one) for name, one in named.items() if name in own}
    outside = {_values(one) for one in (*ignored.values(), *(one for name, one in named.items() if name not in own))}
    whole = {_values(one) for one in stored.values()}
    names = [name for name, one in stored.items() if _values(one) in outside - places]
    pieces = [name for name, one in named.items() if name not in own and _values(one) not in whole]
    return sorted(name for name in (*names, *pieces) if not MARKER.fullmatch(name))


def _values(tensor: Tensor) -> tuple[str, int]:
    """Return a key of the values of a tensor, which those that it is reshaped to share; of one without, itself."""
    place = 0 if tensor.is_meta else tensor.data_ptr()
    return ("address", place) if place else ("object", id(tensor))


def text_leftovers(tensors: Mapping[str, Tensor], net: Any) -> list[str]:
    """Return the names in transformers of tensors of a text encoder, as in a checkpoint, without a place in ``net``."""
    match = next(filter(None, map(_OPEN_CLIP.match, tensors)), None)
    if match is None:
        named = {name.partition("transformer.")[2] for name in tensors} - {""}
    else:
        sketch = {name: one.to("meta") for name, one in tensors.items()}
        named = {*convert_open_clip_checkpoint(net, sketch, prefix=match[1])}
    own = {name.removeprefix("text_model.") for name in net.state_dict()}
    unused = (name for name in named if name.removeprefix("text_model.") not in own)
    return sorted(name for name in unused if not BESIDE_TEXT.search(name) and not MARKER.fullmatch(name))


def leftover_warning(file: str, names: Collection[str], folder: Path, part: str = "network") -> str:
    """Return the warning of tensors of a part of a file without a place; ``folder`` has its configuration."""
    return (
        f"{file} holds {len(names)} weights of its {part} that the configuration in {folder} has no place for, such as "
        f"{min(names)}, which are left out: it may be that of another model"
    )
