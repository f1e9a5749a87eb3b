"""An instruction and a source prompt give the target prompt that a person would write."""

from __future__ import annotations

import itertools

import pytest
from editkit_instruct.grammar import parse

from editkit import InvalidParameter

DOG = "a photo of a dog on the grass"
APPLE = "noto red apple"
MAN = "a man with a red hat and a beard"
FARMER = "noto woman farmer dark skin tone"
BALD = "noto woman medium light skin tone bald"
HEARTS = "noto smiling face with heart eyes"

ROWS = [
    # make X Y, and its many verbs
    ("make the apple green", APPLE, "noto green apple"),
    ("make it green", APPLE, "noto green apple"),
    ("MAKE IT GREEN!", APPLE, "noto green apple"),
    ("Could you please make the apple look green, thanks?", APPLE, "noto green apple"),
    ("Please, turn this apple green.", APPLE, "noto green apple"),
    ("I'd like the apple to be green", APPLE, "noto green apple"),
    ("the apple should be green", APPLE, "noto green apple"),
    ("can it be green?", APPLE, "noto green apple"),
    ("paint it blue", APPLE, "noto blue apple"),
    ("recolor the apple purple", APPLE, "noto purple apple"),
    ("dye it in light blue", APPLE, "noto light blue apple"),
    ("green, please", APPLE, "noto green apple"),
    ("make it orange", "an apple", "an orange apple"),
    ("make it grey", "a gray cat", "a gray cat"),
    ("colour the car red", "a blue sports car in the street", "a red sports car in the street"),
    ("make the sky orange", "a boat under a blue sky", "a boat under an orange sky"),
    ("make his beard white", MAN, "a man with a red hat and a white beard"),
    ("make it light blue", "gradient large orange diamond", "gradient large light blue diamond"),
    ("make it white", "noto black medium square", "noto white medium square"),
    ("make the dog black and white", DOG, "a photo of a black and white dog on the grass"),
    ("make the dog fluffy", "a photo of a brown dog", "a photo of a fluffy brown dog"),
    ("make it bigger", "a photo of a small dog", "a photo of a big dog"),
    ("make the man older", "a young man in a park", "an old man in a park"),
    ("make the apple shiny and green", APPLE, "noto shiny green apple"),
    ("make it a cat", DOG, "a photo of a cat on the grass"),
    ("make it an orange", APPLE, "noto orange"),
    ("make the dog look like an owl", DOG, "a photo of an owl on the grass"),
    ("make it winter", DOG, "a photo of a dog on the grass in winter"),
    ("make it night", "a boat by day", "a boat at night"),
    ("make it night", "a dog in the snow", "a dog in the snow at night"),
    ("make it green", "there is a cat that is laying on a bed", "there is a green cat that is laying on a bed"),
    ("make it blue instead of red", APPLE, "noto blue apple"),
    ("make the apple a black and white colour", APPLE, "noto black and white apple"),
    # turn, change, transform, convert X into Y
    ("turn the dog into a cat", DOG, "a photo of a cat on the grass"),
    ("turn it green", APPLE, "noto green apple"),
    ("transform the dog into an old wolf", DOG, "a photo of an old wolf on the grass"),
    ("change the dog into cats", DOG, "a photo of cats on the grass"),
    ("change the red hat to a blue one", MAN, "a man with a blue hat and a beard"),
    ("change the colour of the apple to blue", APPLE, "noto blue apple"),
    ("can you change the apple's color to blue?", APPLE, "noto blue apple"),
    ("set the colour to dark blue", APPLE, "noto dark blue apple"),
    ("change the apple from red to green", APPLE, "noto green apple"),
    ("change red to green", APPLE, "noto green apple"),
    ("change the background to a beach", "a dog on a white background", "a dog with a beach in the background"),
    ("make the background blue", APPLE, "noto red apple on a blue background"),
    ("change the time to six thirty", "noto two o clock", "noto six thirty"),
    ("set the clock to six o'clock", "3d two thirty", "3d six o clock"),
    ("make it point down", "flat backhand index pointing left", "flat backhand index pointing down"),
    # replace X with Y
    ("replace the dog with a cat", DOG, "a photo of a cat on the grass"),
    ("swap the dog for an owl", DOG, "a photo of an owl on the grass"),
    ("change dog for cat", DOG, "a photo of a cat on the grass"),
    ("a cat instead of the dog", DOG, "a photo of a cat on the grass"),
    ("substitute a cat for the dog", DOG, "a photo of a cat on the grass"),
    ("replace the dog with two cats", DOG, "a photo of two cats on the grass"),
    ("replace the red apple with a green one", APPLE, "noto green apple"),
    ("replace the glasses with a hat", "a man with glasses", "a man with a hat"),
    (
        "replace the smiling face with heart eyes with a squinting face with tongue",
        HEARTS,
        "noto squinting face with tongue",
    ),
    ("replace the waning gibbous moon by a full moon", "3d waning gibbous moon", "3d full moon"),
    # add, put, give
    ("add a hat", "a photo of a man", "a photo of a man with a hat"),
    ("add a hat", "a man with glasses", "a man with glasses and a hat"),
    ("add a hat", FARMER, "noto woman farmer with a hat dark skin tone"),
    ("add sunglasses to the dog", DOG, "a photo of a dog with sunglasses on the grass"),
    ("add sunglasses to the dog", "a dog with a ball", "a dog with sunglasses and a ball"),
    ("put a hat on the man", "a photo of a man in a park", "a photo of a man with a hat in a park"),
    ("add a cat next to the dog", DOG, DOG + " with a cat next to the dog"),
    ("put a hat on his head", "a photo of a man", "a photo of a man with a hat on his head"),
    ("put a crown on the cat's head", "a photo of a cat", "a photo of a cat with a crown"),
    ("put the dog on a beach", DOG, "a photo of a dog on a beach"),
    ("put him in a tuxedo", "a photo of a man on a beach", "a photo of a man in a tuxedo on a beach"),
    ("have the man wear glasses", "a man in a suit", "a man wearing glasses in a suit"),
    ("with sunglasses", "a cat", "a cat with sunglasses"),
    ("give the man a beard", "a photo of a man", "a photo of a man with a beard"),
    ("give the man a beard", "gradient man dark skin tone", "gradient man beard dark skin tone"),
    ("give a scarf to the dog", DOG, "a photo of a dog with a scarf on the grass"),
    # remove
    ("remove the hat", "a man with a hat", "a man"),
    ("remove the hat", MAN, "a man with a beard"),
    ("delete the beard", MAN, "a man with a red hat"),
    ("take the hat off the man", MAN, "a man with a beard"),
    ("take away the glasses", "a man wearing glasses in a park", "a man in a park"),
    ("get rid of the dog", "a photo of a dog and a cat on the grass", "a photo of a cat on the grass"),
    ("remove the grass", DOG, "a photo of a dog"),
    ("remove the dog", DOG, "a photo of the grass"),
    ("remove all the people", "a photo of people on a beach", "a photo of a beach"),
    ("remove the lamp", "flat couch and lamp", "flat couch"),
    ("without the beard", "noto man beard", "noto man"),
    # skin, hair, gender, profession, expression
    ("change the skin tone to dark", "flat waving hand medium skin tone", "flat waving hand dark skin tone"),
    ("make her skin medium-dark", FARMER, "noto woman farmer medium dark skin tone"),
    ("give him a light skin tone", "3d man bald", "3d man light skin tone bald"),
    ("give him a light skin tone", "flat man bald", "flat man bald light skin tone"),
    ("give her dark skin", "a photo of a woman", "a photo of a woman with dark skin"),
    ("make her skin lighter", FARMER, "noto woman farmer medium dark skin tone"),
    ("remove the skin tone", FARMER, "noto woman farmer"),
    ("give her red hair", BALD, "noto woman medium light skin tone red hair"),
    ("make her hair red", "a photo of a woman", "a photo of a woman with red hair"),
    ("dye her hair red", "a photo of a woman with long brown hair", "a photo of a woman with long red hair"),
    ("change her hair color to red", "flat woman blonde hair dark skin tone", "flat woman red hair dark skin tone"),
    ("make her blonde", "noto woman curly hair", "noto woman blonde hair"),
    ("make him bald", "a man with long brown hair and a hat", "a bald man with a hat"),
    ("give him curly hair", "a photo of a bald man", "a photo of a man with curly hair"),
    ("turn the man into a woman", "3d man farmer", "3d woman farmer"),
    ("make it a woman", "3d man farmer", "3d woman farmer"),
    ("change the gender to female", "3d farmer dark skin tone", "3d woman farmer dark skin tone"),
    ("make her a pilot", FARMER, "noto woman pilot dark skin tone"),
    ("turn the man into a farmer", "3d man dark skin tone", "3d man farmer dark skin tone"),
    ("make him smile", "a photo of a man", "a photo of a smiling man"),
    ("make him shrug", "noto man bowing dark skin tone", "noto man shrugging dark skin tone"),
    ("make her raise her hand", "flat woman pouting", "flat woman raising hand"),
    ("change the expression to sad", "noto happy face", "noto sad face"),
    # styles
    ("draw it flat", "3d red apple", "flat red apple"),
    ("in 3d style", APPLE, "3d red apple"),
    ("show me the apple in the gradient style", APPLE, "gradient red apple"),
    ("can we see this as a 3d emoji?", APPLE, "3d red apple"),
    ("make it 3-D", APPLE, "3d red apple"),
    ("convert to the gradient style", APPLE, "gradient red apple"),
    ("redraw this as a flat emoji", APPLE, "flat red apple"),
    ("change the style to flat", "a 3d emoji of a red apple", "a flat emoji of a red apple"),
    ("make it flat", "red apple, noto style", "red apple, flat style"),
    ("as pixel art", DOG, "pixel art of a dog on the grass"),
    ("as a watercolour painting", DOG, "a watercolour painting of a dog on the grass"),
    ("turn it into a pencil sketch", APPLE, "a pencil sketch of a red apple"),
    ("convert this photo to an oil painting by Monet", DOG, "an oil painting of a dog on the grass by Monet"),
    ("in the style of Van Gogh", DOG, DOG + ", in the style of Van Gogh"),
    ("in the style of monet", "a dog, in the style of van gogh", "a dog, in the style of monet"),
    # several at once
    ("make it green and add a worm", APPLE, "noto green apple with a worm"),
    ("Turn the dog into a cat. Then give it a hat!", DOG, "a photo of a cat with a hat on the grass"),
]

