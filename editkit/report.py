"""What an edit says of itself."""

from __future__ import annotations

import dataclasses as dc
from typing import Any


@dc.dataclass
class Usage:
    """Cost of an edit so far, and what its user should know; the report is made of it."""

    calls: int = 0
    """Network calls."""
    samples: int = 0
    """Network samples: the batch sizes of all calls, added."""
    warnings: list[str] = dc.field(default_factory=list)

    def warn(self, text: str) -> None:
        """Add a warning unless it is there already."""
        if text not in self.warnings:
            self.warnings.append(text)


@dc.dataclass(frozen=True)
class Report:
    """What was done, what it cost, and how far it can be trusted; ``as_dict`` is what ``--json`` prints."""

    operation: str
    model: str
    device: str
    dtype: str
    seed: int | None
    steps: int | None
    sampler: str | None
    inverter: str | None
    guidance: float | None
    network_calls: int
    network_samples: int
    """Evaluations of the denoiser times the entries of their batches."""
    seconds: float
    peak_memory_mb: float
    """Of the process on a CPU, of the edit on a GPU."""
    input_size: tuple[int, int] | None
    output_size: tuple[int, int] | None
    vae_psnr: float | None = None
    """dB of the autoencoder's own round trip of the source, at the size the model works at."""
    recon_psnr: float | None = None
    """dB of the source branch after inversion against the source, likewise."""
    adapters: tuple[str, ...] = ()
    """What was added to the model, as ``file:scale``."""
    untouched_max_diff: int | None = None
    """Largest difference outside the mask in 8-bit levels; null without a mask."""
    params: dict[str, Any] = dc.field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    output: str | None = None
    version: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dc.asdict(self)
