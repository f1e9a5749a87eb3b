"""The base of all conformance suites, and the latents and pictures they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import torch
from PIL import Image
from torch import Tensor

from ..diffusion.paths import SamplingPath
from .toy import flow_path, vp_path

PATHS: Mapping[str, Callable[[int], SamplingPath]] = {"vp": vp_path, "flow": flow_path}

Method = TypeVar("Method", bound=Callable[..., None])


def replaced(reason: str) -> Callable[[Method], Method]:
    """Mark a check of a subclass as replacing the suite's own, for a reason that stands in the code."""

    def mark(check: Method) -> Method:
        vars(check)["replaced_because"] = reason
        return check

    return mark


class Suite:
    """Base of all suites: a class whose methods ``test_*`` are checks."""

    name: ClassVar[str]
    """What is checked, by its registered name."""
    kind: ClassVar[str]

    @classmethod
    def checks(cls) -> list[str]:
        """The names of the checks, in the order they are written."""
        names: dict[str, None] = {}
        for base in reversed(cls.__mro__):
            names |= {name: None for name in vars(base) if name.startswith("test_")}
        return list(names)

    def test_no_check_is_replaced_without_a_reason(self) -> None:
        for check in self.checks():
            kept = [vars(base)[check] for base in type(self).__mro__ if check in vars(base)]
            for replacement in kept[:-1]:
                reason: Any = vars(replacement).get("replaced_because")
                assert reason, f"{check} is replaced; mark the replacement with editkit.testing.replaced('why')"


def random_latents(rows: int, seed: int = 0, shape: tuple[int, ...] = (4, 8, 8)) -> Tensor:
    """Unit normal latents (rows, C, h, w), float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((rows, *shape), generator=generator, dtype=torch.float64)


def noise_source(shape: tuple[int, ...], seed: int = 0) -> Callable[[], Tensor]:
    """A source of unit normal noise, float64, that begins anew for each walk."""
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(shape, generator=generator, dtype=torch.float64)


def largest(difference: Tensor) -> float:
    return float(difference.abs().max())


def assert_agree(one: Tensor | None, other: Tensor, tolerance: float = 1e-4) -> None:
    """Fail where two results of the same work differ by as much as ``tolerance``, or hold nothing to compare."""
    assert one is not None, "there is no result to compare"
    assert largest(one - other) < tolerance, f"off by {largest(one - other):.1e}"
    assert min(float(one.std()), float(other.std())) > 0.1, "nothing to compare"


def sample_image(size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A picture with a gradient and some noise, of any size (width, height)."""
    generator = torch.Generator().manual_seed(seed)
    channels = len(Image.new(mode, (1, 1)).getbands())
    ramp = torch.linspace(40, 200, size[0]).expand(channels, size[1], size[0])
    levels = ramp + 30 * torch.rand((channels, size[1], size[0]), generator=generator)
    return Image.fromarray(levels.byte().permute(1, 2, 0).contiguous().numpy())
