"""Models with closed-form denoisers: for laws, orders of convergence, and edits in milliseconds."""

from __future__ import annotations

import dataclasses as dc
import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..diffusion.denoiser import Condition, latent_dtype
from ..diffusion.paths import SamplingPath, TimestepGrid
from ..diffusion.points import CLEAN, Point, PointBatch
from ..diffusion.schedules import RectifiedFlow, Schedule, VariancePreserving, scaled_linear
from ..display import ModelDisplay
from ..literals import Prediction
from ..model.references import ReferenceGuidance, References


@dc.dataclass(frozen=True)
class GaussianDenoiser:
    """Exact denoiser of data N(mean, variance): ``E[x0 | x]``; latents (B, C, h, w), preferably float64."""

    mean: float | Tensor = 0.3
    """Number or tensor that broadcasts over a batch of latents."""
    variance: float = 0.25

    def __call__(self, x: Tensor, point: Point | PointBatch) -> Tensor:
        alpha, sigma = point.coefficients(x)
        gain = alpha * self.variance / (alpha**2 * self.variance + sigma**2)
        return self.mean + gain * (x - alpha * self.mean)

    def deviation(self, point: Point) -> float:
        """Return the standard deviation of the noisy latents at ``point``."""
        return math.sqrt(point.alpha**2 * self.variance + point.sigma**2)

    def transport(self, x: Tensor, p: Point, q: Point) -> Tensor:
        """Return latents moved exactly by the probability flow from point ``p`` to point ``q``."""
        return q.alpha * self.mean + self.deviation(q) / self.deviation(p) * (x - p.alpha * self.mean)


@dc.dataclass(frozen=True)
class GaussianConsistency(GaussianDenoiser):
    """Exact consistency function of the same data: the clean end of the probability flow through each point."""

    def __call__(self, x: Tensor, point: Point | PointBatch) -> Tensor:
        assert isinstance(point, Point), "all rows have one point"
        return self.transport(x, point, CLEAN)


@dc.dataclass(frozen=True)
class MixtureDenoiser:
    """Exact denoiser of equally likely Gaussians around ``modes`` (K, C, h, w): curved flows, several basins."""

    modes: Tensor
    variance: float = 0.05

    @classmethod
    def of_shape(
        cls, shape: tuple[int, int, int], *, modes: int = 8, variance: float = 0.05, seed: int = 0
    ) -> MixtureDenoiser:
        """Return a mixture with unit normal modes, float64, for latents of ``shape`` (C, h, w)."""
        generator = torch.Generator().manual_seed(seed)
        return cls(torch.randn((modes, *shape), generator=generator, dtype=torch.float64), variance)

    def __call__(self, x: Tensor, point: Point) -> Tensor:
        total = point.alpha**2 * self.variance + point.sigma**2
        away = x[:, None] - point.alpha * self.modes  # (B, K, C, h, w)
        weights = torch.softmax(-away.square().flatten(2).sum(2) / (2 * total), 1)  # (B, K)
        gain = point.alpha * self.variance / total
        return torch.einsum("bk,bk...->b...", weights, self.modes + gain * away)

    def draw(self, count: int, *, seed: int = 0) -> Tensor:
        """Return clean latents (count, C, h, w) from the mixture."""
        generator = torch.Generator().manual_seed(seed)
        centres = self.modes[torch.randint(len(self.modes), (count,), generator=generator)]
        return centres + math.sqrt(self.variance) * torch.randn(centres.shape, generator=generator, dtype=centres.dtype)


def vp_path(steps: int, *, low: float = 0.02, high: float = math.pi / 2 - 0.02) -> SamplingPath:
    """Return ``steps + 1`` points from noise to clean with ``alpha**2 + sigma**2 == 1``, evenly spaced in angle."""
    angles = torch.linspace(high, low, steps + 1, dtype=torch.float64).tolist()
    return tuple(Point(math.cos(angle), math.sin(angle)) for angle in angles)


