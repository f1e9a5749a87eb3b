"""From the tensors of an adapter file to the changes of a model's layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from editkit import InvalidParameter

from .layers import Layer, LayerIndex
from .reading import AdapterFile
from .recognition import WIDTHS, base_of, foreign_file
from .strength import Strengths
from .tensor_names import TensorName, parse_name, unsupported_kind
from .updates import BIAS_ROLES, KINDS, MAGNITUDES, Kind, LayerChange, Roles, magnitude_axis

OTHER_SHAPE = "it belongs to a model of another shape"
SUPPORTED = "LoRA, LoCon, LoHa, LoKr, DoRA, full differences and learned words are supported"


def layer_changes(
    tensors: Mapping[str, Tensor], file: AdapterFile, index: LayerIndex, scale: float
) -> tuple[list[LayerChange], list[str]]:
    """Return the changes to the layers of a model that ``tensors`` of a file describe, and warnings.

    Nothing is applied. Raises InvalidParameter, with a message that does not name the file, for a tensor that is no
    part of an adapter, and for layers that the model lacks or has in another shape.
    """
    names = _parse(tensors)
    layers, warnings = _find_layers(names, tensors, index)
    grouped: dict[tuple[int, ...], tuple[Layer, list[str], dict[str, Tensor]]] = {}
    for name, parsed in names.items():
        if (layer := layers.get(name)) is None:
            continue
        _, spellings, roles = grouped.setdefault(tuple(map(id, layer.modules)), (layer, [], {}))
        if parsed.role in roles:
            raise InvalidParameter(f"changes {layer} twice, in two spellings: leave one out")
        spellings.append(parsed.module)
        roles[parsed.role] = tensors[name]
    strengths = Strengths(file, kohya=any(".lora_down." in name or ".lora_up." in name for name in names))
    changes = [_layer_change(layer, roles, spellings, strengths, scale) for layer, spellings, roles in grouped.values()]
    _check_dora_is_whole(strengths, changes)
    idle = ["it changes nothing: its alpha or its weights are zero"] if all(map(_is_idle, changes)) else []
    return changes, [*warnings, *_strength_warnings(names, strengths), *idle]


def _parse(tensors: Mapping[str, Tensor]) -> dict[str, TensorName]:
    names = {name: parsed for name in tensors if (parsed := parse_name(name)) and not unsupported_kind(name)}
    for name in tensors:
        if name in names:
            continue
        kind = unsupported_kind(name)
        if kind is not None:
            raise InvalidParameter(f"holds {name!r} and so is {kind}, which is not supported: {SUPPORTED}")
        if foreign := foreign_file([name for name in tensors if name not in names]):
            raise InvalidParameter(f"holds {name!r} and so is {foreign}")
        raise InvalidParameter(f"holds {name!r}, which is no weight of an adapter in any known spelling: {SUPPORTED}")
    return names


def _find_layers(
    names: Mapping[str, TensorName], tensors: Mapping[str, Tensor], index: LayerIndex
) -> tuple[dict[str, Layer], list[str]]:
    """Return the layer of each tensor; raises InvalidParameter, with counts, if the model lacks some of them.

    Changes by zero are left out where the model lacks the layer: extracted LoRAs hold many.
    """
    found = {(parsed.part, parsed.module): index.find(parsed) for parsed in names.values()}
    changes = _roles_by_layer(names, tensors)
    missing = {key for key, layer in found.items() if layer is None and not _is_zero(changes[key])}
    optional = {(part, module) for part, module in missing if part == "text_encoder_3" and part not in index.parts}
    if missing - optional:
        part, module = next(key for key in found if key in missing - optional)
        parsed = next(parsed for parsed in names.values() if (parsed.part, parsed.module) == (part, module))
        base = base_of([module for _, module in missing])
        origin = f"it is for {base}, and this is another model" if base and base != index.base else OTHER_SHAPE
        raise InvalidParameter(
            f"changes {f'{index.part_of(parsed)}.{module}'!r}, which the model does not have, as {len(missing)} of "
            f"{len(found)} changed layers: {origin}"
        )
    layers = {name: layer for name, parsed in names.items() if (layer := found[parsed.part, parsed.module])}
    if not layers:
        raise InvalidParameter(f"changes no layer that the model has: {OTHER_SHAPE}")
    warnings = [f"{len(optional)} of {len(found)} changed layers belong to a T5 encoder that the model does not have"]
    return layers, warnings if optional else []


def _roles_by_layer(
    names: Mapping[str, TensorName], tensors: Mapping[str, Tensor]
) -> dict[tuple[str, str], dict[str, Tensor]]:
    grouped: dict[tuple[str, str], dict[str, Tensor]] = {}
    for name, parsed in names.items():
        grouped.setdefault((parsed.part, parsed.module), {})[parsed.role] = tensors[name]
    return grouped


def _is_zero(roles: Roles) -> bool:
    """Whether a change changes nothing: one factor of its product or its differences are zero."""
    if any(role in roles for role in MAGNITUDES):
        return False
    product = any(role in roles and not roles[role].any() for role in ("up", "down"))
    others = [tensor for role, tensor in roles.items() if role not in ("up", "down", "mid", "alpha")]
    return (product or not {"up", "down"} & set(roles)) and not any(tensor.any() for tensor in others)


def _is_idle(change: LayerChange) -> bool:
    """Whether a change of a layer leaves it as it is at any scale."""
    if set(change.roles) & {*BIAS_ROLES, *MAGNITUDES}:
        return False
    return _is_zero(change.roles) or all(strength == 0 for _, strength in change.kinds)


def _layer_change(
    layer: Layer, roles: Roles, spellings: Sequence[str], strengths: Strengths, scale: float
) -> LayerChange:
    if not layer.dtype.is_floating_point:
        raise InvalidParameter(
            f"changes {layer}, whose weights are quantised to {layer.dtype}: load the model in float16 or bfloat16"
        )
    for role, tensor in roles.items():
        if not tensor.is_floating_point() and role != "alpha":
            raise InvalidParameter(f"has {role} of {layer} as {tensor.dtype}, which is no floating-point type")
    _check_roles(layer, roles)
    kinds = tuple(
        (kind, _factor(kind, layer, roles, spellings, strengths)) for kind in KINDS if kind.roles() & set(roles)
    )
    change = LayerChange(layer, kinds, roles, scale)
    _check_shapes(change)
    return change


def _check_roles(layer: Layer, roles: Roles) -> None:
    """Raise InvalidParameter for a change that lacks a part, or changes a bias that is not there."""
    for kind in KINDS:
        there = kind.roles() & set(roles)
        if there and there not in kind.forms:
            missing = min((form - there for form in kind.forms if form > there), key=len, default=frozenset())
            lacks = f"lacks {', '.join(sorted(missing))} of" if missing else "has a form too many in"
            half = "has only one half of" if kind.name == "LoRA" and missing else lacks
            raise InvalidParameter(f"{half} the {kind.name} change to {layer}: download it again")
    if "down_bias" in roles:
        raise InvalidParameter(f"adds a bias inside the LoRA of {layer}, which is not supported: {SUPPORTED}")
    if "up_bias" in roles and "up" not in roles:
        raise InvalidParameter(f"has only one half of the LoRA change to {layer}: download it again")
    if any(role in roles for role in BIAS_ROLES) and not layer.has_bias:
        raise InvalidParameter(f"changes the bias of {layer}, which has none in the model: {OTHER_SHAPE}")
    changed = set(roles) - {"alpha", *MAGNITUDES}
    if not changed:
        raise InvalidParameter(f"has {', '.join(sorted(roles))} and no change of {layer}: download it again")
    if set(MAGNITUDES) <= set(roles):
        raise InvalidParameter(f"has two sets of magnitudes for {layer}: download it again")


def _factor(kind: Kind, layer: Layer, roles: Roles, spellings: Sequence[str], strengths: Strengths) -> float:
    """Return the strength of one kind of change: alpha by rank; 1 if its matrices are whole."""
    names = [layer.name, f"text_model.{layer.name}", *spellings]
    rank = kind.rank(roles)
    if rank is None:  # PEFT also scales Kronecker products of whole matrices, LyCORIS does not
        rank = strengths.stated_rank(layer.part, names) if kind.ranked_by and "alpha" not in roles else None
        if rank is None:
            return 1.0
    if rank == 0:
        raise InvalidParameter(f"changes {layer} by a product of rank 0: download it again")
    alpha = roles.get("alpha")
    if alpha is not None and alpha.numel() != 1:
        raise InvalidParameter(f"has an alpha of {alpha.numel()} values for {layer}, not of one: download it again")
    stated = strengths.stated_rank(layer.part, names) if alpha is None and "down" in roles else None
    if stated not in (None, rank):
        raise InvalidParameter(
            f"changes {layer} by a product of rank {rank}, and its configuration states rank {stated}: they belong to "
            "different adapters"
        )
    factor = strengths.factor(layer.part, names, None if alpha is None else float(alpha), rank)
    if not abs(factor) < float("inf"):
        raise InvalidParameter(f"gives {layer} the strength {factor}: its alpha is damaged, download it again")
    return factor


def _check_shapes(change: LayerChange) -> None:
    """Raise InvalidParameter if the tensors of a change do not fit together or not the layer."""
    layer, roles = change.layer, change.roles
    shapes = " and ".join(f"{role} {tuple(tensor.shape)}" for role, tensor in roles.items() if role != "alpha")
    told = f"changes {layer} by {shapes}, and the model's weight is {layer.weight_shape}: {_origin(layer, roles)}"
    try:
        if change.kinds:
            change.difference({role: tensor.to("meta") for role, tensor in roles.items()})
    except (RuntimeError, IndexError):
        raise InvalidParameter(told) from None
    rows = [roles[role].shape[0] for role in ("up", "diff", "w_norm") if role in roles]
    if any(count != layer.weight_shape[0] for count in rows):
        raise InvalidParameter(told)
    outputs = layer.weight_shape[0]
    if any(role in roles and roles[role].numel() != outputs for role in BIAS_ROLES):
        raise InvalidParameter(told)
    if any(role in roles and magnitude_axis(role, roles[role], layer.weight_shape) is None for role in MAGNITUDES):
        raise InvalidParameter(told)


def _origin(layer: Layer, roles: Roles) -> str:
    """Return what a change of another shape was trained for, by the width of the text that it reads."""
    down = roles.get("down")
    width = down.shape[-1] if down is not None and down.ndim == 2 and "attn2.to_" in layer.name else 0
    known = f" ({WIDTHS[width]})" if width in WIDTHS and width != layer.weight_shape[-1] else ""
    return f"{OTHER_SHAPE}{known}"


def _check_dora_is_whole(strengths: Strengths, changes: Sequence[LayerChange]) -> None:
    magnitudes = any(role in change.roles for change in changes for role in MAGNITUDES)
    if (
        strengths.settings
        and not magnitudes
        and any(value is True and key.rpartition(".")[2] == "use_dora" for key, value in strengths.settings.items())
    ):
        raise InvalidParameter("is a DoRA by its header (use_dora) and holds no magnitudes: download it again")


def _strength_warnings(names: Mapping[str, TensorName], strengths: Strengths) -> list[str]:
    if strengths.ignored_alpha:
        return ["the alpha of its header (ss_network_alpha) is left out, as conversion usually multiplies it in"]
    if any(name.startswith("base_model.") for name in names) and not strengths.has_alpha:
        return ["it holds no alpha: PEFT stores it in adapter_config.json beside it; it is added at strength 1"]
    first, second = ({name.module for name in names.values() if name.role == role} for role in ("lokr_w1", "lokr_w2"))
    if first & second and strengths.is_stabilised_lycoris:
        return [
            f"{len(first & second)} of its layers are LoKr of whole matrices, which LyCORIS trains at the root of the "
            "rank with rs_lora and loads at strength 1, as here: give a larger scale if its effect is weak"
        ]
    return []
