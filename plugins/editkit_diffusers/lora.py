"""LoRA: low-rank changes to the weights of a model (Hu et al., arXiv 2106.09685), in several file formats."""

from __future__ import annotations

import dataclasses as dc
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from editkit import InvalidParameter

from .ldm_key_names import original_name

PARTS = {
    "lora_unet_": "unet",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "unet.": "unet",
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
}
"""Prefixes of tensor names, by trainer, and the part of the model that each belongs to."""
WEIGHT = re.compile(r"(.+?)[._]lora(?:_linear_layer)?[._](down|up|A|B)\.weight")
ROLES = {"down": "down", "A": "down", "up": "up", "B": "up"}
EARLY_NAMES = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
"""Names of text-encoder projections in early files of diffusers, and their present names."""
OTHER_SHAPE = "it belongs to a model of another shape"


class ModuleKey(NamedTuple):
    """Module of a change: a part of the model, and a name in that part in the spelling of the file."""

    part: str
    module: str

    def __str__(self) -> str:
        return f"{self.part}.{self.module}"


@dc.dataclass(frozen=True)
class WeightChange:
    """Low-rank change of a weight: adds ``factor * up @ down``."""

    weight: Tensor
    up: Tensor
    down: Tensor
    factor: float

    def apply(self) -> None:
        """Add the change to the weight in place, computed in float32 or higher."""
        full = torch.promote_types(self.weight.dtype, torch.float32)
        up, down = (one.flatten(1).to(self.weight.device, full) for one in (self.up, self.down))
        self.weight.copy_(self.weight.to(full) + self.factor * (up @ down).view_as(self.weight))


def weight_changes(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], parts: Mapping[str, nn.Module], scale: float
) -> list[WeightChange]:
    """Return the changes to the parts of a model that the tensors of a file describe, without applying them.

    ``metadata`` is the training metadata of the file. Raises InvalidParameter, with a message that does not name the
    file, for a tensor that is no part of a LoRA and for modules that the model lacks or has in another shape.
    """
    matrices: dict[ModuleKey, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        key, role = _parse_name(name)
        matrices.setdefault(key, {})[role] = tensor
    modules = {part: _modules_by_spelling(net) for part, net in parts.items()}
    return [_weight_change(key, roles, modules, metadata, scale) for key, roles in matrices.items()]


def _parse_name(name: str) -> tuple[ModuleKey, str]:
    """Return the module of a LoRA tensor, and its role there: ``down``, ``up`` or ``alpha``."""
    match = WEIGHT.fullmatch(name)
    module, role = (match[1], ROLES[match[2]]) if match else (name.removesuffix(".alpha"), "alpha")
    for prefix, part in PARTS.items():
        if module.startswith(prefix) and (match or name.endswith(".alpha")):
            return ModuleKey(part, module.removeprefix(prefix)), role
    raise InvalidParameter(
        f"holds {name!r}, which is no weight of a LoRA: LoRA and textual-inversion embeddings are supported, LoHa, "
        "LoKr and DoRA are not"
    )


def _modules_by_spelling(net: nn.Module) -> dict[str, nn.Module]:
    """Return the modules with a weight by normalised name; those of a UNet by their original names too."""
    named = {
        name: module for name, module in net.named_modules() if isinstance(getattr(module, "weight", None), Tensor)
    }
    modules = {_normalise(name): module for name, module in named.items()}
    layers = getattr(net.config, "layers_per_block", None)
    if isinstance(layers, int):
        modules |= {_normalise(original_name(name, layers)): module for name, module in named.items()}
    return modules


def _normalise(name: str) -> str:
    """Return a module's name in the one spelling that the names of all trainers can be converted to."""
    # An upsampler is numbered after the attention of its block, so its number depends on whether there is one.
    flat = re.sub(r"(output_blocks_\d+)_[12]_conv$", r"\1_conv", name.replace(".", "_"))
    return flat.replace("_processor_", "_").removeprefix("text_model_")


def _candidate_names(key: ModuleKey) -> Iterator[str]:
    """Yield the possible names of a module in :func:`_modules_by_spelling`."""
    name = _normalise(key.module)
    yield name
    if name.endswith("_to_out"):
        yield f"{name}_0"
    stem, _, last = name.rpartition("_self_attn_")
    if last in EARLY_NAMES:
        yield f"{stem}_self_attn_{EARLY_NAMES[last]}"


def _weight_change(
    key: ModuleKey,
    roles: Mapping[str, Tensor],
    modules: Mapping[str, Mapping[str, nn.Module]],
    metadata: Mapping[str, Any],
    scale: float,
) -> WeightChange:
    part = modules.get(key.part, {})
    module = next((part[name] for name in _candidate_names(key) if name in part), None)
    if module is None:
        raise InvalidParameter(f"changes {key}, which the model does not have: {OTHER_SHAPE}")
    if not {"up", "down"} <= set(roles):
        raise InvalidParameter(f"has only one half of the change to {key}: download it again")
    weight, up, down = module.weight, roles["up"], roles["down"]
    assert isinstance(weight, Tensor)
    if not _fits(weight, up, down):
        raise InvalidParameter(
            f"changes {key} by {tuple(up.shape)} times {tuple(down.shape)}, and the model's weight is "
            f"{tuple(weight.shape)}: {OTHER_SHAPE}"
        )
    return WeightChange(weight, up, down, scale * _strength(key, roles.get("alpha"), len(down), metadata))


def _fits(weight: Tensor, up: Tensor, down: Tensor) -> bool:
    """Whether ``up @ down`` has the rows and size of ``weight``; for a convolution ``down`` holds the kernel."""
    if up.ndim < 2 or down.ndim < 2 or up[0].numel() != len(down) or len(up) != len(weight):
        return False
    return len(up) * down[0].numel() == weight.numel()


def _strength(key: ModuleKey, alpha: Tensor | None, rank: int, metadata: Mapping[str, Any]) -> float:
    """Return the factor of ``up @ down``: alpha / rank, or 1 if neither tensors nor metadata have an alpha."""
    if alpha is not None:
        return float(alpha.sum()) / rank
    patterns = metadata.get(f"{key.part}.alpha_pattern") or {}
    matching = [value for name, value in patterns.items() if f".{key.module}".endswith(f".{name.lstrip('^')}")]
    value = next(iter(matching), metadata.get(f"{key.part}.lora_alpha", rank))
    return float(value) / (math.sqrt(rank) if metadata.get(f"{key.part}.use_rslora") else rank)