COLOURS = ["red", "orange", "green", "light blue", "dark grey", "black", "white", "black and white"]
STYLES = ["gradient", "flat", "noto", "3d"]
TONES = ["light", "medium light", "medium", "medium dark", "dark"]
FRAMES = [
    "a {} apple",
    "A photo of a {} apple on the table",
    "noto {} apple",
    "3d large {} square",
    "a {} apple, flat style",
    "a cute {} cat with white paws",
    "flat {} book",
    "two {} apples and an orange bird",
]


@pytest.mark.parametrize(("instruction", "source", "target"), ROWS)
def test_target_prompts_read_as_a_person_would_write_them(instruction: str, source: str, target: str) -> None:
    assert parse(instruction, source) == (source, target)


@pytest.mark.parametrize(
    ("instruction", "source", "thing"),
    [
        ("replace the dog with a cat", "a red apple", "dog"),
        ("make the car blue", APPLE, "car"),
        ("turn the car into a boat", APPLE, "car"),
        ("remove the hat", APPLE, "hat"),
        ("take away his glasses", "a man", "glasses"),
        ("add sunglasses to the cat", DOG, "cat"),
        ("put a hat on the man", DOG, "man"),
        ("change the colour of the car to red", DOG, "car"),
        ("use a cat instead of the horse", DOG, "horse"),
        ("make the cat's hair red", "a red apple", "cat"),
        ("make it green and remove the hat", APPLE, "hat"),
    ],
)
def test_a_thing_that_the_source_does_not_mention_is_named_beside_the_source(
    instruction: str, source: str, thing: str
) -> None:
    with pytest.raises(InvalidParameter, match=rf"does not mention '{thing}'") as error:
        parse(instruction, source)
    assert "\n" not in str(error.value)
    assert "make it green and" in instruction or repr(source) in str(error.value)


