"""One model, loaded by editkit and by diffusers from one folder, and the pictures that both edit."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import torch
from PIL import Image, ImageChops, ImageDraw
from torch import Tensor, nn

import editkit
from editkit import Backend, load_model, quiet

from .counters import replaced
from .model_configs import Shape, write_controlnet, write_model

PROMPT, TARGET = "a red apple on white", "a green apple on white"
SEED = 7
SEVERAL = 16


@dc.dataclass
class ComparisonFixture:
    """What both sides of a comparison work with. Pictures are of the model's own size, so that neither resamples."""

    folder: Path
    model: Backend
    base: Any
    """The pipeline of diffusers that loads from the folder."""
    shape: Shape
    device: str
    nets: Path
    """Where a ControlNet is written when one is asked for."""
    layout: torch.memory_format = torch.contiguous_format
    """Of the weights of diffusers' networks."""
    pipelines: dict[str, Any] = dc.field(default_factory=dict, init=False)
    """Those made so far, by class."""

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, shape: Shape, kind: str, place: Path, device: str = "cpu", dtype: str = "float32"
    ) -> Iterator[ComparisonFixture]:
        folder = write_model(shape, kind, place, device, getattr(torch, dtype))
        model = load_model(folder, device=device, dtype=dtype)
        with quiet():
            yield cls(folder, model, loaded(folder, device, getattr(torch, dtype)), shape, device, place / "net")

    @functools.cached_property
    def channels_last(self) -> ComparisonFixture:
        """The same with pipelines whose weights lie as convolutions are quickest with, where there are many."""
        if not hasattr(self.base, "unet"):
            return self
        base = loaded(self.folder, self.device, self.base.unet.dtype, torch.channels_last)
        return dc.replace(self, base=base, layout=torch.channels_last)

    @property
    def steps(self) -> int:
        return self.shape.steps

    @property
    def size(self) -> int:
        """Side of the pictures in pixels."""
        return self.model.native_size

    @functools.cached_property
    def picture(self) -> Image.Image:
        """A red disc with a shade and a leaf on white: something to edit, of any size."""
        side = self.size
        picture = Image.linear_gradient("L").resize((side, side)).convert("RGB").point(lambda level: 224 + level // 8)
        draw = ImageDraw.Draw(picture)
        draw.ellipse((side // 5, side // 4, side * 4 // 5, side * 7 // 8), fill=(200, 30, 40))
        draw.ellipse((side // 3, side // 3, side // 2, side // 2), fill=(240, 120, 120))
        draw.ellipse((side // 2, side // 10, side * 3 // 4, side // 4), fill=(40, 150, 60))
        return picture

    @functools.cached_property
    def whole(self) -> Image.Image:
        """A mask that protects nothing."""
        return Image.new("L", (self.size, self.size), 255)

    @functools.cached_property
    def mask(self) -> Image.Image:
        """White in the middle, on whole latents: there both sides mean the same by it."""
        mask, quarter = Image.new("L", (self.size, self.size)), self.size // 4
        mask.paste(255, (quarter, quarter, 3 * quarter, 3 * quarter))
        return mask

    @functools.cached_property
    def map(self) -> Image.Image:
        """A condition map: the mask's contour."""
        drawn, quarter = Image.new("L", (self.size, self.size)), self.size // 4
        ImageDraw.Draw(drawn).rectangle((quarter, quarter, 3 * quarter, 3 * quarter), outline=255)
        return drawn

    @functools.cached_property
    def controlnet(self) -> tuple[Path, Any]:
        """A ControlNet: its folder, and loaded by diffusers."""
        reduction = self.size // self.base.unet.config.sample_size
        if not self.nets.exists():
            write_controlnet(self.base.unet, reduction, self.nets)
        net = diffusers.ControlNetModel.from_pretrained(self.nets).to(self.device, self.base.unet.dtype)
        return self.nets, net.to(memory_format=self.layout)

    @functools.cached_property
    def several(self) -> list[Image.Image]:
        """Pictures of which no two are equal: the picture, moved sideways."""
        return [ImageChops.offset(self.picture, place * self.size // SEVERAL, 0) for place in range(SEVERAL)]

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(SEED)

    @contextlib.contextmanager
    def averaging(self) -> Iterator[None]:
        """Let diffusers take the mean where it draws a sample of an encoded picture, as editkit does."""
        encode = self.base.vae.encode

        def encoding(pixels: Tensor, *args: Any, **kwargs: Any) -> Any:
            encoded = encode(pixels.contiguous(), *args, **kwargs)  # how sums are rounded depends on the layout
            distribution = encoded.latent_dist
            distribution.sample = lambda generator=None: distribution.mode()
            return encoded

        with replaced(self.base.vae, "encode", encoding):
            yield

    def pipeline(self, kind: str, **parts: Any) -> Any:
        """A pipeline of diffusers on the same parts, with DDIM; made once."""
        if kind not in self.pipelines:
            own = kind == type(self.base).__name__
            made = self.base if own else getattr(diffusers, kind).from_pipe(self.base, **parts)
            if hasattr(self.base, "unet"):
                made.scheduler = diffusers.DDIMScheduler.from_config(self.base.scheduler.config)
            made.set_progress_bar_config(disable=True)
            self.pipelines[kind] = made
        return self.pipelines[kind]

    def edit(self, operation: str, image: Any = None, **params: Any) -> Any:
        """One edit by editkit, without what earlier ones have kept."""
        return editkit.apply(operation, image, **{"model": self.model, "seed": SEED, "cache": False, **params})

    @functools.cached_property
    def embedded(self) -> dict[str, Tensor]:
        """The prompt as pipelines of Stable Diffusion take it when it has been read already."""
        given = self.pipeline("StableDiffusionPipeline").encode_prompt(PROMPT, self.device, 1, True, "")
        return dict(zip(("prompt_embeds", "negative_prompt_embeds"), given, strict=False))


def loaded(folder: Path, device: str, dtype: torch.dtype, layout: torch.memory_format = torch.contiguous_format) -> Any:
    """The pipeline of diffusers that loads from a folder."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder).to(device, dtype)
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.to(memory_format=layout)  # type: ignore[call-overload]  # torch declares it for four axes alone
    return pipeline


def network_of(owner: Any) -> nn.Module:
    """The denoiser of a backend or of a pipeline."""
    found: nn.Module = owner.unet if hasattr(owner, "unet") else owner.transformer
    return found


Runner = Callable[[ComparisonFixture], object]
"""One side of a comparison: does the job once."""
