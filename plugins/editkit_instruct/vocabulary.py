"""Vocabulary of instructions and prompts: small tables of words, as patterns over lower-case text."""

from __future__ import annotations

import re


def one_of(words: str) -> str:
    """Return a pattern for any of the comma-separated phrases; longer ones take precedence."""
    return f"(?:{'|'.join(sorted(re.split(', *', words), key=len, reverse=True))})"


# Attributes of an image. The words of one table exclude one another: a new one replaces the old one.

STYLES = one_of("gradient, flat, noto, 3d")
"""Styles of the bundled model: the first word of its captions."""
SHADE = one_of("light, dark, bright, pale, deep, neon, pastel, navy, sky, royal, lime, olive, hot")
HUE = f"(?:{SHADE} )?" + one_of(
    "red, orange, yellow, green, blue, purple, violet, pink, brown, black, white, grey, gold, golden, silver, "
    "beige, turquoise, teal, cyan, magenta, crimson, scarlet, maroon, navy, lime, ivory, cream, indigo, lavender, "
    "rainbow"
)
COLOUR = rf"{HUE}(?: and {HUE})*"
SIZE = one_of("tiny, little, small, big, large, huge, giant, enormous")
AGE = one_of("young, old, elderly")
LENGTH = one_of("long, short")
TONES = ("light", "medium light", "medium", "medium dark", "dark")
TONE = one_of(", ".join((*TONES, "fair", "pale")))
HAIR_KIND = f"(?:{COLOUR}|{one_of('blonde, blond, ginger, auburn, curly, straight, wavy, frizzy')})"
HAIR = rf"(?:bald|(?:(?:{HAIR_KIND}|{LENGTH}|messy|spiky) )*hair)"
TRAIT = rf"(?:{HAIR}|beard)"
MOOD = one_of(
    "happy, sad, angry, sleepy, surprised, scared, tired, worried, confused, neutral, bored, smiling, grinning, "
    "laughing, loudly crying, crying, slightly frowning, frowning, slightly smiling, winking, kissing, pouting, "
    "sleeping, smirking, weary, astonished, disappointed, relieved, fearful, expressionless, beaming, drooling, "
    "yawning, screaming"
)
GESTURE = one_of("bowing, facepalming, gesturing no, gesturing ok, raising hand, shrugging, tipping hand")
EXPRESSION = f"(?:{MOOD}|{GESTURE})"
DIRECTION = one_of("left, right, up, down")
CLOCK = one_of("one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve") + " (?:o clock|thirty)"
GENDERS = (
    one_of("man, woman, person"),
    one_of("men, women, people"),
    one_of("boy, girl, child"),
    one_of("prince, princess"),
    one_of("old man, old woman, older person"),
)
PROFESSION = one_of(
    "artist, astronaut, construction worker, cook, chef, detective, doctor, factory worker, farmer, firefighter, "
    "guard, health worker, judge, mechanic, nurse, office worker, pilot, police officer, scientist, singer, "
    "soldier, student, teacher, technologist, ninja, superhero, supervillain, mage, elf, fairy, vampire, zombie"
)
ALTERNATIVES = (*GENDERS, PROFESSION, EXPRESSION, DIRECTION, CLOCK)
"""Phrases that replace one another anywhere in a prompt; adjectives do so only before their noun."""
SCENES = (
    {"night": "at night", "day": "by day", "sunset": "at sunset", "sunrise": "at sunrise"},
    {"winter": "in winter", "summer": "in summer", "spring": "in spring", "autumn": "in autumn"},
    {"snow": "in the snow", "rain": "in the rain", "fog": "in the fog"},
)
"""Phrases for times, seasons and weather, which stand at the end of a prompt."""
SCENE = one_of(", ".join(scene for scenes in SCENES for scene in scenes))
MEDIUM = one_of(
    "photo, photograph, picture, image, emoji, icon, painting, watercolou?r, drawing, sketch, illustration, "
    "cartoon, comic, portrait, render, rendering, engraving, mosaic, sculpture, poster, anime, pixel art, line art, "
    "collage, close up, view, shot"
)
SYNONYMS = {
    "smile": "smiling", "grin": "grinning", "laugh": "laughing", "cry": "crying", "frown": "frowning",
    "pout": "pouting", "wink": "winking", "kiss": "kissing", "sleep": "sleeping", "smirk": "smirking",
    "yawn": "yawning", "bow": "bowing", "scream": "screaming", "facepalm": "facepalming", "shrug": "shrugging",
    "gesture no": "gesturing no", "gesture ok": "gesturing ok", "raise hand": "raising hand",
    "tip hand": "tipping hand", "male": "man", "female": "woman", "bigger": "big", "larger": "large",
    "smaller": "small", "older": "old", "younger": "young", "snowy": "snow", "rainy": "rain", "foggy": "fog",
    "fall": "autumn", "daytime": "day", "night time": "night",
}  # fmt: skip
"""Words of instructions, each with the word that prompts use for it."""