@pytest.mark.parametrize(
    "instruction",
    ["", "blorp", "make it", "what is this?", "make sense of the world", "paint it", "change colour", "hello there"],
)
def test_the_error_for_an_unknown_instruction_gives_examples(instruction: str) -> None:
    with pytest.raises(InvalidParameter, match="say for example 'make the apple green'") as error:
        parse(instruction, APPLE)
    assert repr(instruction) in str(error.value)
    assert "\n" not in str(error.value)


def test_the_examples_in_the_message_are_understood() -> None:
    with pytest.raises(InvalidParameter) as error:
        parse("blorp", APPLE)
    examples = str(error.value).split("say for example ")[1].split("'")[1::2]
    sources = itertools.cycle(["an apple and a dog", "a dog", "a dog", "a man", "a man with a hat", "a woman", "a man"])
    assert len(examples) == 9
    for example, source in zip(examples, sources, strict=False):
        assert parse(example, source).target != source


def test_removing_the_whole_subject_is_an_error() -> None:
    for source in (APPLE, "a photo of a dog", "noto waving hand dark skin tone"):
        with pytest.raises(InvalidParameter, match="nothing is left"):
            parse("remove it", source)


def test_an_empty_source_and_an_endless_instruction_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="source prompt is empty"):
        parse("make it green", " ")
    with pytest.raises(InvalidParameter, match="at most 1000"):
        parse("make it very " * 100, APPLE)


