"""Cache of the keys and values that cross-attention computes from a prompt, which are equal at every step."""

from __future__ import annotations

import copy
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary


class PromptProjection(nn.Linear):
    """Linear layer that caches the keys or values of a prompt while the prompt is the same tensor.

    The cache holds one result, and only as long as its prompt exists. With gradients enabled it is not used.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cache = WeakTensorKeyDictionary()

    @classmethod
    def from_linear(cls, linear: nn.Linear) -> PromptProjection:
        """Return a projection that shares the weights of ``linear``."""
        projection = cls(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        projection.weight, projection.bias = linear.weight, linear.bias
        return projection.train(linear.training)

    def __deepcopy__(self, memo: dict[int, Any]) -> PromptProjection:
        duplicate = PromptProjection.from_linear(self)  # with a cache of its own
        duplicate.weight, duplicate.bias = copy.deepcopy(self.weight, memo), copy.deepcopy(self.bias, memo)
        return duplicate

    def forward(self, prompt: Tensor) -> Tensor:
        uncounted = prompt.is_inference() or self.weight.is_inference()  # their changes in place
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or uncounted:
            return super().forward(prompt)
        version = (prompt._version, self.weight._version)  # both may be changed in place
        entry = self.cache.get(prompt)  # type: ignore[no-untyped-call]
        if entry is None or entry[0] != version:
            self.cache.clear()
            self.cache[prompt] = entry = (version, super().forward(prompt))
        projection: Tensor = entry[1]
        return projection


def cache_projections(net: nn.Module) -> None:
    """Let the cross-attention of a network cache keys and values; names and weights do not change."""
    for module in net.modules():
        if isinstance(module, Attention) and module.is_cross_attention:
            for name in ("to_k", "to_v"):
                layer = getattr(module, name)
                if type(layer) is nn.Linear:
                    setattr(module, name, PromptProjection.from_linear(layer))
