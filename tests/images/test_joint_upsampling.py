"""Laws of joint upsampling: it takes edges from the source where the edit has them, and invents none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from editkit.images.blending.joint_upsampling import upsample_jointly
from editkit.images.canvas import Canvas, resize

CANVAS = Canvas.plan((96, 64), 24, 1)


def blocks(seed: int) -> Tensor:
    """An image (1, 3, 64, 96) of flat blocks with sharp edges that lie on no grid of the model."""
    colours = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(colours, (64, 96), mode="nearest")


@pytest.mark.parametrize("seed", [0, 1])
def test_affine_change_of_colours_keeps_the_edges_of_the_source(seed: int) -> None:
    source = blocks(seed)
    guide = resize(source, CANVAS.work)
    mix = torch.tensor([[0.2, 0.5, 0.1], [0.7, -0.3, 0.1], [0.0, 0.2, 0.6]])
    values, truth = (torch.einsum("vg,bghw->bvhw", mix, image) + 0.1 for image in (guide, source))
    blurred = (resize(values, CANVAS.size) - truth).square().mean().sqrt()
    error = (upsample_jointly(CANVAS, source, guide, values) - truth).square().mean().sqrt()
    assert float(error) < 0.3 * float(blurred)


def test_flat_edit_of_a_sharp_source_stays_flat() -> None:
    source = blocks(2)
    values = torch.full((1, 3, *CANVAS.work[::-1]), 0.4)
    result = upsample_jointly(CANVAS, source, resize(source, CANVAS.work), values)
    torch.testing.assert_close(result, torch.full_like(source, 0.4), rtol=0, atol=1e-4)


def test_edges_that_the_source_lacks_are_resampled() -> None:
    source, values = torch.full((1, 3, 64, 96), 0.5), resize(blocks(3), CANVAS.work)
    result = upsample_jointly(CANVAS, source, resize(source, CANVAS.work), values)
    torch.testing.assert_close(result, resize(values, CANVAS.size), rtol=0, atol=1e-4)