@pytest.mark.parametrize("frame", FRAMES)
def test_a_colour_takes_the_place_of_a_colour_and_back(frame: str) -> None:
    for was, becomes in itertools.product(COLOURS, COLOURS):
        source, target = agreed(frame, was), agreed(frame, becomes)
        assert parse(f"make it {becomes}", source) == (source, target)
        assert parse(f"change the color to {becomes.upper()}", source) == (source, target)
        assert parse(f"paint it {was}", target).target == source


def agreed(frame: str, colour: str) -> str:
    """The frame with a colour, and the article that goes with it."""
    text = frame.format(colour)
    return text.replace("a orange", "an orange")


@pytest.mark.parametrize("subject", ["red apple", "woman farmer dark skin tone", "smiling cat with heart eyes"])
def test_a_style_takes_the_place_of_a_style(subject: str) -> None:
    for was, becomes in itertools.product(STYLES, STYLES):
        for wording in ("draw it {}", "make it {}", "in {} style", "turn it into a {} emoji", "use the {} style"):
            assert parse(wording.format(becomes), f"{was} {subject}").target == f"{becomes} {subject}"


@pytest.mark.parametrize("subject", ["flat waving hand", "noto man bald", "3d woman red hair", "gradient man beard"])
def test_a_tone_takes_the_place_of_a_tone_and_comes_off(subject: str) -> None:
    for was, becomes in itertools.product(TONES, TONES):
        source = parse(f"give it a {was} skin tone", subject).target
        target = parse(f"change the skin tone to {becomes}", source).target
        assert target == source.replace(f" {was} skin", f" {becomes} skin")
        assert parse("remove the skin tone", target).target == subject


@pytest.mark.parametrize(
    ("instruction", "source"),
    [
        ("make it green", "noto green apple"),
        ("make the apple green", "a Green apple"),
        ("make it an apple", APPLE),
        ("make it orange", "noto orange"),
        ("draw it flat", "flat red apple"),
        ("change the skin tone to dark", FARMER),
        ("make her hair red", "a woman with red hair"),
        ("give the woman red hair", "noto woman red hair"),
        ("make him bald", "a bald man"),
        ("add a hat", "a man with a hat"),
        ("give the man a beard", MAN),
        ("make it a woman", FARMER),
        ("make him smile", "a smiling man"),
        ("as a photo", DOG),
        ("make it night", "a boat at night"),
        ("make the background white", "a dog on a white background"),
        ("replace the dog with a dog", DOG),
        ("in the style of van gogh", "a dog, in the style of Van Gogh"),
    ],
)
def test_an_instruction_that_is_already_true_changes_nothing(instruction: str, source: str) -> None:
    assert parse(instruction, source) == (source, source)


@pytest.mark.parametrize(("instruction", "source"), [row[:2] for row in ROWS])
def test_politeness_case_and_full_stops_change_nothing(instruction: str, source: str) -> None:
    target = parse(instruction, source).target
    for worded in (f"Please {instruction}", f"{instruction}.", f'"{instruction}"', f"  {instruction}, thank you! "):
        assert parse(worded, source).target == target
    assert parse(instruction.upper(), source).target.lower() == target.lower()
