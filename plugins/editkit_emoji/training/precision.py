"""bfloat16 where it is quick: on GPUs, and on processors that have instructions for it."""

from __future__ import annotations

import torch


def quick_bfloat16(device: str) -> bool:
    """Whether products in bfloat16 are quicker than in float32: emulated ones take ten times as long."""
    return not device.startswith("cpu") or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def autocast(device: str = "cpu") -> torch.autocast:
    """A context for bfloat16 where that is quick, and of no effect elsewhere."""
    return torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=quick_bfloat16(device))
