"""LPIPS (arXiv 1801.03924) on SqueezeNet 1.1, the variant that PIE-Bench reports."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from editkit import WeightsUnavailable

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Normalisation of the channels of pixels in [-1, 1]."""
POOLED = (3, 6, 9)
"""Layers of the network before which its features are pooled."""
TAPPED = (0, 4, 7, 9, 10, 11, 12)
"""Layers whose features are compared, numbered as in torchvision."""
FIRES = {
    3: (64, 16, 64),
    4: (128, 16, 64),
    6: (128, 32, 128),
    7: (256, 32, 128),
    9: (256, 48, 192),
    10: (384, 48, 192),
    11: (384, 64, 256),
    12: (512, 64, 256),
}
"""Channels of the input, between, and of each half of the output of the fire modules by layer."""
ADVICE = (
    "give a folder with safetensors of torchvision's squeezenet1_1 (features.*) and of the linear heads of LPIPS "
    "(lin*.model.1.weight); the how-to page on evaluation shows how to write it"
)


class Fire(nn.Module):
    """Fire module of SqueezeNet (arXiv 1602.07360)."""

    def __init__(self, inputs: int, between: int, outputs: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, between, 1)
        self.expand1x1 = nn.Conv2d(between, outputs, 1)
        self.expand3x3 = nn.Conv2d(between, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


class Lpips(nn.Module):
    """Perceptual distance of images, with the tensor names of torchvision and of the published linear heads."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleDict(
            {"0": nn.Conv2d(3, 64, 3, stride=2), **{str(layer): Fire(*sizes) for layer, sizes in FIRES.items()}}
        )
        channels = (64, *(2 * FIRES[layer][2] for layer in TAPPED[1:]))
        for number, count in enumerate(channels):
            # The published heads have a dropout layer before the convolution.
            head = nn.Sequential(nn.Identity(), nn.Conv2d(count, 1, 1, bias=False))
            self.add_module(f"lin{number}", nn.ModuleDict({"model": head}))

    def forward(self, one: Tensor, other: Tensor, region: Tensor | None = None) -> Tensor:
        """Return the distance of images (1, 3, H, W) in [-1, 1], averaged over a region (1, 1, H, W) of shares."""
        total = one.new_zeros(())
        pairs = zip(self._tapped(one), self._tapped(other), strict=True)
        for number, (first, second) in enumerate(pairs):
            difference = (_to_unit(first) - _to_unit(second)).square()
            values = getattr(self, f"lin{number}")["model"](difference)
            weights = torch.ones_like(values) if region is None else F.adaptive_avg_pool2d(region, values.shape[-2:])
            total = total + (values * weights).sum() / weights.sum()
        return total

    def _tapped(self, pixels: Tensor) -> list[Tensor]:
        """Return the features of the layers that are compared."""
        shift, scale = (pixels.new_tensor(values)[:, None, None] for values in (SHIFT, SCALE))
        x, tapped = (pixels - shift) / scale, []
        for name, layer in self.features.items():
            if int(name) in POOLED:
                x = F.max_pool2d(x, 3, stride=2, ceil_mode=True)
            x = F.relu(layer(x))
            if int(name) in TAPPED:
                tapped.append(x)
        return tapped


def _to_unit(features: Tensor) -> Tensor:
    """Scale the features of each pixel to unit length."""
    return features / (features.square().sum(1, keepdim=True) + 1e-8).sqrt()


def load_lpips(folder: Path) -> Lpips:
    """Load the weights of LPIPS from the safetensors in a folder; raises WeightsUnavailable if some are missing."""
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not files:
        raise WeightsUnavailable(f"lpips {str(folder)!r} has no *.safetensors: {ADVICE}")
    model = Lpips()
    wanted = model.state_dict()
    try:
        tensors = {name: tensor for file in files for name, tensor in load_file(file).items()}
    except Exception as error:
        raise WeightsUnavailable(f"lpips {str(folder)!r} cannot be read ({type(error).__name__}): {ADVICE}") from error
    wrong = [name for name, tensor in wanted.items() if name not in tensors or tensors[name].shape != tensor.shape]
    if wrong:
        raise WeightsUnavailable(f"lpips {str(folder)!r} lacks {wrong[0]} in its shape: {ADVICE}")
    model.load_state_dict({name: tensors[name].float() for name in wanted})
    return model.eval().requires_grad_(False)
