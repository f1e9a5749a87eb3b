"""Base of all conformance suites, with the latents, images and sessions they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import torch
from PIL import Image
from torch import Tensor

from ..diffusion.denoiser import latent_dtype
from ..diffusion.paths import SamplingPath
from ..editing.session import Session
from ..images.canvas import Canvas
from ..model.backend import Backend
from ..registry.registry import installed
from ..sampling.params import DrawingParams
from .toy import flow_path, vp_path

PATHS: Mapping[str, Callable[[int], SamplingPath]] = {"vp": vp_path, "flow": flow_path}

Method = TypeVar("Method", bound=Callable[..., None])


def replaced(reason: str) -> Callable[[Method], Method]:
    """Mark a check of a subclass as a deliberate replacement of the suite's own, with the reason."""

    def mark(check: Method) -> Method:
        vars(check)["replaced_because"] = reason
        return check

    return mark


class Suite:
    """Base of all suites; its methods ``test_*`` are the checks."""

    name: ClassVar[str]
    """Registered name of the thing under test."""
    kind: ClassVar[str]

    @classmethod
    def serves(cls, spec: Any) -> bool:
        """Return whether the suite has checks of a registered thing, by its spec."""
        return True

    @classmethod
    def checks(cls) -> list[str]:
        """Return the names of the checks in the order of the source."""
        names: dict[str, None] = {}
        for base in reversed(cls.__mro__):
            names |= {name: None for name in vars(base) if name.startswith("test_")}
        return list(names)

    def test_no_check_is_replaced_without_a_reason(self) -> None:
        for check in self.checks():
            definitions = [vars(base)[check] for base in type(self).__mro__ if check in vars(base)]
            for replacement in definitions[:-1]:
                reason: Any = vars(replacement).get("replaced_because")
                assert reason, f"{check} is replaced; mark the replacement with editkit.testing.replaced('why')"


def random_latents(rows: int, seed: int = 0, shape: tuple[int, ...] = (4, 8, 8)) -> Tensor:
    """Return unit normal latents (rows, C, h, w), float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((rows, *shape), generator=generator, dtype=torch.float64)


def noise_source(shape: tuple[int, ...], seed: int = 0) -> Callable[[], Tensor]:
    """Return a source of unit normal noise, float64; make a new one for each walk."""
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(shape, generator=generator, dtype=torch.float64)


def largest(difference: Tensor) -> float:
    """Return the largest absolute value."""
    return float(difference.abs().max())


def assert_agree(one: Tensor | None, other: Tensor, tolerance: float = 1e-4) -> None:
    """Fail if two results differ by ``tolerance`` or more, or are constant."""
    assert one is not None, "there is no result to compare"
    assert largest(one - other) < tolerance, f"off by {largest(one - other):.1e}"
    assert min(float(one.std()), float(other.std())) > 0.1, "nothing to compare"


def sample_image(size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Return an image with a gradient and some noise, of any size (width, height)."""
    generator = torch.Generator().manual_seed(seed)
    channels = len(Image.new(mode, (1, 1)).getbands())
    ramp = torch.linspace(40, 200, size[0]).expand(channels, size[1], size[0])
    levels = ramp + 30 * torch.rand((channels, size[1], size[0]), generator=generator)
    return Image.fromarray(levels.byte().permute(1, 2, 0).contiguous().numpy())


def toy_session(model: Backend, params: DrawingParams) -> Session:
    """Return a session with one image of the toy model's native size."""
    side = model.native_size
    canvas = Canvas.plan((side, side), side, model.multiple)
    image = sample_image((side, side))
    pixels = 0.1 + 0.8 * torch.rand((1, 3, side, side), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return Session(model, params, installed(), canvas, [image], pixels.to(latent_dtype(model.dtype)))
