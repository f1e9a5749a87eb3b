"""Captions by the image-to-text models of transformers that need only an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

from editkit import PluginFailure, file_stamps, load_once, load_pretrained, on_white, quiet, reason_of

from . import TransformersParams

ADVICE = "give the folder or the hub id of a captioning model such as Salesforce/blip-image-captioning-base"


def transformers_captioner(params: TransformersParams) -> Callable[[Image.Image], str]:
    """Return the captioner that ``params`` name."""
    return captioning_model(params.model, params.max_tokens)


def captioning_model(name: str, max_tokens: int) -> Callable[[Image.Image], str]:
    """Load a model and return its captioner, which is deterministic and writes at most ``max_tokens`` tokens.

    Only safetensors are read, and code that comes with a model is not run. Raises WeightsUnavailable if the model
    cannot be loaded; the captioner raises PluginFailure if the model needs more than an image.
    """
    processor, tokenizer, model = load(name)

    def caption(image: Image.Image) -> str:
        try:
            with quiet():
                pixels = processor(images=on_white(image), return_tensors="pt")["pixel_values"]
                tokens = model.generate(
                    pixel_values=pixels.to(model.device), max_new_tokens=max_tokens, do_sample=False
                )
        except Exception as error:  # models that need a prompt raise various types without one
            raise PluginFailure(
                f"captioning model {name!r} ({model.config.model_type}) failed for an image of "
                f"{image.width} x {image.height} pixels ({reason_of(error)}): it may need a prompt; {ADVICE}"
            ) from error
        return " ".join(tokenizer.decode(tokens[0], skip_special_tokens=True).split())

    return caption


@load_once(maxsize=1, stamps=file_stamps)
def load(name: str) -> tuple[Any, Any, Any]:
    """Load the image processor, the tokenizer and the model, on the GPU if there is one.

    The last result is cached until its files change.
    """
    classes = (AutoModelForImageTextToText, AutoImageProcessor, AutoTokenizer)
    model, processor, tokenizer = load_pretrained(name, *classes, called="captioning model", advice=ADVICE)
    return processor, tokenizer, model
