"""Sample instructions from a grammar, so that a model learns the named values and not fixed sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from editkit_emoji.training.captions import with_article
from editkit_emoji.training.data import Emoji
from editkit_emoji.training.instructions import PRONOUNS, UNSEEN, uniform
from editkit_emoji.training.pairs import Pair

Rules = dict[str, tuple[str, ...]]

RULES: Rules = {
    # Beginning and end of a request; a question needs a verb after it.
    "please": ("", "", "", "", "please ", "now ", "just ", "then "),
    "ask": ("<please>", "<please>", "<please>", "can you ", "could you ", "would you "),
    "end": ("", "", "", "", "", " please", " now", " thanks", " and keep the rest", " and nothing else"),
    # Object of the request.
    "it": ("it", "it", "this", "that", "the image", "the emoji", "the {subject}", "this {subject}"),
    "whom": ("{whom}", "{whom}", "the {subject}", "this one"),
    "the": ("", "the ", "its "),
    # Verbs.
    "make": ("make", "make", "turn", "render"),
    "change": ("change", "turn", "convert", "transform", "alter"),
    "set": ("set", "change", "put", "turn"),
    "rather": ("rather than", "and not", "not", "in place of"),
    "version": ("version", "one", "variant", "edition"),
    # Kinds of edits.
    "style": (
        "<ask><make> <it> {new}",
        "<ask>draw <it> {new}",
        "<ask>draw <it> in {new} style",
        "<ask><change> <it> to {new}",
        "<ask><change> <it> to {new} style",
        "<ask><set> the style to {new}",
        "<ask>use the {new} style",
        "<ask>use {new} <rather> {was}",
        "<please><it> in {new} style",
        "<please>a {new} <version>",
        "<ask>show the {new} <version> of <it>",
        "<please>in {new}",
        "<please>{new} style",
        "<please>{new}",
        "<please>from {was} to {new}",
    ),
    "skin tone": (
        "<ask><make> the skin {new}",
        "<ask><make> <whom> {new}",
        "<ask><set> the skin tone to {new}",
        "<ask><set> <the>skin to {new}",
        "<ask>give <whom> {new} skin",
        "<ask>give <whom> a {new} skin tone",
        "<ask>paint <the>skin {new}",
        "<ask>use {a_new} skin tone",
        "<please><whom> with {new} skin",
        "<please>with {a_new} skin tone",
        "<please>{new} skin",
        "<please>{new} skin tone",
        "<please>{a_new} <version>",
    ),
    "no skin tone": (
        "<ask>remove <the>skin tone",
        "<ask>drop <the>skin tone",
        "<ask>clear <the>skin tone",
        "<please>without <the>skin tone",
        "<please>without a skin tone",
        "<ask><make> the skin yellow",
        "<ask><make> <whom> yellow",
        "<ask><set> the skin to yellow",
        "<ask>give <whom> the plain yellow skin",
        "<ask>give <whom> yellow skin",
        "<ask>use the default skin",
        "<please>yellow skin",
        "<please>the yellow <version>",
    ),
    "colour": (
        "<ask><make> <it> {new}",
        "<ask>paint <it> {new}",
        "<ask>dye <it> {new}",
        "<ask><change> <it> to {new}",
        "<ask><change> the colour to {new}",
        "<ask><set> the colour to {new}",
        "<ask><change> {was} to {new}",
        "<ask>replace {was} by {new}",
        "<please><it> should be {new}",
        "<please>{new} <rather> {was}",
        "<please>{a_new} <version>",
        "<ask>show {a_new} <version>",
        "<please>from {was} to {new}",
        "<please>in {new}",
        "<please>{new}",
    ),
    "hair": (
        "<ask>give <whom> {new}",
        "<ask><make> <whom> have {new}",
        "<ask><change> <the>hair to {new}",
        "<ask><change> {was} to {new}",
        "<ask><set> <the>hair to {new}",
        "<ask>replace {was} by {new}",
        "<ask>replace the {was} with {new}",
        "<ask>show <whom> with {new}",
        "<please><whom> with {new}",
        "<ask>let <whom> have {new}",
        "<please>{new} <rather> {was}",
        "<ask>add {new}",
        "<please>{new}",
    ),
    "": (
        "<ask><make> <it> {a_new}",
        "<ask><change> <it> into {a_new}",
        "<ask><change> {was} to {new}",
        "<ask><change> the {was} into {a_new}",
        "<ask>replace {was} by {new}",
        "<ask>replace the {was} with {a_new}",
        "<please><it> should be {a_new}",
        "<ask>show {a_new}",
        "<ask>draw {a_new} <rather> {was}",
        "<please>{new} <rather> {was}",
        "<please>from {was} to {new}",
        "<please>{a_new}",
        "<please>{new}",
    ),
}
"""Rules by name: ``<name>`` is replaced by an alternative of that rule, ``{word}`` by a word of the edit."""

UNSEEN_FORMS = [re.compile(re.sub(r"\\{\w+\\}", ".+", re.escape(form))) for forms in UNSEEN.values() for form in forms]
"""Patterns of the wordings that are excluded from training, for all attributes."""


def expand(text: str, generator: torch.Generator, rules: Mapping[str, tuple[str, ...]] = RULES) -> str:
    """Replace every ``<name>`` in a text, from the left, by a random alternative of its rule."""

    def alternative(found: re.Match[str]) -> str:
        ways = rules[found[1]]
        return expand(ways[int(uniform(generator) * len(ways))], generator, rules)

    return re.sub(r"<([\w ]*)>", alternative, text)


def sample_instruction(pair: Pair, source: Emoji, generator: torch.Generator) -> str:
    """Sample an instruction for an edit, without the wordings that are excluded from training."""
    removed = pair.attribute == "skin tone" and not pair.new
    kind = "no skin tone" if removed else pair.attribute if pair.attribute in RULES else ""
    whom = next((pronoun for word, pronoun in PRONOUNS.items() if word in source.title.split()), "it")
    new = pair.new.replace("-", " ")
    words = {
        "was": pair.was,
        "new": new,
        "a_new": new and with_article(new),
        "whom": whom,
        "subject": source.subject,
    }
    while True:
        text = expand(f"<{kind}><end>", generator).format(**words)
        if not any(form.search(text) for form in UNSEEN_FORMS):
            return " ".join(text.split())
