"""Places of the image and of the words in the tokens of each attention, found by evaluations of the network.

While every attention returns zeros, no token depends on another one. A query or key then depends on the latents if it
is one of the image, and on the embedded prompt if it is one of the words: evaluations with other latents and with
another embedding show which. Padding, registers and tokens of reference images depend on neither.
"""

from __future__ import annotations

import dataclasses as dc
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

from torch import Tensor, nn

from editkit import AttentionSite, MissingCapability

from .tap import AttentionCall, tap

_PARTS: tuple[Literal["down", "mid", "up"], ...] = ("down", "mid", "up")
_NO_TEXT = ("hidden_states", "sample", "x")
"""Arguments of networks that hold latents."""
_NO_WORDS = ("ids", "rotary", "mask", "control", "residual")
"""Parts of the names of further arguments that are no embedded prompt."""


@dc.dataclass(frozen=True)
class _Tokens:
    """Queries and keys (heads, T, d) of one attention in an evaluation."""

    query: Tensor
    key: Tensor


def find_sites(net: nn.Module, evaluate: Callable[[Tensor], Any], x: Tensor) -> dict[str, AttentionSite]:
    """Return the sites of a network by the name of the call; those without image tokens, or with keys
    that are neither of the image nor of the prompt, are none.

    ``evaluate(x)`` calls the network for latents (1, C, h, w) under the condition of interest.
    """
    height, width = x.shape[-2:]
    base = _record(net, evaluate, x)
    moved = _record(net, evaluate, -x)
    worded = _record(net, evaluate, x, _other_words(net))
    if not base:
        raise MissingCapability(
            f"attention control needs attention modules with processors, and the network {type(net).__name__} has "
            "none: leave the control out"
        )
    sites = {}
    for number, (name, tokens) in enumerate(base.items()):
        image = _differ(tokens.query, moved[name].query)
        image_keys = _differ(tokens.key, moved[name].key)
        words = _differ(tokens.key, worded[name].key) & ~image_keys
        if not bool(image.any()) or not bool(image_keys.any() | words.any()):
            continue  # words alone, or the tokens of a style
        sites[name] = AttentionSite(
            name=name,
            number=number,
            kind="cross" if not bool(image_keys.any()) else "joint" if bool(words.any()) else "self",
            depth=next((part for part in _PARTS if name.startswith(part)), "flat"),
            image=_span(image),
            image_keys=_span(image_keys),
            words=_span(words),
            grid=_grid(name, int(image.sum()), (height, width)),
        )
    return sites


def _record(
    net: nn.Module,
    evaluate: Callable[[Tensor], Any],
    x: Tensor,
    change: AbstractContextManager[Any] = nullcontext(),  # noqa: B008 (it holds nothing)
) -> dict[str, _Tokens]:
    """Return the tokens of each attention while all attentions return zeros."""
    tokens: dict[str, _Tokens] = {}

    def record(call: AttentionCall) -> Tensor:
        query, key, value = (call.inputs[name] for name in ("query", "key", "value"))
        tokens[call.name] = _Tokens(query[0], key[0])
        zeros: Tensor = query.new_zeros(*query.shape[:-1], value.shape[-1])
        return zeros

    with tap(net, record), change:
        evaluate(x)
    return tokens


def _other_words(net: nn.Module) -> AbstractContextManager[Any]:
    """Return a context in which the embedded prompts that the network is called with have the other sign."""

    def negate(name: str, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(negate(name, one) for one in value)
        is_sequence = isinstance(value, Tensor) and value.is_floating_point() and value.ndim in (2, 3, 4)
        return -value if is_sequence and value.shape[-2] > 1 else value

    def change(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        changed = {
            name: value if name in _NO_TEXT or any(part in name for part in _NO_WORDS) else negate(name, value)
            for name, value in kwargs.items()
        }
        latents, *more = args or (None,)
        return (latents, *(negate("", value) for value in more)) if args else args, changed

    return _Hook(net.register_forward_pre_hook(change, with_kwargs=True))


class _Hook(AbstractContextManager[None]):
    """Context at whose end a hook is removed."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    def __exit__(self, *error: object) -> None:
        self.handle.remove()


def _grid(module: str, count: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of ``count`` image tokens; raises MissingCapability if they are no grid of ``size``."""
    height, width = size
    sides = range(1, max(size) + 1)
    # A convolution of stride n leaves a place for the rest of a side that is no multiple of n, pooling leaves none.
    grids = [(-(-height // side), -(-width // side)) for side in sides] + [
        (height // side, width // side) for side in sides
    ]
    grid = next((grid for grid in grids if math.prod(grid) == count), None)
    if grid is None:
        raise MissingCapability(
            f"attention control needs one token for each square of latents, and the attention {module} has {count} for "
            f"{height} x {width} latents: leave the control out"
        )
    return grid


def _differ(one: Tensor, other: Tensor) -> Tensor:
    """Return which tokens (T,) of two tensors (heads, T, d) differ."""
    places: Tensor = (one != other).any(0).any(-1).cpu()
    return places


def _span(places: Tensor) -> slice:
    """Return the span from the first to the last of some places."""
    numbers = places.nonzero().flatten().tolist()
    return slice(numbers[0], numbers[-1] + 1) if numbers else slice(0, 0)
