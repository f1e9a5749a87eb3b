"""Execution options that change how a network computes, and not where."""

from __future__ import annotations

from typing import Any

import torch

from editkit import ExecutionOptions, MissingCapability

from .attention.backends import select_attention


def speed_up(net: Any, autoencoder: Any, execution: ExecutionOptions, device: torch.device) -> None:
    """Apply the options of attention and compilation to a network and to its autoencoder.

    Raises InvalidParameter or MissingCapability for an option that is of no use to them.
    """
    if execution.compile_decoder and not hasattr(autoencoder, "decoder"):
        raise MissingCapability(
            f"compile_decoder=True needs an autoencoder with a decoder, and {type(autoencoder).__name__} has none: "
            "leave it out"
        )
    if execution.attention is not None:
        select_attention(net, execution.attention, device)
    if execution.compile:
        execution.compile_part(net)
    if execution.compile_decoder:
        execution.compile_part(autoencoder.decoder)
