"""Evaluation cases: pairs with a true outcome, in place or with both images in another scene."""

from __future__ import annotations

import dataclasses as dc
import hashlib
import itertools
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from editkit import evaluation
from editkit_emoji.training.autoencoder import to_network, to_pixels
from editkit_emoji.training.data import FIRST_STYLES, UNSEEN, Artwork, Emoji, places
from editkit_emoji.training.moving import Frame, Scene, apply_frame, may_be_mirrored, side_frame
from editkit_emoji.training.pairs import Pair, all_pairs, evaluation_pairs, ordered

Image3 = NDArray[np.uint8]
"""An image (H, W, 3)."""

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
"""Photographs of scikit-image, none of which is used in training."""


FLOOR = "flow-edit:steps=1,frame=off"
"""The blind floor: the network is called once per caption, with pure noise instead of the image."""


@dc.dataclass(frozen=True)
class Case:
    """One edit: two captions, the source image, and the true outcome."""

    pair: Pair
    source: Emoji
    target: Emoji
    image: Image3
    truth: Image3

    @property
    def attribute(self) -> str:
        """Attribute of the pair; toned style pairs form their own group, as a change of skin can pass for a style."""
        toned = self.pair.attribute == "style" and self.target.tone is not None
        return "style, toned" if toned else self.pair.attribute

    def for_evaluation(self, instruction: str, name: str = "", group: str = "") -> evaluation.Case:
        """Return the case as the parts that all evaluations share take it."""
        return evaluation.Case(
            name=name,
            source=self.source.caption,
            target=self.target.caption,
            instruction=instruction,
            image=Image.fromarray(self.image),
            truth=Image.fromarray(self.truth),
            group=group,
        )

    @property
    def lot(self) -> int:
        """Pseudo-random number that depends on the captions only."""
        return lot_of(self.source, self.target)


def lot_of(source: Emoji, target: Emoji) -> int:
    return int(hashlib.sha256(f"{source.key} -> {target.key}".encode()).hexdigest()[:15], 16)


def select_pairs(artwork: Artwork, which: str, attributes: Sequence[str]) -> list[Pair]:
    """Select pairs in the fixed order, from the ``first`` four sets, the ``added`` or the ``unseen`` ones.

    The targets of training sets are held out; of unseen sets all pairs are selected.
    """
    emojis = artwork.emojis
    unseen = {one.style for one in UNSEEN}
    found = all_pairs(emojis) if which == "unseen" else evaluation_pairs(emojis)
    belongs: dict[str, Callable[[str], bool]] = {
        "first": lambda style: style in FIRST_STYLES,
        "added": lambda style: style not in FIRST_STYLES and style not in unseen,
        "unseen": lambda style: style in unseen,
    }
    selected = [pair for pair in found if pair.attribute in attributes and belongs[which](emojis[pair.target].style)]
    return ordered(selected, emojis)


def cases_of(artwork: Artwork, pairs: Sequence[Pair], scenery: str, count: int, *, skipped: int = 0) -> list[Case]:
    """Return the first ``count`` pairs after ``skipped`` ones as cases in a scene of :data:`SCENERY`.

    Pairs that the scene would make false are left out, and those whose images are equal in it.
    """
    emojis = artwork.emojis
    if scenery == "mirrored":
        pairs = [
            pair for pair in pairs if all(may_be_mirrored(emojis[place].title) for place in (pair.source, pair.target))
        ]
    cases = (case_of(artwork, pair, scenery) for pair in pairs)
    return list(
        itertools.islice(
            (case for case in cases if not np.array_equal(case.image, case.truth)), skipped, skipped + count
        )
    )


def case_of(artwork: Artwork, pair: Pair, scenery: str) -> Case:
    """Return a pair with both images in one scene, which depends on the captions only."""
    source, target = artwork.emojis[pair.source], artwork.emojis[pair.target]
    if scenery == "in place":
        return Case(pair, source, target, artwork.pixels[pair.source], artwork.pixels[pair.target])
    generator = torch.Generator().manual_seed(lot_of(source, target))
    scene = SCENERY[scenery](artwork, generator)
    image, truth = to_pixels(torch.stack([scene(*image_at(artwork, place)) for place in (pair.source, pair.target)]))
    return Case(pair, source, target, image, truth)


