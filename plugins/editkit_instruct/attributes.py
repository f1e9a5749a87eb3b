"""Saying what a prompt has one place for: hair, skin, style, medium, scene, background."""

from __future__ import annotations

import re

from .prompt_rewriting import (
    attach,
    bare,
    behind,
    cut,
    describe,
    end_of,
    find,
    fits,
    insert,
    is_caption,
    literally,
    plain,
    position,
    put,
    splice,
    with_article,
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


def settle(source: str, said: str, pattern: str) -> str:
    """Say something at the end, or in the place of what fits a pattern."""
    place = find(source, pattern)
    return splice(source, place, said) if place else insert(source, end_of(source, said), said)


def set_hair(source: str, thing: str, hair: str) -> str:
    position(source, thing)
    kind, old = re.sub(r" ?hair(?:ed)?$", "", plain(hair)), find(source, HAIR)
    new, was = "bald" if kind == "bald" else f"{kind} hair", plain(source[slice(*old)]) if old else ""
    if old and "hair" in was and "hair" in new:
        return describe(source, "hair", kind, (HAIR_KIND, LENGTH))
    if old and (is_caption(source) or was == new):
        return splice(source, old, new)
    if old:
        source = splice(source, (old[0], old[1] + 1), "") if was == "bald" else cut(source, old)
    return attach(source, thing, new) if is_caption(source) or new != "bald" else describe(source, thing, new)


def set_tone(source: str, thing: str, tone: str) -> str:
    position(source, thing)
    tone = plain(tone)
    if tone in ("no", "default", "neutral"):
        return re.sub(rf" {TONE} skin tone", "", source)
    places = [found.span() for found in re.finditer(rf"\b{TONE}(?= skin\b)", plain(source))]
    for place in reversed(places):
        source = splice(source, place, _shade_step(plain(source[slice(*place)]), tone))
    if places:
        return source
    tone = _shade_step("", tone)
    said = f"{tone} skin tone"
    return insert(source, end_of(source, said), said) if is_caption(source) else attach(source, thing, f"{tone} skin")


def _shade_step(was: str, tone: str) -> str:
    """The tone that is asked for; "lighter" and "darker" are a step from the one that was, where there was one."""
    if tone not in ("lighter", "darker"):
        return tone
    if was not in TONES:
        return tone.removesuffix("er")
    at = TONES.index(was) + (1 if tone == "darker" else -1)
    return TONES[min(max(at, 0), len(TONES) - 1)]


def set_style(source: str, _: str, style: str) -> str:
    place = find(source, rf"^{STYLES}(?= )|{STYLES}(?= (?:style|{MEDIUM}))")
    return splice(source, place, plain(style)) if place else f"{source}, {plain(style)} style"


def set_medium(source: str, thing: str, medium: str) -> str:
    """What the picture is: "a photo of a dog" becomes "a painting of a dog"."""
    if not fits(WHOLE, thing):
        return put(source, thing, medium)
    end = behind(source, FRAME)
    if find(source, literally(medium), 0, end):
        return source
    shown = re.sub(r"^(?:An?|The)\b", lambda article: article[0].lower(), source[end:])
    shown = with_article(shown) if is_caption(source) and not shown.endswith("s") else shown
    name, *by = re.split("(?= by )", bare(medium), maxsplit=1, flags=re.I)
    return f"{name if name.lower().endswith('art') else with_article(name)} of {shown}{''.join(by)}"


def set_look(source: str, _: str, look: str) -> str:
    """A style that is in no table."""
    said = f", in {look}" if fits("(?:the|an?) style of .+", look) else f", {bare(look)}"
    other = re.search(r",[^,]*\bstyle\b[^,]*$|$", plain(source))
    return splice(source, other.span(), said) if other else source


def set_scene(source: str, _: str, scene: str) -> str:
    scenes = next(scenes for scenes in SCENES if plain(scene) in scenes)
    return settle(source, scenes[plain(scene)], "|".join(scenes.values()))


def set_background(source: str, _: str, background: str) -> str:
    shows = fits(rf"(?:{DETERMINER}|{COUNT}) .+|.+s", background) and not fits(COLOUR, bare(background))
    said = f"with {background} in the background" if shows else f"on {with_article(bare(background))} background"
    return settle(source, said, r"(?:on|against) (?:\w+ )+?background|with (?:(?!with)\w+ )+?in the background")