def flow_path(steps: int, *, low: float = 0.02, high: float = 0.98) -> SamplingPath:
    """Return ``steps + 1`` points from noise to clean with ``alpha + sigma == 1``, evenly spaced in sigma."""
    sigmas = torch.linspace(high, low, steps + 1, dtype=torch.float64).tolist()
    return tuple(Point(1 - sigma, sigma) for sigma in sigmas)


class ToyBackend(ModelDisplay):
    """Backend without a network: float64, data N(colour of the prompt, variance), latents equal to the pixels.

    Pixels in [0, 1] become latents in [-1, 1], each block of ``reduction`` squared pixels stacked into channels, so
    that encoding loses nothing. Every prompt has its own colour, so a prompt edit changes the image.
    """

    provides = frozenset({"text"})
    device = torch.device("cpu")
    dtype = torch.float64

    def __init__(
        self, *, reduction: int = 1, native_size: int = 16, variance: float = 0.25, schedule: Schedule | None = None
    ) -> None:
        self.reduction, self.native_size, self.multiple = reduction, native_size, reduction
        self.variance = variance
        self.schedule: Schedule = VariancePreserving.from_betas(scaled_linear()) if schedule is None else schedule
        self.grid = (
            TimestepGrid("trailing") if isinstance(self.schedule, RectifiedFlow) else TimestepGrid("leading", offset=1)
        )
        self.name = "toy"
        config = f"{reduction} {native_size} {variance} {type(self.schedule).__name__}"
        self.identity = hashlib.sha256(config.encode()).hexdigest()[:16]

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        return (3 * self.reduction**2, height // self.reduction, width // self.reduction)

    def encode(self, pixels: Tensor) -> Tensor:
        return F.pixel_unshuffle(pixels.to(latent_dtype(self.dtype)) * 2 - 1, self.reduction)

    def decode(self, latents: Tensor) -> Tensor:
        return (F.pixel_shuffle(latents, self.reduction) / 2 + 0.5).clamp(0, 1)

    def embed(self, prompts: Sequence[str]) -> Condition:
        """Return the colour (B, 3) of each prompt, in [-0.8, 0.8]; the empty prompt is grey."""
        return {"text": torch.tensor([_colour_of(prompt) for prompt in prompts], dtype=self.dtype)}

    @property
    def prediction(self) -> Prediction:
        return "flow_prediction" if isinstance(self.schedule, RectifiedFlow) else "sample"

    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        mean = condition["text"].repeat_interleave(self.reduction**2, 1)[..., None, None]  # (B, C, 1, 1)
        return GaussianDenoiser(mean, self.variance)(x, point)


class ToyEditBackend(ToyBackend):
    """The same with data around the mean of the colours of the prompt and of the images that it refers to.

    Without images it generates like the other, unless they are ``required``.
    """

    provides = frozenset({"text", "references"})

    def __init__(
        self,
        *,
        guidance: ReferenceGuidance = "two estimates",
        most: int = 3,
        required: bool = False,
        longest_ratio: float = 8,
        **toy: Any,
    ) -> None:
        super().__init__(**toy)
        self.references = References(guidance, most=most, required=required, longest_ratio=longest_ratio)
        self.read: list[Image.Image] = []
        """Images that were read, in order."""

    def instructed(self, prompts: Sequence[str], images: Sequence[Image.Image]) -> Condition:
        self.read += images
        means = [torch.from_numpy(np.asarray(image, dtype=np.float64)).mean((0, 1)) / 127.5 - 1 for image in images]
        colours = [torch.stack([colour, *means]).mean(0) for colour in super().embed(prompts)["text"]]
        return {"text": torch.stack(colours)}

    def embed(self, prompts: Sequence[str]) -> Condition:
        if self.references.required:
            raise AssertionError("a prompt is embedded without the image that it refers to")
        return super().embed(prompts)


def _colour_of(prompt: str) -> list[float]:
    """Return the colour of a prompt, three numbers in [-0.8, 0.8]."""
    if not prompt:
        return [0.0, 0.0, 0.0]
    digest = hashlib.sha256(prompt.encode()).digest()
    return [1.6 * byte / 255 - 0.8 for byte in digest[:3]]
