"""Sample instructions from a grammar, so that a model learns the named values and not fixed sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from editkit_emoji.training.captions import with_article
from editkit_emoji.training.data import Emoji
from editkit_emoji.training.instructions import PRONOUNS, UNSEEN, random_word, uniform
from editkit_emoji.training.pairs import Pair

Rules = dict[str, tuple[str, ...]]

RULES: Rules = {
    # Beginning and end of a request; a question needs a verb after it, a wish an object or a verb.
    "please": ("", "", "", "", "please ", "now ", "just ", "then ", "ok ", "simply "),
    "ask": ("<please>", "<please>", "<please>", "<please>", "<asking> ", "<wish> to "),
    "asking": ("can you", "could you", "would you", "will you", "you should", "let us", "try to", "please"),
    "wish": ("i would like", "i need you", "we want", "we would like", "i prefer", "they want"),
    "want": ("we want", "i need", "i would like", "they want", "she wants", "give me", "i prefer", "let us have"),
    "end": ("", "", "", "", "", " please", " now", " thanks", "<rest>", "<rest>"),
    "rest": (" and keep the rest", " and nothing else", " but nothing else", " only", " for me", " for once", " here"),
    # Object of the request.
    "it": (
        "it",
        "it",
        "it",
        "this",
        "this one",
        "that",
        "the image",
        "the picture",
        "the emoji",
        "the {subject}",
        "this {subject}",
    ),
    "whom": ("{whom}", "{whom}", "the {subject}", "this one", "the person"),
    "the": ("", "the ", "its ", "their "),
    # Verbs.
    "make": ("make", "make", "make", "turn", "render", "have", "get"),
    "draw": ("draw", "paint", "redraw", "redo", "sketch", "show", "render", "recreate"),
    "change": ("change", "turn", "convert", "transform", "alter", "switch", "modify", "adapt"),
    "replace": ("replace", "exchange", "swap", "substitute", "change"),
    "by": ("by", "with", "with", "against"),
    "set": ("set", "change", "put", "turn", "switch", "adjust"),
    "give": ("give", "hand", "lend", "get"),
    "paint": ("paint", "dye", "tint", "colour", "fill", "recolour", "shade"),
    "use": ("use", "take", "choose", "pick", "apply", "go for", "prefer", "try", "switch to"),
    "remove": ("remove", "drop", "clear", "delete", "take off", "take away", "erase", "undo", "lose"),
    "should": ("should be", "must be", "has to be", "ought to be", "is to be", "shall become", "needs to be"),
    "get": ("should get", "must have", "needs", "gets", "could have", "has", "is to have", "shall have"),
    "rather": (
        "rather than",
        "and not",
        "and no",
        "not",
        "in place of",
        "but not",
        "for",
        "over",
        "and no longer",
        "to replace",
        "as a substitute for",
        "<letters>",
        "<letters> <letters>",
        "<letters> of",
        "<letters> of",
        "<letters> than",
    ),
    # The former value before the new one.
    "old": (
        "in place of {was} ",
        "rather than {was} ",
        "not {was} but ",
        "no longer {was} but ",
        "no more {was} only ",
        "away with {was} and ",
        "without {was} but with ",
        "<remove> {was} and <use> ",
    ),
    "version": ("version", "one", "variant", "edition", "kind", "form"),
    "instead": ("", "", "", "", " instead"),
    # Kinds of edits.
    "style": (
        "<ask><make> <it> {new}<instead>",
        "<ask><draw> <it> {new}",
        "<ask><draw> <it> in {new} style",
        "<ask><draw> <it> in the {new} way",
        "<ask><draw> <it> as {a_new} emoji",
        "<ask><change> <it> to {new}<instead>",
        "<ask><change> <it> to {new} style",
        "<ask><set> the style to {new}",
        "<ask><use> the {new} style<instead>",
        "<ask><use> {new} <rather> {was}",
        "<ask><replace> {was} <by> {new}",
        "<want> {new} style",
        "<want> the {new} <version> of <it>",
        "<want> <it> {new}",
        "<it> <should> {new}",
        "the style <should> {new}",
        "<please><it> in {new} style",
        "<please>a {new} <version>",
        "<ask>show the {new} <version> of <it>",
        "<please>in {new}<instead>",
        "<please>in the {new} style",
        "<please>{new} style",
        "<please>{new}<instead>",
        "<please>from {was} to {new}",
        "the same in {new}",
        "<old>{new}",
        "<old><want> {new}",
    ),
    "skin tone": (
        "<ask><make> the skin {new}<instead>",
        "<ask><make> <whom> {new}<instead>",
        "<ask><set> the skin tone to {new}",
        "<ask><set> <the>skin to {new}",
        "<ask><change> <the>skin to {new}",
        "<ask><change> to {new} skin",
        "<ask><give> <whom> {new} skin",
        "<ask><give> <whom> a {new} skin tone",
        "<ask><paint> <the>skin {new}",
        "<ask><use> {a_new} skin tone<instead>",
        "<ask><use> the {new} skin",
        "<want> {new} skin",
        "<want> {a_new} skin tone",
        "<whom> <get> {new} skin",
        "<whom> <get> {a_new} skin tone",
        "<the>skin <should> {new}",
        "<please><whom> with {new} skin",
        "<please>with {a_new} skin tone<instead>",
        "<please>{new} skin<instead>",
        "<please>{new} skin tone",
        "<please>{a_new} <version>",
    ),
    "no skin tone": (
        "<ask><remove> <the>skin tone",
        "<ask><remove> that tone",
        "<ask><remove> the tone of the skin",
        "<please>without <the>skin tone",
        "<please>without a skin tone",
        "<please>without any tone",
        "<please>no tone",
        "<please>not any skin tone",
        "<ask><make> the skin yellow<instead>",
        "<ask><make> <whom> yellow<instead>",
        "<ask><set> the skin to yellow",
        "<ask><give> <whom> the plain yellow skin",
        "<ask><give> <whom> yellow skin",
        "<ask><use> the default skin",
        "<ask><use> no tone",
        "<want> the default skin",
        "<want> it without tone",
        "<the>skin <should> yellow",
        "<please>yellow skin",
        "<please>plain skin",
        "<please>the yellow <version>",
    ),
    "colour": (
        "<ask><make> <it> {new}<instead>",
        "<ask><paint> <it> {new}",
        "<ask><paint> it all {new}",
        "<ask><paint> this in {new}",
        "<ask><change> <it> to {new}",
        "<ask><change> the colour to {new}",
        "<ask><set> the colour to {new}",
        "<ask><change> {was} to {new}",
        "<ask><replace> {was} <by> {new}",
        "<ask><use> {new}<instead>",
        "<ask><use> {a_new} one",
        "<want> {new}",
        "<want> {a_new} one",
        "<want> it {new}",
        "<want> {a_new} <version>",
        "<please><it> <should> {new}",
        "<please>{new} <rather> {was}",
        "<please>{a_new} <version><instead>",
        "<old>{new}",
        "<old><want> {new}",
        "<ask>show {a_new} <version>",
        "<please>from {was} to {new}",
        "<please>in {new}<instead>",
        "<please>{new}<instead>",
    ),
    "hair": (
        "<ask><give> <whom> {new}<instead>",
        "<ask><make> <whom> have {new}",
        "<ask><change> <the>hair to {new}",
        "<ask><change> {was} to {new}",
        "<ask><change> to {new}",
        "<ask><set> <the>hair to {new}",
        "<ask><replace> {was} <by> {new}",
        "<ask><replace> the {was} <by> {new}",
        "<ask>show <whom> with {new}",
        "<ask>let <whom> have {new}",
        "<ask><use> {new}<instead>",
        "<want> {new}<instead>",
        "<want> <whom> with {new}",
        "<whom> <get> {new}",
        "<the>hair <should> {new}",
        "<please><whom> with {new}",
        "<please>with {new}<instead>",
        "<please>with {new} <rather> {was}",
        "<old>{new}",
        "<old><want> {new}",
        "<please>{new} <rather> {was}",
        "<ask>add {new}",
        "<please>{new}<instead>",
    ),
    "": (
        "<ask><make> <it> {a_new}<instead>",
        "<ask><change> <it> into {a_new}",
        "<ask><change> <it> to {new}",
        "<ask><change> {was} to {new}",
        "<ask><change> the {was} into {a_new}",
        "<ask><replace> {was} <by> {new}",
        "<ask><replace> the {was} <by> {a_new}",
        "<ask><draw> {a_new}<instead>",
        "<ask><draw> {a_new} <rather> {was}",
        "<ask><use> {a_new}<instead>",
        "<ask>put {a_new} here<instead>",
        "<want> {a_new}<instead>",
        "<want> {new} <rather> {was}",
        "<please><it> <should> {a_new}",
        "<please>the {was} <should> {a_new}",
        "<ask>show {a_new}",
        "<old>{a_new}",
        "<old><want> {a_new}",
        "<please>{new} <rather> {was}",
        "<please>{new} and no {was}",
        "<please>from {was} to {new}",
        "<please>{a_new}<instead>",
        "<please>{new}<instead>",
    ),
}
"""Rules by name: ``<name>`` is replaced by an alternative of that rule, ``{word}`` by a word of the edit."""

UNSEEN_FORMS = [re.compile(re.sub(r"\\{\w+\\}", ".+", re.escape(form))) for forms in UNSEEN.values() for form in forms]
"""Patterns of the wordings that are excluded from training, for all attributes."""


def expand(text: str, generator: torch.Generator, rules: Mapping[str, tuple[str, ...]] = RULES) -> str:
    """Replace every ``<name>`` in a text, from the left, by a random alternative of its rule.

    ``<letters>`` is a random word, so that the order of two values shows which is new where no known word does.
    """

    def alternative(found: re.Match[str]) -> str:
        if found[1] == "letters":
            return random_word(generator)
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