def image_at(artwork: Artwork, place: int) -> tuple[Tensor, Tensor]:
    """The image (3, H, W) at a place of the artwork, on white in [-1, 1], and its alpha (1, H, W)."""
    return to_network(artwork.pixels[place][None])[0], torch.tensor(artwork.alpha[place])[None] / 255


def shifted_scene(artwork: Artwork, generator: torch.Generator) -> Scene:
    """Scene shifted by 4 to 10 pixels of 64 along both axes, in either direction."""
    unit = artwork.pixels.shape[1] / 64
    far, sign = torch.randint(4, 11, (2,), generator=generator), torch.randint(2, (2,), generator=generator)
    down, right = (round(unit * float(by)) for by in far * (2 * sign - 1))
    return Scene(Frame(shift=(down, right)))


def small_scene(artwork: Artwork, generator: torch.Generator) -> Scene:
    """Scene at half to four fifths of the size, centred."""
    return Scene(Frame(scale=0.5 + 0.3 * float(torch.rand((), generator=generator))))


def coloured_scene(artwork: Artwork, generator: torch.Generator) -> Scene:
    """Scene on a plain colour."""
    size = artwork.pixels.shape[1]
    return Scene(ground=(2 * torch.rand(3, 1, 1, generator=generator) - 1).repeat(1, size, size))


def graded_scene(artwork: Artwork, generator: torch.Generator) -> Scene:
    """Scene on a gradient between two colours in any direction."""
    size = artwork.pixels.shape[1]
    one, other = 2 * torch.rand(2, 3, 1, 1, generator=generator) - 1
    angle = 2 * torch.pi * torch.rand((), generator=generator)
    along = torch.linspace(-1, 1, size)
    share = (along[:, None] * angle.sin() + along * angle.cos()) / 2**1.5 + 0.5
    return Scene(ground=one.lerp(other, share))


def small_photographic_scene(artwork: Artwork, generator: torch.Generator) -> Scene:
    """Scene at half to four fifths of the size, anywhere on a square of a photograph."""
    scene = photographic_scene(artwork, generator)
    scale, down, right = torch.rand(3, generator=generator).tolist()
    scale, size = 0.5 + 0.3 * scale, artwork.pixels.shape[1]
    free = size * (1 - scale)
    return dc.replace(scene, frame=Frame(scale=scale, shift=(round((down - 0.5) * free), round((right - 0.5) * free))))


def photographic_scene(artwork: Artwork, generator: torch.Generator) -> Scene:
    """Scene on a square of a photograph, of a third to all of its height."""
    size = artwork.pixels.shape[1]
    which, share, top, left = torch.rand(4, generator=generator).tolist()
    photograph = open_photograph(PHOTOGRAPHS[int(which * len(PHOTOGRAPHS))])
    side = round(photograph.height * (1 + 2 * share) / 3)
    corner = round(left * (photograph.width - side)), round(top * (photograph.height - side))
    square = photograph.crop((*corner, corner[0] + side, corner[1] + side))
    pixels = np.array(square.resize((size, size), Image.Resampling.LANCZOS))
    return Scene(ground=to_network(pixels[None])[0])


@cache
def open_photograph(name: str) -> Image.Image:
    from skimage import data

    return Image.fromarray(getattr(data, name)()).convert("RGB")


def two_object_scene(artwork: Artwork, generator: torch.Generator) -> Scene:
    """Scene beside another held-out image, both at half their size."""
    others = places(artwork.emojis, held_out=True)
    other = others[int(torch.randint(len(others), (), generator=generator))]
    size, left = artwork.pixels.shape[1], float(torch.rand((), generator=generator)) < 0.5
    return Scene(side_frame(size, left=left), apply_frame(*image_at(artwork, other), side_frame(size, left=not left)))


SCENERY: dict[str, Callable[[Artwork, torch.Generator], Scene]] = {
    "in place": lambda artwork, generator: Scene(),
    "mirrored": lambda artwork, generator: Scene(Frame(mirrored=True)),
    "shifted": shifted_scene,
    "small": small_scene,
    "coloured": coloured_scene,
    "graded": graded_scene,
    "photographic": photographic_scene,
    "small photographic": small_photographic_scene,
    "two objects": two_object_scene,
}
"""Kinds of scenes by name; all but the first are moved pairs."""
MOVED = tuple(SCENERY)[1:]
