"""Instructions that turn the source of a pair into its target."""

from __future__ import annotations

from collections.abc import Collection

import torch

from editkit_emoji.training.captions import with_article
from editkit_emoji.training.data import Emoji

Wordings = tuple[str, ...]
"""Templates with the fields ``{was}``, ``{new}``, ``{a_new}`` (with an article) and ``{whom}``."""

TRAINED: dict[str, Wordings] = {
    "style": (
        "draw it {new}",
        "draw it in {new} style",
        "make it {new}",
        "{new} style",
        "turn it into a {new} emoji",
        "{new}",
        "as a {new} picture",
        "convert to {new}",
        "change the style to {new}",
        "the same in {new}",
        "use the style {new}",
        "show me a {new} version",
    ),
    "skin tone": (
        "change the skin tone to {new}",
        "make the skin {new}",
        "give {whom} {new} skin",
        "{new} skin tone",
        "set the skin to {new}",
        "{new} skin",
        "make {whom} {new}",
        "use the {new} skin tone",
        "paint the skin {new}",
        "the same with {new} skin",
        "turn the skin {new}",
        "skin tone {new}",
    ),
    "no skin tone": (
        "remove the skin tone",
        "without a skin tone",
        "make the skin yellow",
        "yellow skin",
        "drop the skin tone",
        "give {whom} the plain yellow skin",
        "use the default skin",
        "clear the skin tone",
    ),
    "colour": (
        "make it {new}",
        "turn it {new}",
        "change {was} to {new}",
        "change the colour to {new}",
        "paint it {new}",
        "{new}",
        "{new} rather than {was}",
        "set the colour to {new}",
        "the same in {new}",
        "show me {a_new} version",
        "let it be {new}",
        "turn {was} into {new}",
    ),
    "hair": (
        "give {whom} {new}",
        "replace {was} with {new}",
        "change the hair to {new}",
        "make it {new}",
        "{new}",
        "{new} rather than {was}",
        "the same with {new}",
        "turn {was} into {new}",
        "set the hair to {new}",
        "show {whom} with {new}",
        "add {new}",
        "change {was} to {new}",
    ),
    "": (
        "replace {was} with {new}",
        "turn the {was} into {a_new}",
        "change {was} to {new}",
        "make it {a_new}",
        "replace the {was} with {a_new}",
        "{new}",
        "{new} rather than {was}",
        "make the {was} {a_new}",
        "turn it into {a_new}",
        "show me {a_new}",
        "let it be {a_new}",
        "from {was} to {new}",
    ),
}
"""Wordings by attribute; the empty name stands for all other attributes."""

UNSEEN: dict[str, Wordings] = {
    "style": ("i want it {new}", "redraw this in the {new} style"),
    "skin tone": ("switch to a {new} skin tone", "{whom} should have {new} skin"),
    "no skin tone": ("take the skin tone off", "no skin tone"),
    "colour": ("colour it {new}", "i want a {new} one"),
    "hair": ("with {new} instead of {was}", "i want {new}"),
    "": ("swap the {was} for {a_new}", "{new} instead of {was}"),
}
"""Wordings excluded from training, which distinguish learnt instructions from learnt templates."""

PERTURBED, PREFIXED = 0.2, 0.3
"""Shares of words that :func:`perturb` removes or replaces, and of instructions to which it prepends words."""

PRONOUNS = {"woman": "her", "girl": "her", "princess": "her", "man": "him", "boy": "him", "prince": "him"}


def wordings(templates: dict[str, Wordings], attribute: str, source: Emoji, was: str, new: str) -> list[str]:
    """Fill all ``templates`` of an attribute for a change of its value from ``was`` to ``new``."""
    kind = "no skin tone" if attribute == "skin tone" and not new else attribute
    whom = next((pronoun for word, pronoun in PRONOUNS.items() if word in source.title.split()), "it")
    words = {"was": was, "new": new.replace("-", " "), "whom": whom, "a_new": new and with_article(new)}
    return [template.format(**words) for template in templates.get(kind, templates[""])]


def perturb(text: str, kept: Collection[str], generator: torch.Generator) -> str:
    """Remove or replace some words of an instruction except ``kept`` ones, and prepend random words to some texts.

    The model learns to rely on the other words of an instruction with an unknown word.
    """
    before = int(torch.randint(3, (), generator=generator)) if uniform(generator) < PREFIXED else 0
    words = [random_word(generator) for _ in range(before)]
    for word in text.split():
        number = uniform(generator)
        if word in kept or number >= PERTURBED:
            words.append(word)
        elif number < PERTURBED / 2:
            words.append(random_word(generator))
    return " ".join(words)


def uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))


def random_word(generator: torch.Generator) -> str:
    """Return two to seven random letters."""
    letters = torch.randint(26, (int(torch.randint(2, 8, (), generator=generator)),), generator=generator)
    return "".join(chr(ord("a") + letter) for letter in letters.tolist())


def instruction_for(source: Emoji, target: Emoji) -> str:
    """Return an instruction for the difference between two images of one style, or of one name in two styles."""
    if source.style != target.style:
        return f"draw it {target.style}" if target.style == "flat" else f"draw it in {target.style} style"
    if source.subject == target.subject:
        if target.tone is None:
            return "remove the skin tone"
        return f"change the skin tone to {target.tone.replace('-', ' ')}"
    was, becomes = title_difference(source.title.split(), target.title.split())
    if not was:
        return f"add {becomes}"
    return f"replace {was} with {becomes}" if becomes else f"remove {was}"


def title_difference(one: list[str], other: list[str]) -> tuple[str, str]:
    """Return two titles without their common first and last words."""
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    one, other = one[same:], other[same:]
    while one and other and one[-1] == other[-1]:
        one, other = one[:-1], other[:-1]
    return " ".join(one), " ".join(other)
