"""What an instruction asks for, as two prompts: "make it green" on "noto red apple" asks for "noto green apple".

Two tables of patterns and what they do: the :data:`FORMS` of an instruction (make X Y, turn X into Y, replace X with
Y, ...), and the :data:`VALUES` that can be said of a thing. A word in no table of :mod:`.words` is taken for what its
place in the instruction makes it: there is no dictionary.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from editkit import InvalidParameter

from .attributes import set_background, set_hair, set_look, set_medium, set_scene, set_style, set_tone
from .prompt_rewriting import (
    attach,
    cut,
    describe,
    exchange,
    find,
    fits,
    literally,
    move,
    plain,
    position,
    put,
)
from .vocabulary import (
    ADJECTIVE,
    AGE,
    ASPECTS,
    CLOCK,
    COLOUR,
    COUNT,
    DETERMINER,
    DIRECTION,
    DOING,
    EXPRESSION,
    GENDERS,
    IT,
    MEDIUM,
    PLACE,
    PROFESSION,
    SCENE,
    SIZE,
    STYLES,
    SYNONYMS,
    TONE,
    WHOLE,
    WORDS,
)


class Prompts(NamedTuple):
    """What a picture shows, and what it should show."""

    source: str
    target: str


def parse(instruction: str, source: str) -> Prompts:
    """Turn an instruction, and the prompt that says what a picture shows, into source and target prompts.

    Raises InvalidParameter where the instruction is not understood, or names a thing that the source does not mention.
    """
    if not source.strip():
        raise InvalidParameter("the source prompt is empty: say what the picture shows, such as 'a red apple'")
    if len(instruction) > LONGEST:
        raise InvalidParameter(f"the instruction has {len(instruction)} characters; at most {LONGEST} are read")
    words = re.sub(r'["“”\s]+', " ", instruction.replace("’", "'")).strip()
    words = re.sub(r"\b(?:three|3)[ -]d(?:imensional)?\b", "3d", words, flags=re.I)
    target = source
    for part in re.split(NEXT, re.sub(rf"^(?:{POLITE})+|{THANKS}$", "", words, flags=re.I), flags=re.I):
        changed = change(target, re.sub(rf"^(?:{POLITE})+", "", part, flags=re.I))
        if changed is None:
            raise InvalidParameter(f"cannot tell what {instruction!r} asks for: say for example {EXAMPLES}")
        target = changed
    return Prompts(source, target)


LONGEST = 1000
EXAMPLES = (
    "'make the apple green', 'turn the dog into a cat', 'replace the dog with a cat', 'add a hat', 'remove the hat', "
    "'give her red hair', 'change the skin tone to dark', 'draw it flat' or 'as a watercolour painting'"
)
POLITE = (
    r"(?:please|kindly|hey|ok(?:ay)?|now|just|then|also|(?:can|could|would|will) (?:you|we)|try to|"
    r"i(?:'d| would)? (?:want|like) (?:you )?to(?: see)?|let's|go ahead and),? "
)
"""What an instruction may begin with."""
THANKS = r"(?:[ ,!.?]* (?:please|thanks|thank you|for me|now|instead|if you can|if possible))*[.!? ]*"
NEXT = r"(?:[.;,]|,? (?:and|then|and then|also)) (?=(?:then )?(?:make|turn|change|add|remove|replace|give)\b)|[.;] "
"""What stands between two instructions."""


def change(source: str, words: str) -> str | None:
    """Do what one instruction asks; None where it is of no known form."""
    for pattern, form in FORMS:
        found = re.fullmatch(pattern, words, re.I)
        target = form(source, *found.groups()) if found else None
        if target is not None:
            return target
    return None


# What is said of a thing.


def tidy(value: str) -> str:
    """What is said, without the words around it, and in the words of prompts."""
    value = re.sub(rf"^(?:{FILLER})+", "", value, flags=re.I)
    return SYNONYMS.get(re.sub(rf"\b{DETERMINER} ", "", plain(value)), value)


FILLER = r"(?:(?:look|be|become|appear|seem|to be|to look)(?: like)?|to|into|as|like|in|very|completely|entirely|all) "


def endow(source: str, thing: str, new: str) -> str:
    """Give a thing an attribute, or something to have."""
    target = apply(ATTRIBUTES, source, thing, tidy(new))
    return attach(source, thing, new) if target is None else target


def remove(source: str, thing: str, _: str = "") -> str:
    thing = thing if is_mentioned(source, thing) else re.sub(r" (?:from|off|of|on) .+$", "", thing)
    owner, said = unfold(thing, "no")
    if said == "no hair":
        return set_hair(source, owner, "bald")
    return set_tone(source, owner, "no") if said == "no skin" else cut(source, position(source, thing))


Rows = tuple[tuple[str, Callable[[str, str, str], str]], ...]
ATTRIBUTES: Rows = (
    (rf"(?:the |an? )?({STYLES})(?: {MEDIUM}| style| look| design| version)*", set_style),
    (rf"((?:{DETERMINER} )?{WORDS}) background", set_background),
    (rf"((?:the|an?) style of .+|(?:an? |the )?{WORDS} (?:style|look))", set_look),
    (rf"(?:at |by |in (?:the )?)?({SCENE})", set_scene),
    (rf"(?:an? )?(bald|blonde?|{WORDS} hair(?:ed)?)", set_hair),
    (rf"(?:an? )?({WORDS}) skin(?:ned)?(?: tone| colou?r)?", set_tone),
    (rf"(?:an? )?({EXPRESSION})(?: expression)?", exchange),
    (rf"(?:an? )?({COLOUR}|{WORDS}) colou?r", describe),
)
"""What a thing can be given; the group is the value."""
VALUES: Rows = (
    (r"wear(?:ing)? (.+)", partial(attach, joint="wearing")),
    (r"hold(?:ing)? (.+)", partial(attach, joint="holding")),
    (r"(?:with|have|has|having) (.+)", endow),
    (r"without (.+)", lambda source, _, thing: remove(source, thing)),
    *ATTRIBUTES,
    (rf"((?:an? |the )?(?:{WORDS} )?{MEDIUM}(?: by .+)?)", set_medium),
    (rf"({COLOUR}|{SIZE}|{AGE})", describe),
    (rf"(?:an? )?({WORDS}) ones?", describe),
    (rf"(?:(?:point|fac)(?:e|ing)? )?(?:the )?({DIRECTION})(?:wards?)?", exchange),
    (rf"((?:an? )?(?:{'|'.join((*GENDERS, PROFESSION, CLOCK))}))", exchange),
)
"""What a thing can be made."""


def apply(rows: Rows, source: str, thing: str, said: str) -> str | None:
    """Change a thing by the first row that fits what is said of it; None where none does."""
    for pattern, how in rows:
        found = re.fullmatch(pattern, plain(said))
        if found:
            return how(source, thing, said[slice(*found.span(1))])
    return None


def is_value(value: str) -> bool:
    return any(fits(pattern, tidy(value)) for pattern, _ in VALUES)


def unfold(thing: str, value: str) -> tuple[str, str]:
    """Take whose property it is for the thing: "her hair", "red" becomes "her", "red hair"."""
    for noun, pattern in ASPECTS.items():
        found = re.fullmatch(pattern, thing, re.I)
        if found:
            return found["of"] or found["owner"] or "it", value if value.endswith(noun) else f"{value} {noun}"
    return thing, value


def become(source: str, thing: str, value: str, *, noun: bool = False) -> str | None:
    """Make a thing what is said of it; ``noun`` where an unknown word is one. None where it cannot be told."""
    thing, value = unfold(thing, value)
    said = tidy(value)
    target = apply(VALUES, source, thing, said)
    if target is not None:
        return target
    if fits(rf"(?:{PLACE}|{DOING}) .+", value):
        return move(source, thing, value)
    if noun or fits(rf"(?:an?|the|{COUNT}) .+", said):
        return put(source, thing, said)
    if fits(r"\w+ and \w+", said):
        return describe(describe(source, thing, said.split()[0]), thing, said.split()[-1])
    return describe(source, thing, said) if fits(r"(?:\w+ly )?\w+", said) else None


# The forms of an instruction, and what they do: None where it is another form after all.


def is_mentioned(source: str, thing: str) -> bool:
    if fits(WHOLE, thing) or unfold(thing, "") != (thing, ""):
        return True
    described = fits(f"(?:{DETERMINER} )?(?:{DETERMINER}|{ADJECTIVE}|{TONE})", thing)
    return not described and find(source, literally(thing)) is not None


def split(source: str, words: str, separator: str = " ") -> tuple[str, str] | None:
    """Where a thing ends and what is said of it begins: behind the longest thing that the source mentions."""
    pairs = [(words[: at.start()], words[at.end() :]) for at in re.finditer(separator, words, re.I)]
    mentioned = [pair for pair in pairs if is_mentioned(source, pair[0])]
    clear = [pair for pair in mentioned or pairs if is_value(pair[1]) or fits(rf"(?:an?|{COUNT}) .+", pair[1])]
    if mentioned:
        return (clear or mentioned)[-1]
    named = [pair for pair in pairs if separator != " " or fits(rf"(?!an? ){DETERMINER} .+", pair[0])]
    return clear[0] if clear else named[-1] if named else None


def replace(source: str, words: str) -> str | None:
    pair = split(source, words, " (?:with|by|for|to) ")
    return replace_by(source, pair[1], pair[0]) if pair else None


def instead(source: str, words: str, thing: str) -> str | None:
    target = change(source, words)
    new = re.sub("^(?:use|have|put|show|draw) ", "", words, flags=re.I)
    return replace_by(source, new, thing) if target is None else target


def replace_by(source: str, new: str, thing: str) -> str | None:
    if fits(IT, thing) or fits(".+ ones?", new) or unfold(thing, "") != (thing, ""):
        return become(source, thing, new, noun=True)
    return put(source, thing, new)


def turn(source: str, words: str) -> str | None:
    pair = split(source, words, "(?:^| )(?:in)?to |^(?:as|in|like) ")
    if pair is None:
        return None
    thing, *was = re.split(r" ?\bfrom ", pair[0], maxsplit=1, flags=re.I)
    return become(source, thing or "".join(was) or "it", pair[1], noun=True)


def make(source: str, words: str) -> str | None:
    pair = split(source, words)
    return become(source, *pair) if pair else None


def give(source: str, words: str) -> str | None:
    given = re.fullmatch("(.+) to (.+)", words, re.I)
    pair = (given[2], given[1]) if given else split(source, words)
    return endow(source, *pair) if pair else None


def add(source: str, new: str) -> str | None:
    moved = re.fullmatch(rf"((?:the|his|her|its) .+?) ({PLACE} .+)", new, re.I)
    if moved and is_mentioned(source, moved[1]):
        return move(source, moved[1], moved[2])
    placed = re.fullmatch(r"(.+?)(?<! next) (?:to|onto|on) (.+?)(?:'s \w+)?", new, re.I)
    if placed and not re.match("(?:his|her|its|their|top) ", placed[2], re.I):
        return endow(source, placed[2], placed[1])
    return endow(source, "", new)


def say(source: str, value: str) -> str | None:
    return become(source, "", value) if is_value(value) else None


VERBS = (
    "make|turn|change|transform|convert|alter|set|switch|adjust|edit|modify|paint|repaint|colou?r|recolou?r|dye|tint|draw|"
    "redraw|render|show(?: me)?|see|depict|point|let|have|put|i want|i(?:'d| would) like"
)
FORMS: tuple[tuple[str, Callable[..., str | None]], ...] = (
    (r"(.+?) (?:instead|in place) of (.+)", instead),
    (r"substitute (.+?) for (.+)", replace_by),
    (r"(?:replace|substitute|exchange|swap|switch)(?: out)? (.+ (?:with|by|for) .+)", replace),
    (r"(?:change|trade) (.+ for .+)", replace),
    (r"take (.+?) (?:away|off|out)(?: .+)?", remove),
    (r"(?:remove|delete|erase|clear|lose|get rid of|take (?:away|off|out)|without|no) (.+?)(?: away| off)?", remove),
    (r"(?:add|include|insert|attach|place|put(?! (?:it|him|her|them) )) (.+)", add),
    (r"(?:draw|paint) ((?:an?|some) .+ (?:on|onto|to) .+)", add),
    (r"give (.+)", give),
    (rf"(?:{VERBS}) (.+)", turn),
    (rf"(?:{VERBS}) (.+)", make),
    (r"(.+) (?:should|must|needs to|has to|ought to) (.+)", become),
    (r"(?:can|could) (.+?) (be .+)", become),
    (rf"(?:use |apply )?(?!(?:{VERBS}|remove|give|add) )(.+)", say),
)
"""The groups are what the form is about."""
