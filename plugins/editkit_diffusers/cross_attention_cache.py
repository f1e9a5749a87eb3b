"""Cache of the keys and values that cross-attention computes from a prompt: they are the same at every step."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary


class PromptProjection(nn.Linear):
    """Keys or values of a prompt's words, kept for as long as the words are the same tensor.

    One answer is kept, and no longer than its words live. Where gradients are asked for, nothing is.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.answers = WeakTensorKeyDictionary()

    @classmethod
    def from_linear(cls, linear: nn.Linear) -> PromptProjection:
        """Return a projection that shares the weights of ``linear``."""
        projection = cls(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        projection.weight, projection.bias = linear.weight, linear.bias
        return projection.train(linear.training)

    def forward(self, words: Tensor) -> Tensor:
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or words.is_inference():
            return super().forward(words)
        mark = (words._version, self.weight._version)  # both may be written into
        known = self.answers.get(words)  # type: ignore[no-untyped-call]
        if known is None or known[0] != mark:
            self.answers.clear()
            self.answers[words] = known = (mark, super().forward(words))
        answer: Tensor = known[1]
        return answer


def keep_projections(net: nn.Module) -> None:
    """Cache a prompt's keys and values in the cross-attention of a network; names and weights do not change."""
    for module in net.modules():
        if isinstance(module, Attention) and module.is_cross_attention:
            for name in ("to_k", "to_v"):
                layer = getattr(module, name)
                if type(layer) is nn.Linear:
                    setattr(module, name, PromptProjection.from_linear(layer))
