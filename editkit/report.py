"""Report of an edit: parameters, cost and quality figures."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

UNUSED_WORD = "no prompt of the edit holds the learned word"
"""Begin of the warning of an adapter whose words no prompt holds."""


@dc.dataclass
class Usage:
    """Cost of an edit so far and its warnings, from which the report is built."""

    calls: int = 0
    """Network calls."""
    samples: int = 0
    """Network samples: the sum of the batch sizes of all calls."""
    warnings: list[str] = dc.field(default_factory=list)
    prompts: dict[str, None] = dc.field(default_factory=dict)
    """Prompts that were embedded."""
    working_size: tuple[int, int] | None = None
    """Largest (width, height) in pixels of what the network worked on."""

    def count(self, samples: int, size: tuple[int, int]) -> None:
        """Count a network call on ``samples`` images of ``size`` (width, height)."""
        self.calls += 1
        self.samples += samples
        self.working_size = max(self.working_size or size, size, key=lambda one: one[0] * one[1])

    def warn(self, *texts: str) -> None:
        """Add warnings that are no repetitions."""
        self.warnings += [text for text in dict.fromkeys(texts) if text not in self.warnings]


@dc.dataclass(frozen=True)
class Report:
    """Parameters, cost and quality figures of an edit; ``--json`` prints ``as_dict``."""

    operation: str
    """Name of the operation."""
    model: str
    """Registered name, folder or hub id of the model."""
    device: str
    """Device of the model."""
    dtype: str
    """Precision of the model."""
    seed: int | None
    """Seed of the noise; None if the operation samples nothing."""
    steps: int | None
    """Number of steps of the whole path."""
    sampler: str | None
    """Sampler with its options; None if the inverter replaces it."""
    inverter: str | None
    """Inverter with its options; None without an inversion."""
    guidance: float | None
    """Guidance scale."""
    network_calls: int
    """Number of network calls."""
    network_samples: int
    """Sum of the batch sizes of all network calls, without rows that only fill a call among several edits."""
    seconds: float
    """Duration of the edit, without loading the model and writing the file."""
    peak_memory_mb: float
    """Peak of the process on a CPU, of the edit on a GPU."""
    input_size: tuple[int, int] | None
    """(width, height) of the source in pixels; None without one."""
    output_size: tuple[int, int] | None
    """(width, height) of the result or its file in pixels, of an animation that of a frame; None for an inversion."""
    working_size: tuple[int, int] | None = None
    """(width, height) in pixels at which the network worked; of several regions, the largest."""
    vae_psnr: float | None = None
    """PSNR in dB of the autoencoder round trip of the source, at the image's size; None without an inversion."""
    recon_psnr: float | None = None
    """PSNR in dB of the source branch against the source after an inversion, at the image's size."""
    vae_psnr_working: float | None = None
    """``vae_psnr`` at the size at which the model works."""
    recon_psnr_working: float | None = None
    """``recon_psnr`` at the size at which the model works."""
    frame: dict[str, int] | None = dc.field(default=None, hash=False)
    """Square that was edited in the model's frame: left, top and side in pixels of the source, and mirrored, 0 or 1;
    None if the whole image was edited."""
    adapters: tuple[str, ...] = ()
    """Adapters added to the model, as ``file:scale``."""
    untouched_max_diff: int | None = None
    """Largest difference to the source outside the mask; None without a mask, and if it marks every pixel.

    Measured in the file after :meth:`Result.save`, before that in the pixels; in levels of the bit depth of either.
    """
    mask_share: float | None = None
    """Share of the source's pixels that the mask marks, whole or in part; None without a mask."""
    gated_share: float | None = None
    """Share of the source's pixels whose visible change the gate left out; None without a gate."""
    accelerator: str | None = None
    """Library that evaluated the network in place of torch, with its version and precision."""
    params: dict[str, Any] = dc.field(default_factory=dict, hash=False)
    """All parameters of the operation as used."""
    warnings: tuple[str, ...] = ()
    """Warnings, one sentence each."""
    output: str | None = None
    """Path of the saved result; None if it is not saved."""
    version: str = ""
    """Version of editkit."""

    @property
    def line(self) -> str:
        """Operation, seed, steps, duration and the number of warnings, in one line for a display."""
        count = len(self.warnings)
        facts = [
            *([] if self.seed is None else [f"seed {self.seed}"]),
            *([] if self.steps is None else [f"{self.steps} steps"]),
            f"{self.seconds:.3g} s",
            *([f"{count} warning{'s' * (count > 1)}"] if count else []),
        ]
        return f"{self.operation}: {', '.join(facts)}"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values for JSON."""
        return dc.asdict(self)


@dc.dataclass(frozen=True)
class AnimationReport(Report):
    """Report of an edited animation: sums and extremes of its frames.

    PSNR figures are those of the worst frame, :attr:`untouched_max_diff` of the frame that differs most.
    """

    frames: int = 1
    """Number of frames."""
    anchored: bool = False
    """Whether the frames attended to the first one."""
    flicker: float | None = None
    """Change from frame to frame that the motion of the source does not explain, in 8-bit levels (arXiv 1808.00449).

    Measured in the file after saving, before that in the pixels."""
    source_flicker: float | None = None
    """The same of the source, which also has the error of the estimated motion. Both are None for another size."""


SomeReport = TypeVar("SomeReport", bound=Report)


def sum_reports(reports: Sequence[SomeReport]) -> SomeReport:
    """Return one report of several steps: costs are added, models and warnings joined."""
    return dc.replace(
        reports[-1],
        operation="run",
        model=", ".join(dict.fromkeys(report.model for report in reports)),
        adapters=tuple(dict.fromkeys(adapter for report in reports for adapter in report.adapters)),
        network_calls=sum(report.network_calls for report in reports),
        network_samples=sum(report.network_samples for report in reports),
        seconds=round(sum(report.seconds for report in reports), 4),
        peak_memory_mb=max(report.peak_memory_mb for report in reports),
        input_size=reports[0].input_size,
        untouched_max_diff=None,
        mask_share=None,
        gated_share=None,
        params={"steps": [{report.operation: report.params} for report in reports]},
        warnings=tuple(dict.fromkeys(_warnings_of_steps(reports))),
    )


def _warnings_of_steps(reports: Sequence[Report]) -> Iterator[str]:
    """Yield the warnings of several steps; one of a learned word only if no step with its adapter uses it."""
    for report in reports:
        beside = [one for one in reports if one.adapters == report.adapters]
        for warning in report.warnings:
            if not warning.startswith(UNUSED_WORD) or all(warning in one.warnings for one in beside):
                yield warning
