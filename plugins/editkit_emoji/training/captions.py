"""Captions of an image: the one it is evaluated with, and natural wordings of it."""

from __future__ import annotations

import torch

from editkit_emoji.training.data import Emoji

EMPTY = 0.25
"""Share of empty captions, with which the network learns to rely on the noisy image alone."""
CANONICAL = 0.67
"""Share of the other captions that equal :attr:`Emoji.caption`: half of all."""
WITHOUT_TONE = 0.2
"""Share of the natural captions that omit the skin tone."""

WITH_STYLE = (
    "a {style} emoji of {thing}",
    "{style} emoji of {thing}",
    "a {style} picture of {thing}",
    "{title}, {style} style",
    "{thing} in {style} style",
    "{style} {title} emoji",
)
WITHOUT_STYLE = (
    "emoji of {thing}",
    "an emoji of {thing}",
    "a picture of {thing}",
    "{thing}",
    "{title}",
    "{title} emoji",
)


def with_article(title: str) -> str:
    """Return ``a red apple`` for ``red apple``; titles that end in s, mostly plurals, get no article."""
    if title.endswith("s"):
        return title
    return f"{'an' if title[0] in 'aeiou' else 'a'} {title}"


def natural_captions(emoji: Emoji, *, tone: bool = True) -> list[str]:
    """All captions of an emoji except the canonical one; captions that name the style come first."""
    title = emoji.title if tone else emoji.subject
    return [
        template.format(style=emoji.style, title=title, thing=with_article(title))
        for template in WITH_STYLE + WITHOUT_STYLE
    ]


def sample_caption(emoji: Emoji, generator: torch.Generator) -> str:
    """Sample a caption for one training step: empty, canonical or natural, in the shares above."""
    emptied, canonical, toneless, which = torch.rand(4, generator=generator).tolist()
    if emptied < EMPTY:
        return ""
    if canonical < CANONICAL:
        return emoji.caption
    captions = natural_captions(emoji, tone=toneless >= WITHOUT_TONE)
    return captions[int(which * len(captions))]


def sample_caption_pair(source: Emoji, target: Emoji, generator: torch.Generator) -> tuple[str, str]:
    """Sample captions for both images of a pair, canonical or from one template that names style and tone."""
    canonical, which = torch.rand(2, generator=generator).tolist()
    if canonical < CANONICAL:
        return source.caption, target.caption
    template = int(which * len(WITH_STYLE))
    return natural_captions(source)[template], natural_captions(target)[template]
