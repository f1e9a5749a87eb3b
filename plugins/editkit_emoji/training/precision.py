"""bfloat16 on devices where it is fast: GPUs, and CPUs with instructions for it."""

from __future__ import annotations

import torch


def quick_bfloat16(device: str) -> bool:
    """Return True if products in bfloat16 are faster than in float32; emulated ones take ten times as long."""
    return not device.startswith("cpu") or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def autocast(device: str = "cpu") -> torch.autocast:
    """Return an autocast context for bfloat16, disabled on devices where bfloat16 is slow."""
    return torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=quick_bfloat16(device))
