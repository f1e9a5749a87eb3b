"""Changes of low rank to the weights of a model (Hu et al., arXiv 2106.09685), as several trainers write them."""

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
"""How the name of a change begins, by trainer, and the part of the model it belongs to."""
WEIGHT = re.compile(r"(.+?)[._]lora(?:_linear_layer)?[._](down|up|A|B)\.weight")
ROLES = {"down": "down", "A": "down", "up": "up", "B": "up"}
EARLY = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
"""What the first files of diffusers call the projections of a text encoder, and what it calls them."""
OTHER = "it belongs to a model of another shape"


class Place(NamedTuple):
    """Which module a change is made to: a part of the model, and a name in it in the spelling of the file."""

    part: str
    module: str

    def __str__(self) -> str:
        return f"{self.part}.{self.module}"


@dc.dataclass(frozen=True)
class Change:
    """What is added to a weight: ``factor`` times ``up @ down``."""

    weight: Tensor
    up: Tensor
    down: Tensor
    factor: float

    def make(self) -> None:
        full = torch.promote_types(self.weight.dtype, torch.float32)
        up, down = (one.flatten(1).to(self.weight.device, full) for one in (self.up, self.down))
        self.weight.copy_(self.weight.to(full) + self.factor * (up @ down).view_as(self.weight))


def changes_of(
    tensors: Mapping[str, Tensor], said: Mapping[str, Any], parts: Mapping[str, nn.Module], scale: float
) -> list[Change]:
    """The changes that the tensors of a file mean for the parts of a model; none is made yet.

    ``said`` is what the file says of its training. Raises InvalidParameter, with no word about the file, for a tensor
    that is no part of a LoRA, and for modules that the model does not have or has in another shape.
    """
    found: dict[Place, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        place, role = read_name(name)
        found.setdefault(place, {})[role] = tensor
    modules = {part: modules_of(net) for part, net in parts.items()}
    return [change_of(place, roles, modules, said, scale) for place, roles in found.items()]


def read_name(name: str) -> tuple[Place, str]:
    """Where a tensor of a LoRA belongs, and whether it is ``down``, ``up`` or ``alpha`` of the change there."""
    match = WEIGHT.fullmatch(name)
    module, role = (match[1], ROLES[match[2]]) if match else (name.removesuffix(".alpha"), "alpha")
    for beginning, part in PARTS.items():
        if module.startswith(beginning) and (match or name.endswith(".alpha")):
            return Place(part, module.removeprefix(beginning)), role
    raise InvalidParameter(
        f"holds {name!r}, which is no weight of a LoRA: of adapters, LoRA and learned words are read, and no LoHa, "
        "LoKr or DoRA"
    )


def modules_of(net: nn.Module) -> dict[str, nn.Module]:
    """The modules with a weight, by their names in one spelling; those of a UNet by their first names too."""
    named = {
        name: module for name, module in net.named_modules() if isinstance(getattr(module, "weight", None), Tensor)
    }
    modules = {spelling(name): module for name, module in named.items()}
    layers = getattr(net.config, "layers_per_block", None)
    if isinstance(layers, int):
        modules |= {spelling(original_name(name, layers)): module for name, module in named.items()}
    return modules


def spelling(name: str) -> str:
    """A module's name in the one spelling that the names of all trainers can be brought to."""
    # An upsampler came behind the attention of its block, or in its place where there is none.
    flat = re.sub(r"(output_blocks_\d+)_[12]_conv$", r"\1_conv", name.replace(".", "_"))
    return flat.replace("_processor_", "_").removeprefix("text_model_")


def spellings(place: Place) -> Iterator[str]:
    """What the module of a change may be called in :func:`modules_of`."""
    name = spelling(place.module)
    yield name
    if name.endswith("_to_out"):
        yield f"{name}_0"
    stem, _, last = name.rpartition("_self_attn_")
    if last in EARLY:
        yield f"{stem}_self_attn_{EARLY[last]}"


def change_of(
    place: Place,
    roles: Mapping[str, Tensor],
    modules: Mapping[str, Mapping[str, nn.Module]],
    said: Mapping[str, Any],
    scale: float,
) -> Change:
    known = modules.get(place.part, {})
    module = next((known[name] for name in spellings(place) if name in known), None)
    if module is None:
        raise InvalidParameter(f"changes {place}, which the model does not have: {OTHER}")
    if not {"up", "down"} <= set(roles):
        raise InvalidParameter(f"has one half of the change to {place} alone: download it again")
    weight, up, down = module.weight, roles["up"], roles["down"]
    assert isinstance(weight, Tensor)
    if not fits(weight, up, down):
        raise InvalidParameter(
            f"changes {place} by {tuple(up.shape)} times {tuple(down.shape)}, and the model's weight is "
            f"{tuple(weight.shape)}: {OTHER}"
        )
    return Change(weight, up, down, scale * strength(place, roles.get("alpha"), len(down), said))


def fits(weight: Tensor, up: Tensor, down: Tensor) -> bool:
    """Whether ``up @ down`` has as many rows and numbers as ``weight``; of a convolution ``down`` has the kernel."""
    if up.ndim < 2 or down.ndim < 2 or up[0].numel() != len(down) or len(up) != len(weight):
        return False
    return len(up) * down[0].numel() == weight.numel()


def strength(place: Place, alpha: Tensor | None, rank: int, said: Mapping[str, Any]) -> float:
    """What ``up @ down`` is multiplied with: alpha by rank, and 1 where neither tensors nor training say an alpha."""
    if alpha is not None:
        return float(alpha.sum()) / rank
    named = said.get(f"{place.part}.alpha_pattern") or {}
    matching = [value for name, value in named.items() if f".{place.module}".endswith(f".{name.lstrip('^')}")]
    value = next(iter(matching), said.get(f"{place.part}.lora_alpha", rank))
    return float(value) / (math.sqrt(rank) if said.get(f"{place.part}.use_rslora") else rank)
