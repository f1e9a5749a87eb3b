"""The autoencoder's round trip of images, which bounds what an edit can keep."""

from __future__ import annotations

import torch
from PIL import Image

from ..diffusion.denoiser import latent_dtype
from ..images.canvas import Canvas
from ..images.tensors import to_image, to_tensor
from ..model.backend import Backend
from ..model.execution import in_use


def autoencoder_round_trip(image: Image.Image, model: Backend) -> Image.Image:
    """Return an image, encoded and decoded by a model at the size at which it works, at its own size in mode RGB."""
    canvas = Canvas.plan_native(image.size, model.native_size, model.multiple)
    with in_use(model), torch.no_grad():
        pixels = canvas.to_model(to_tensor(image)).to(model.device, latent_dtype(model.dtype))
        decoded = model.decode(model.encode(pixels))
        return to_image(canvas.to_image(decoded.float().cpu())[0])
