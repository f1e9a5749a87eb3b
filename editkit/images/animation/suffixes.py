"""File suffixes of animations."""

ANIMATION_SUFFIXES = (".gif", ".webp", ".png", ".apng", ".mp4")
