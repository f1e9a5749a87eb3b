"""One model, loaded by editkit and by diffusers from one folder, and the images that both edit."""

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

from .counters import replaced_attribute
from .model_configs import ModelConfig, write_controlnet, write_model

PROMPT, TARGET = "a red apple on white", "a green apple on white"
SEED = 7
IMAGE_COUNT = 16


@dc.dataclass
class ComparisonFixture:
    """Model and inputs of both sides of a comparison. Images have the model's size, so that neither side resamples."""

    folder: Path
    model: Backend
    base: Any
    """Pipeline of diffusers for the folder."""
    config: ModelConfig
    device: str
    controlnet_folder: Path
    """Folder that a ControlNet is written to when a row needs one."""
    layout: torch.memory_format = torch.contiguous_format
    """Memory layout of the weights of diffusers' networks."""
    changes: int = dc.field(default=0, init=False)
    """Number of times that the images were changed."""
    pipelines: dict[str, Any] = dc.field(default_factory=dict, init=False)
    """Pipelines built so far, by class."""

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, config: ModelConfig, kind: str, place: Path, device: str = "cpu", dtype: str = "float32"
    ) -> Iterator[ComparisonFixture]:
        folder = write_model(config, kind, place, device, getattr(torch, dtype))
        model = load_model(folder, device=device, dtype=dtype)
        with quiet():
            base = _load_pipeline(folder, device, getattr(torch, dtype))
            yield cls(folder, model, base, config, device, place / "net")

    @functools.cached_property
    def channels_last(self) -> ComparisonFixture:
        """The same with channels-last weights in diffusers' UNets, which make convolutions faster."""
        if not hasattr(self.base, "unet"):
            return self
        base = _load_pipeline(self.folder, self.device, self.base.unet.dtype, torch.channels_last)
        return dc.replace(self, base=base, layout=torch.channels_last)

    @property
    def steps(self) -> int:
        return self.config.steps

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return self.model.native_size

    @functools.cached_property
    def image(self) -> Image.Image:
        """Image to edit: a shaded red disc with a leaf on white."""
        side = self.size
        image = Image.linear_gradient("L").resize((side, side)).convert("RGB").point(lambda level: 224 + level // 8)
        draw = ImageDraw.Draw(image)
        draw.ellipse((side // 5, side // 4, side * 4 // 5, side * 7 // 8), fill=(200, 30, 40))
        draw.ellipse((side // 3, side // 3, side // 2, side // 2), fill=(240, 120, 120))
        draw.ellipse((side // 2, side // 10, side * 3 // 4, side // 4), fill=(40, 150, 60))
        return image

    def change_images(self) -> None:
        """Change a value of every image: what was computed for an earlier one is of no use for the next edit."""
        self.changes += 1
        for image in (self.image, *self.images):
            image.putpixel((0, 0), (self.changes % 256, self.changes // 256 % 256, 0))

    def restore_images(self) -> None:
        """Undo all changes of images."""
        for name in ("image", "images"):
            vars(self).pop(name, None)

    @functools.cached_property
    def full_mask(self) -> Image.Image:
        """A mask that protects nothing."""
        return Image.new("L", (self.size, self.size), 255)

    @functools.cached_property
    def mask(self) -> Image.Image:
        """Mask, white in the middle, aligned to latents, so that both sides mask the same ones."""
        mask, quarter = Image.new("L", (self.size, self.size)), self.size // 4
        mask.paste(255, (quarter, quarter, 3 * quarter, 3 * quarter))
        return mask

    @functools.cached_property
    def condition_map(self) -> Image.Image:
        """Condition map: the outline of the mask."""
        outline, quarter = Image.new("L", (self.size, self.size)), self.size // 4
        ImageDraw.Draw(outline).rectangle((quarter, quarter, 3 * quarter, 3 * quarter), outline=255)
        return outline

    @functools.cached_property
    def controlnet(self) -> tuple[Path, Any]:
        """Folder of a ControlNet, and the same loaded by diffusers."""
        reduction = self.size // self.base.unet.config.sample_size
        if not self.controlnet_folder.exists():
            write_controlnet(self.base.unet, reduction, self.controlnet_folder)
        net = diffusers.ControlNetModel.from_pretrained(self.controlnet_folder).to(self.device, self.base.unet.dtype)
        return self.controlnet_folder, net.to(memory_format=self.layout)

    @functools.cached_property
    def images(self) -> list[Image.Image]:
        """The image shifted sideways by different amounts, so that no two are equal."""
        return [ImageChops.offset(self.image, place * self.size // IMAGE_COUNT, 0) for place in range(IMAGE_COUNT)]

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(SEED)

    @contextlib.contextmanager
    def deterministic_encoding(self) -> Iterator[None]:
        """Let diffusers use the mean of an encoded image in place of a sample, as editkit does."""
        encode = self.base.vae.encode

        def encode_mean(pixels: Tensor, *args: Any, **kwargs: Any) -> Any:
            encoded = encode(pixels.contiguous(), *args, **kwargs)  # rounding depends on the layout
            distribution = encoded.latent_dist
            distribution.sample = lambda generator=None: distribution.mode()
            return encoded

        with replaced_attribute(self.base.vae, "encode", encode_mean):
            yield

    def pipeline(self, kind: str, **parts: Any) -> Any:
        """Return a pipeline of diffusers with the same parts and DDIM, built once."""
        if kind not in self.pipelines:
            own = kind == type(self.base).__name__
            pipeline = self.base if own else getattr(diffusers, kind).from_pipe(self.base, **parts)
            if hasattr(self.base, "unet"):
                pipeline.scheduler = diffusers.DDIMScheduler.from_config(self.base.scheduler.config)
            pipeline.set_progress_bar_config(disable=True)
            self.pipelines[kind] = pipeline
        return self.pipelines[kind]

    def edit(self, operation: str, image: Any = None, **params: Any) -> Any:
        """Edit by editkit without the inversion cache."""
        return editkit.apply(operation, image, **{"model": self.model, "seed": SEED, "cache": False, **params})

    @functools.cached_property
    def embedded_prompt(self) -> dict[str, Tensor]:
        """Embeddings of the prompt, as arguments of pipelines of Stable Diffusion."""
        embeddings = self.pipeline("StableDiffusionPipeline").encode_prompt(PROMPT, self.device, 1, True, "")
        return dict(zip(("prompt_embeds", "negative_prompt_embeds"), embeddings, strict=False))


def _load_pipeline(
    folder: Path, device: str, dtype: torch.dtype, layout: torch.memory_format = torch.contiguous_format
) -> Any:
    """Load the pipeline of a folder by diffusers."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, torch_dtype=dtype).to(device)
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.to(memory_format=layout)  # type: ignore[call-overload]  # torch declares it for four axes only
    return pipeline


def network_of(owner: Any) -> nn.Module:
    """Return the denoising network of a backend or a pipeline."""
    network: nn.Module = owner.unet if hasattr(owner, "unet") else owner.transformer
    return network


Runner = Callable[[ComparisonFixture], object]
"""One side of a comparison: a function that does the job once."""
