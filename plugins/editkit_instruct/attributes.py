"""Setting the attributes that a prompt states in one place: hair, skin, style, medium, scene, background.

Every function takes the source prompt, a thing in it and a value, and returns the target prompt.
"""

from __future__ import annotations

import re

from .prompt_rewriting import (
    add_article,
    attach,
    cut,
    find,
    insert,
    insertion_point,
    is_caption,
    locate,
    match_end,
    matches,
    normalise,
    phrase_pattern,
    set_adjective,
    set_noun,
    splice,
    strip_determiners,
)
from .vocabulary import (
    COLOUR,
    COUNT,
    DETERMINER,
    FRAME,
    HAIR,
    HAIR_KIND,
    LENGTH,
    MEDIUM,
    SCENES,
    STYLES,
    TONE,
    TONES,
    WHOLE,
)


def _set_phrase(source: str, phrase: str, pattern: str) -> str:
    """Replace the words that match a pattern by a phrase, or insert it at the end."""
    place = find(source, pattern)
    return splice(source, place, phrase) if place else insert(source, insertion_point(source, phrase), phrase)


def set_hair(source: str, thing: str, hair: str) -> str:
    """Set the hair of a thing: a colour or kind of hair, or bald."""
    locate(source, thing)
    kind, old = re.sub(r" ?hair(?:ed)?$", "", normalise(hair)), find(source, HAIR)
    new, previous = "bald" if kind == "bald" else f"{kind} hair", normalise(source[slice(*old)]) if old else ""
    if old and "hair" in previous and "hair" in new:
        return set_adjective(source, "hair", kind, (HAIR_KIND, LENGTH))
    if old and (is_caption(source) or previous == new):
        return splice(source, old, new)
    if old:
        source = splice(source, (old[0], old[1] + 1), "") if previous == "bald" else cut(source, old)
    return attach(source, thing, new) if is_caption(source) or new != "bald" else set_adjective(source, thing, new)


def set_tone(source: str, thing: str, tone: str) -> str:
    """Set the skin tone of a thing; "no", "default" and "neutral" remove it."""
    locate(source, thing)
    tone = normalise(tone)
    if tone in ("no", "default", "neutral"):
        return re.sub(rf" {TONE} skin tone", "", source)
    places = [match.span() for match in re.finditer(rf"\b{TONE}(?= skin\b)", normalise(source))]
    for place in reversed(places):
        source = splice(source, place, _shade_step(normalise(source[slice(*place)]), tone))
    if places:
        return source
    tone = _shade_step("", tone)
    phrase = f"{tone} skin tone"
    if is_caption(source):
        return insert(source, insertion_point(source, phrase), phrase)
    return attach(source, thing, f"{tone} skin")


def _shade_step(previous: str, tone: str) -> str:
    """Return the new tone; "lighter" and "darker" are one step from the previous tone, if there is one."""
    if tone not in ("lighter", "darker"):
        return tone
    if previous not in TONES:
        return tone.removesuffix("er")
    at = TONES.index(previous) + (1 if tone == "darker" else -1)
    return TONES[min(max(at, 0), len(TONES) - 1)]


def set_style(source: str, _: str, style: str) -> str:
    """Set the style of emoji artwork."""
    place = find(source, rf"^{STYLES}(?= )|{STYLES}(?= (?:style|{MEDIUM}))")
    return splice(source, place, normalise(style)) if place else f"{source}, {normalise(style)} style"


def set_medium(source: str, thing: str, medium: str) -> str:
    """Set the medium: "a photo of a dog" becomes "a painting of a dog"."""
    if not matches(WHOLE, thing):
        return set_noun(source, thing, medium)
    end = match_end(source, FRAME)
    if find(source, phrase_pattern(medium), 0, end):
        return source
    content = re.sub(r"^(?:An?|The)\b", lambda article: article[0].lower(), source[end:])
    content = add_article(content) if is_caption(source) and not content.endswith("s") else content
    name, *by = re.split("(?= by )", strip_determiners(medium), maxsplit=1, flags=re.I)
    return f"{name if name.lower().endswith('art') else add_article(name)} of {content}{''.join(by)}"


def set_look(source: str, _: str, look: str) -> str:
    """Set a style that is in no table."""
    phrase = f", in {look}" if matches("(?:the|an?) style of .+", look) else f", {strip_determiners(look)}"
    other = re.search(r",[^,]*\bstyle\b[^,]*$|$", normalise(source))
    return splice(source, other.span(), phrase) if other else source


def set_scene(source: str, _: str, scene: str) -> str:
    """Set time of day, season or weather."""
    scenes = next(scenes for scenes in SCENES if normalise(scene) in scenes)
    return _set_phrase(source, scenes[normalise(scene)], "|".join(scenes.values()))


def set_background(source: str, _: str, background: str) -> str:
    """Set the background: a colour, or things in it."""
    name = strip_determiners(background)
    has_things = matches(rf"(?:{DETERMINER}|{COUNT}) .+|.+s", background) and not matches(COLOUR, name)
    phrase = f"with {background} in the background" if has_things else f"on {add_article(name)} background"
    return _set_phrase(source, phrase, r"(?:on|against) (?:\w+ )+?background|with (?:(?!with)\w+ )+?in the background")
