"""Instructions as pairs of prompts: "make it green" turns "noto red apple" into "noto green apple".

Two tables map patterns to functions: ``_FORMS`` of an instruction (make X Y, turn X into Y, replace X with Y, ...), and
``_VALUES`` that a thing can take. There is no dictionary: a word in no table of :mod:`.vocabulary` is classified by its
position in the instruction.
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
    find,
    locate,
    matches,
    move,
    normalise,
    phrase_pattern,
    set_adjective,
    set_alternative,
    set_noun,
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
    """Descriptions of an image and of its edit."""

    source: str
    target: str


def parse(instruction: str, source: str) -> Prompts:
    """Turn an instruction and a source prompt into source and target prompts.

    Raises InvalidParameter if the instruction is not understood, or names a thing that the source does not mention.
    """
    if not source.strip():
        raise InvalidParameter("the source prompt is empty: describe the image, for example 'a red apple'")
    if len(instruction) > _MAX_LENGTH:
        raise InvalidParameter(f"the instruction has {len(instruction)} characters; at most {_MAX_LENGTH} are read")
    words = re.sub(r'["“”\s]+', " ", instruction.replace("’", "'")).strip()
    words = re.sub(r"\b(?:three|3)[ -]d(?:imensional)?\b", "3d", words, flags=re.I)
    target = source
    for part in re.split(_SEPARATOR, re.sub(rf"^(?:{_POLITE})+|{_THANKS}$", "", words, flags=re.I), flags=re.I):
        result = _apply_instruction(target, re.sub(rf"^(?:{_POLITE})+", "", part, flags=re.I))
        if result is None:
            raise InvalidParameter(f"the instruction {instruction!r} is not understood: say for example {_EXAMPLES}")
        target = result
    return Prompts(source, target)


_MAX_LENGTH = 1000
_EXAMPLES = (
    "'make the apple green', 'turn the dog into a cat', 'replace the dog with a cat', 'add a hat', 'remove the hat', "
    "'give her red hair', 'change the skin tone to dark', 'draw it flat' or 'as a watercolour painting'"
)
_POLITE = (
    r"(?:please|kindly|hey|ok(?:ay)?|now|just|then|also|(?:can|could|would|will) (?:you|we)|try to|"
    r"i(?:'d| would)? (?:want|like) (?:you )?to(?: see)?|let's|go ahead and),? "
)
"""Words before an instruction, which are ignored."""
_THANKS = r"(?:[ ,!.?]* (?:please|thanks|thank you|for me|now|instead|if you can|if possible))*[.!? ]*"
_SEPARATOR = (
    r"(?:[.;,]|,? (?:and|then|and then|also)) (?=(?:then )?(?:make|turn|change|add|remove|replace|give)\b)|[.;] "
)
"""Separator of two instructions."""


def _apply_instruction(source: str, words: str) -> str | None:
    """Apply one instruction to a prompt; None if it has no known form."""
    for pattern, form in _FORMS:
        match = re.fullmatch(pattern, words, re.I)
        target = form(source, *match.groups()) if match else None
        if target is not None:
            return target
    return None


# Values of a thing.


def _clean_value(value: str) -> str:
    """Return a value without filler words, in the vocabulary of prompts."""
    value = re.sub(rf"^(?:{_FILLER})+", "", value, flags=re.I)
    return SYNONYMS.get(re.sub(rf"\b{DETERMINER} ", "", normalise(value)), value)


_FILLER = r"(?:(?:look|be|become|appear|seem|to be|to look)(?: like)?|to|into|as|like|in|very|completely|entirely|all) "


def _give_attribute(source: str, thing: str, new: str) -> str:
    """Give a thing an attribute or a possession."""
    target = _apply_rows(_ATTRIBUTES, source, thing, _clean_value(new))
    return attach(source, thing, new) if target is None else target


def _remove(source: str, thing: str, _: str = "") -> str:
    """Remove a thing, or the hair or skin tone of one."""
    thing = thing if _is_mentioned(source, thing) else re.sub(r" (?:from|off|of|on) .+$", "", thing)
    owner, phrase = _resolve_aspect(thing, "no")
    if phrase == "no hair":
        return set_hair(source, owner, "bald")
    return set_tone(source, owner, "no") if phrase == "no skin" else cut(source, locate(source, thing))


_Rows = tuple[tuple[str, Callable[[str, str, str], str]], ...]
_ATTRIBUTES: _Rows = (
    (rf"(?:the |an? )?({STYLES})(?: {MEDIUM}| style| look| design| version)*", set_style),
    (rf"((?:{DETERMINER} )?{WORDS}) background", set_background),
    (rf"((?:the|an?) style of .+|(?:an? |the )?{WORDS} (?:style|look))", set_look),
    (rf"(?:at |by |in (?:the )?)?({SCENE})", set_scene),
    (rf"(?:an? )?(bald|blonde?|{WORDS} hair(?:ed)?)", set_hair),
    (rf"(?:an? )?({WORDS}) skin(?:ned)?(?: tone| colou?r)?", set_tone),
    (rf"(?:an? )?({EXPRESSION})(?: expression)?", set_alternative),
    (rf"(?:an? )?({COLOUR}|{WORDS}) colou?r", set_adjective),
)
"""Attributes that a thing can be given; the group is the value."""
_VALUES: _Rows = (
    (r"wear(?:ing)? (.+)", partial(attach, joint="wearing")),
    (r"hold(?:ing)? (.+)", partial(attach, joint="holding")),
    (r"(?:with|have|has|having) (.+)", _give_attribute),
    (r"without (.+)", lambda source, _, thing: _remove(source, thing)),
    *_ATTRIBUTES,
    (rf"((?:an? |the )?(?:{WORDS} )?{MEDIUM}(?: by .+)?)", set_medium),
    (rf"({COLOUR}|{SIZE}|{AGE})", set_adjective),
    (rf"(?:an? )?({WORDS}) ones?", set_adjective),
    (rf"(?:(?:point|fac)(?:e|ing)? )?(?:the )?({DIRECTION})(?:wards?)?", set_alternative),
    (rf"((?:an? )?(?:{'|'.join((*GENDERS, PROFESSION, CLOCK))}))", set_alternative),
)
"""Values that a thing can be made to have; the group is the value."""


def _apply_rows(rows: _Rows, source: str, thing: str, phrase: str) -> str | None:
    """Change a thing by the first row whose pattern matches the phrase; None if there is none."""
    for pattern, function in rows:
        match = re.fullmatch(pattern, normalise(phrase))
        if match:
            return function(source, thing, phrase[slice(*match.span(1))])
    return None


def _is_value(value: str) -> bool:
    """Return whether a text is a value in the tables."""
    return any(matches(pattern, _clean_value(value)) for pattern, _ in _VALUES)


def _resolve_aspect(thing: str, value: str) -> tuple[str, str]:
    """Move a property from the thing to the value: "her hair", "red" becomes "her", "red hair"."""
    for noun, pattern in ASPECTS.items():
        match = re.fullmatch(pattern, thing, re.I)
        if match:
            return match["of"] or match["owner"] or "it", value if value.endswith(noun) else f"{value} {noun}"
    return thing, value


def _make_into(source: str, thing: str, value: str, *, noun: bool = False) -> str | None:
    """Give a thing a value; ``noun`` if an unknown word is a noun. None if the value is not understood."""
    thing, value = _resolve_aspect(thing, value)
    phrase = _clean_value(value)
    target = _apply_rows(_VALUES, source, thing, phrase)
    if target is not None:
        return target
    if matches(rf"(?:{PLACE}|{DOING}) .+", value):
        return move(source, thing, value)
    if noun or matches(rf"(?:an?|the|{COUNT}) .+", phrase):
        return set_noun(source, thing, phrase)
    if matches(r"\w+ and \w+", phrase):
        return set_adjective(set_adjective(source, thing, phrase.split()[0]), thing, phrase.split()[-1])
    return set_adjective(source, thing, phrase) if matches(r"(?:\w+ly )?\w+", phrase) else None


# The forms of an instruction. A function returns None if the instruction has another form after all.


def _is_mentioned(source: str, thing: str) -> bool:
    """Return whether the source mentions a thing, or the thing is the whole or a property."""
    if matches(WHOLE, thing) or _resolve_aspect(thing, "") != (thing, ""):
        return True
    is_attribute = matches(f"(?:{DETERMINER} )?(?:{DETERMINER}|{ADJECTIVE}|{TONE})", thing)
    return not is_attribute and find(source, phrase_pattern(thing)) is not None


def _split_thing(source: str, words: str, separator: str = " ") -> tuple[str, str] | None:
    """Split words into a thing and its value: after the longest thing that the source mentions."""
    pairs = [(words[: at.start()], words[at.end() :]) for at in re.finditer(separator, words, re.I)]
    candidates = [pair for pair in pairs if _is_mentioned(source, pair[0])]
    clear = [pair for pair in candidates or pairs if _is_value(pair[1]) or matches(rf"(?:an?|{COUNT}) .+", pair[1])]
    if candidates:
        return (clear or candidates)[-1]
    fallback = [pair for pair in pairs if separator != " " or matches(rf"(?!an? ){DETERMINER} .+", pair[0])]
    return clear[0] if clear else fallback[-1] if fallback else None


def _replace(source: str, words: str) -> str | None:
    pair = _split_thing(source, words, " (?:with|by|for|to) ")
    return _replace_by(source, pair[1], pair[0]) if pair else None


def _use_instead(source: str, words: str, thing: str) -> str | None:
    target = _apply_instruction(source, words)
    new = re.sub("^(?:use|have|put|show|draw) ", "", words, flags=re.I)
    return _replace_by(source, new, thing) if target is None else target


def _replace_by(source: str, new: str, thing: str) -> str | None:
    if matches(IT, thing) or matches(".+ ones?", new) or _resolve_aspect(thing, "") != (thing, ""):
        return _make_into(source, thing, new, noun=True)
    return set_noun(source, thing, new)


def _turn(source: str, words: str) -> str | None:
    pair = _split_thing(source, words, "(?:^| )(?:in)?to |^(?:as|in|like) ")
    if pair is None:
        return None
    thing, *previous = re.split(r" ?\bfrom ", pair[0], maxsplit=1, flags=re.I)
    return _make_into(source, thing or "".join(previous) or "it", pair[1], noun=True)


def _make(source: str, words: str) -> str | None:
    pair = _split_thing(source, words)
    return _make_into(source, *pair) if pair else None


def _give(source: str, words: str) -> str | None:
    match = re.fullmatch("(.+) to (.+)", words, re.I)
    pair = (match[2], match[1]) if match else _split_thing(source, words)
    return _give_attribute(source, *pair) if pair else None


def _add(source: str, new: str) -> str | None:
    move_match = re.fullmatch(rf"((?:the|his|her|its) .+?) ({PLACE} .+)", new, re.I)
    if move_match and _is_mentioned(source, move_match[1]):
        return move(source, move_match[1], move_match[2])
    add_match = re.fullmatch(r"(.+?)(?<! next) (?:to|onto|on) (.+?)(?:'s \w+)?", new, re.I)
    if add_match and not re.match("(?:his|her|its|their|top) ", add_match[2], re.I):
        return _give_attribute(source, add_match[2], add_match[1])
    return _give_attribute(source, "", new)


def _state(source: str, value: str) -> str | None:
    return _make_into(source, "", value) if _is_value(value) else None


_VERBS = (
    "make|turn|change|transform|convert|alter|set|switch|adjust|edit|modify|paint|repaint|colou?r|recolou?r|dye|tint|draw|"
    "redraw|render|show(?: me)?|see|depict|point|let|have|put|i want|i(?:'d| would) like"
)
_FORMS: tuple[tuple[str, Callable[..., str | None]], ...] = (
    (r"(.+?) (?:instead|in place) of (.+)", _use_instead),
    (r"substitute (.+?) for (.+)", _replace_by),
    (r"(?:replace|substitute|exchange|swap|switch)(?: out)? (.+ (?:with|by|for) .+)", _replace),
    (r"(?:change|trade) (.+ for .+)", _replace),
    (r"take (.+?) (?:away|off|out)(?: .+)?", _remove),
    (r"(?:remove|delete|erase|clear|lose|get rid of|take (?:away|off|out)|without|no) (.+?)(?: away| off)?", _remove),
    (r"(?:add|include|insert|attach|place|put(?! (?:it|him|her|them) )) (.+)", _add),
    (r"(?:draw|paint) ((?:an?|some) .+ (?:on|onto|to) .+)", _add),
    (r"give (.+)", _give),
    (rf"(?:{_VERBS}) (.+)", _turn),
    (rf"(?:{_VERBS}) (.+)", _make),
    (r"(.+) (?:should|must|needs to|has to|ought to) (.+)", _make_into),
    (r"(?:can|could) (.+?) (be .+)", _make_into),
    (rf"(?:use |apply )?(?!(?:{_VERBS}|remove|give|add) )(.+)", _state),
)
"""Each pattern with its function, which takes the source and the groups."""
