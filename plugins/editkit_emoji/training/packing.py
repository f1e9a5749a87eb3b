"""Pack artwork and weights for a training machine without a network, where a run starts from them.

    python -m editkit_emoji.training.packing pack --data D --packed P
    python -m editkit_emoji.training.packing unpack --packed P --data D --models M

The artwork is packed without loss, in about 35 MB. Weights are packed in about 23 MB, rounded to :data:`LEVELS` levels
on either side of zero in each row, except the autoencoder's encoder: a run has to use the latents of the model.
``M`` then holds ``instruct`` and ``controlnet``, for the ``--start`` of :mod:`.denoiser` and :mod:`.controlnet`.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import lzma
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from editkit_emoji import CONTROLNET, load_instruct
from editkit_emoji.training import data

LEVELS = 63
SMALLEST_ROUNDED = 4096
"""Number of values below which a weight is kept as it is."""
ENCODER = ("encoder.down", "encoder.mid", "encoder.conv", "quant_conv")
"""Beginnings of the names of the autoencoder's encoder."""
STRIP = 255
"""Images in one file, which may be 16,383 pixels long."""
RECORDS, WEIGHTS = "artwork.json.xz", "weights.pt.xz"


class Rounded(NamedTuple):
    """A weight in int8 with one factor per row."""

    values: Tensor
    factors: Tensor
    """(rows, 1) float16."""

    @classmethod
    def of(cls, weight: Tensor) -> Rounded:
        rows = weight.float().flatten(1)
        factors = (rows.abs().amax(1, keepdim=True) / LEVELS).clamp(min=1e-7).half()
        return cls((rows / factors.float()).round().to(torch.int8).view(weight.shape), factors)

    def weight(self) -> Tensor:
        """Return the weight in float16."""
        return (self.values.flatten(1).float() * self.factors.float()).view(self.values.shape).half()


def pack_artwork(folder: Path, size: int, packed: Path) -> None:
    """Write the images of a data folder as lossless strips, similar ones beside each other, and their records."""
    artwork = data.load_artwork(folder, size)
    emojis = artwork.emojis
    order = sorted(range(len(emojis)), key=lambda place: (emojis[place].caption, emojis[place].name))
    images = np.concatenate([artwork.pixels, artwork.alpha[..., None]], -1)
    strips = [images[order[start : start + STRIP]] for start in range(0, len(order), STRIP)]
    with ProcessPoolExecutor() as pool:
        for number, encoded in enumerate(pool.map(encode_strip, strips)):
            (packed / f"artwork-{number:03}.webp").write_bytes(encoded)
    records = {"order": order, "emojis": json.loads((folder / "pictures.json").read_text())}
    (packed / RECORDS).write_bytes(lzma.compress(json.dumps(records).encode()))


def encode_strip(images: NDArray[np.uint8]) -> bytes:
    """Encode images (N, H, W, 4) below each other, without loss."""
    file = io.BytesIO()
    strip = Image.fromarray(images.reshape(-1, *images.shape[2:]))
    strip.save(file, "WEBP", lossless=True, exact=True, method=5, quality=80)
    return file.getvalue()


def decode_strip(file: Path, size: int) -> NDArray[np.uint8]:
    """Return the images (N, H, W, 4) of a file."""
    with Image.open(file) as strip:
        return np.asarray(strip.convert("RGBA")).reshape(-1, size, size, 4)


def unpack_artwork(packed: Path, folder: Path, size: int) -> None:
    """Write the data folder that :func:`pack_artwork` read."""
    records = json.loads(lzma.decompress((packed / RECORDS).read_bytes()))
    strips = sorted(packed.glob("artwork-*.webp"))
    with ProcessPoolExecutor() as pool:
        in_order = np.concatenate(list(pool.map(functools.partial(decode_strip, size=size), strips)))
    images = np.empty_like(in_order)
    images[records["order"]] = in_order
    np.save(folder / f"pictures-{size}.npy", images[..., :3])
    np.save(folder / f"alpha-{size}.npy", images[..., 3])
    (folder / "pictures.json").write_text(json.dumps(records["emojis"]))


def pack_weights(packed: Path) -> None:
    """Write the files of the instruction model and of the ControlNet, with rounded weights."""
    files: dict[str, bytes | dict[str, Tensor | tuple[Tensor, ...]]] = {}
    for name, folder in (("instruct", load_instruct()), ("controlnet", CONTROLNET)):
        for file in files_in(folder):
            weights = file.suffix == ".safetensors"
            files[f"{name}/{file.relative_to(folder)}"] = rounded(load_file(file)) if weights else file.read_bytes()
    buffer = io.BytesIO()
    torch.save(files, buffer)
    (packed / WEIGHTS).write_bytes(lzma.compress(buffer.getvalue()))


def files_in(folder: Path) -> Iterator[Path]:
    return (Path(file) for file in sorted(folder.glob("**/*")) if file.is_file())


def rounded(weights: dict[str, Tensor]) -> dict[str, Tensor | tuple[Tensor, ...]]:
    """Round the large weights of a file, as plain tuples, which torch loads without running code."""

    def is_kept(name: str, weight: Tensor) -> bool:
        return weight.ndim < 2 or weight.numel() < SMALLEST_ROUNDED or name.startswith(ENCODER)

    return {name: part if is_kept(name, part) else tuple(Rounded.of(part)) for name, part in weights.items()}


def unpack_weights(packed: Path, models: Path) -> None:
    """Write the model folders that :func:`pack_weights` read, with the rounded weights in float16."""
    files = torch.load(io.BytesIO(lzma.decompress((packed / WEIGHTS).read_bytes())), weights_only=True)
    for name, content in files.items():
        file = models / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            file.write_bytes(content)
            continue
        weights = {key: Rounded(*part).weight() if isinstance(part, tuple) else part for key, part in content.items()}
        save_file(weights, file, metadata={"format": "pt"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data.add_data_options(parser)
    parser.add_argument("action", choices=("pack", "unpack"))
    parser.add_argument("--packed", type=Path, required=True, metavar="FOLDER", help="folder that travels")
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="folder for the unpacked models")
    options = parser.parse_args()
    if options.action == "pack":
        options.packed.mkdir(parents=True, exist_ok=True)
        pack_artwork(options.data, options.size, options.packed)
        pack_weights(options.packed)
        print(f"{sum(file.stat().st_size for file in options.packed.iterdir()) / 1e6:.1f} MB in {options.packed}")
    else:
        options.data.mkdir(parents=True, exist_ok=True)
        unpack_artwork(options.packed, options.data, options.size)
        unpack_weights(options.packed, options.models or options.data / "models")


if __name__ == "__main__":
    main()
