"""What a person would say to turn the source of a pair into its target."""

from __future__ import annotations

from editkit_emoji.training.data import Picture


def instruction_for(source: Picture, target: Picture) -> str:
    """An instruction that names what differs between two pictures of one style, or of one name in two styles."""
    if source.style != target.style:
        return f"draw it {target.style}" if target.style == "flat" else f"draw it in {target.style} style"
    if source.subject == target.subject:
        if target.tone is None:
            return "remove the skin tone"
        return f"change the skin tone to {target.tone.replace('-', ' ')}"
    was, becomes = differing(source.title.split(), target.title.split())
    if not was:
        return f"add {becomes}"
    return f"replace {was} with {becomes}" if becomes else f"remove {was}"


def differing(one: list[str], other: list[str]) -> tuple[str, str]:
    """What is left of two titles without the words they begin and end with alike."""
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    one, other = one[same:], other[same:]
    while one and other and one[-1] == other[-1]:
        one, other = one[:-1], other[:-1]
    return " ".join(one), " ".join(other)