# Words that separate the parts of a prompt.

DETERMINER = r"(?:all|an?|the|this|that|these|those|my|your|his|her|its|their|our|\w+'s)"
COUNT = one_of("two, three, four, five, six, some, several, many, a few, a couple of, lots of")
PLACE = one_of(
    "in, on, at, by, near, under, over, above, behind, beside, between, inside, around, against, next to, in front of"
)
LINK = (
    f"(?:{PLACE}|{one_of('and, or, who, that, which, is, are, has, with, without, of, from, to, into, onto, for, as')})"
)
DOING = (
    r"(?!(?:building|painting|drawing|ceiling|evening|morning|wedding|clothing|earring)\b)"
    r"(?:\w*[aeiouy]\w*ing|dressed|covered|parked|seated|made|filled|surrounded)"
)
WORDS = rf"(?:(?!{LINK} |{DETERMINER} )[\w']+ ){{0,3}}(?!{LINK} |{DETERMINER} )[\w']+"
"""One to four words that name one thing."""
FRAME = rf"(?:{STYLES} |there (?:is|are) )?(?:(?:{DETERMINER} )?(?:(?!{LINK} )[\w']+ ){{0,4}}?{MEDIUM} of )?"
"""Beginning of a prompt before its subject: a style, "a photo of"."""
LEAD = f"{FRAME}(?:{DETERMINER} )?(?:{COUNT} )?"
ADJECTIVE = (
    f"(?:{COLOUR}|{SIZE}|{AGE}|{LENGTH}|{MOOD}|{DIRECTION}|fluffy|shiny|cute|beautiful|pretty|wooden|tall|round)"
)
BREAK = rf"\b(?:{DETERMINER}|{COUNT}|{LINK}|(?!{MOOD} ){DOING}) |[,.;:] "
"""Words after which a noun phrase begins."""
STOP = rf" (?:{TONE} skin|(?:{TRAIT}|{LINK}|{DOING})\b)|\s*[,.;:!?()]|\s*$"
"""Words before which a noun phrase ends."""

# References of an instruction to things in the image.

IT = "(?:it|its|this|that|he|him|his|she|her|they|them|their|)"
WHOLE = (
    rf"(?:{IT}|(?:(?:the|this|that) )?(?:(?:whole|entire) )?"
    "(?:picture|image|photo|scene|subject|figure|character|person|emoji|clock))"
)
OWNED = "(?:the )?(?:(?P<owner>.+?)(?:'s?)? )??{}(?: (?:of|in|on) (?P<of>.+))?"
ASPECTS = {
    "hair": OWNED.format("(?:colou?r of (?:the |his |her |their )?)?hair(?:style|cut|do)?(?: colou?r)?"),
    "skin": OWNED.format("(?:(?:colou?r|tone) of (?:the |his |her |their )?)?(?:skin|complexion)(?: colou?r| tone)?"),
    "background": OWNED.format("background(?: colou?r)?"),
    "style": OWNED.format("(?:art )?style"),
    "colour": OWNED.format("colou?r"),
    "": OWNED.format("(?:time|season|weather|expression|mood|gender|job|profession|size|age|direction)"),
}
"""Patterns of properties ("her hair", "the colour of the apple"), by the noun that is added to a value."""
