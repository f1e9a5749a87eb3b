"""Images that a pipeline reads beside a prompt: its arguments for them, and what it makes of them once for an edit."""

from __future__ import annotations

import dataclasses as dc
import hashlib
import inspect
import json
import math
import types
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from PIL import Image

from editkit import Condition, InvalidParameter, References

from .call_arguments import CallArguments
from .memory import remember
from .stand_in import StandIn

NAME = "references"
"""Argument of an estimate that names images by the numbers of their content."""
_SEVERAL = 10
"""Most images of a pipeline that takes a list of any length."""
_PROCESSORS = ("image_processor", "vae_image_processor")
"""Parts that resize images."""
_RESIZERS = ("resize", "preprocess", "resize_center_crop", "_resize_to_target_area")
"""Methods of image processors whose results are kept."""
_KEPT = 16
"""Images that each of them keeps."""


@dc.dataclass(frozen=True)
class ReferenceFacts:
    """Facts about the images of a pipeline that its code does not state."""

    argument: str = "image"
    several: bool = False
    """Whether the argument is a list of images."""
    required: bool = False
    """Whether the pipeline samples nothing without an image."""
    one_prompt: bool = False
    """Whether a call with images reads one prompt."""
    shortest_side: int = 1
    longest_ratio: float = math.inf
    mode: str = "RGB"
    """Mode of image that the pipeline converts to."""
    size_function: str = ""
    """Function of the pipeline's module that computes the size of the result from that of the image."""
    size_method: str = ""
    """Part of the pipeline whose method ``get_default_height_width`` chooses that size."""
    output_last: bool = False
    """Whether the output of the network for the images stands before that for the result."""
    wraps: Callable[[str], str] = str
    """Function from a prompt to the form that the pipeline reads."""

    def arguments(self, images: Sequence[Image.Image]) -> dict[str, Any]:
        """Return the arguments of a call for images; none for none."""
        if not images:
            return {}
        return {self.argument: list(images) if self.several else images[0]}


def _as_edit(prompt: str) -> str:
    """Return the JSON of an edit by an instruction, unless the prompt is JSON itself."""
    try:
        is_edit = "edit_instruction" in json.loads(prompt)
    except (ValueError, TypeError):
        is_edit = False
    return prompt if is_edit else json.dumps({"edit_instruction": prompt})


_FLUX_2 = ReferenceFacts(several=True, shortest_side=64, longest_ratio=8)
REFERENCES: Mapping[str, ReferenceFacts] = MappingProxyType(
    {
        "BriaFibo2Pipeline": ReferenceFacts(several=True, one_prompt=True),
        "BriaFiboEditPipeline": ReferenceFacts(several=True, one_prompt=True, wraps=_as_edit),
        "Flux2KleinKVPipeline": _FLUX_2,
        "Flux2KleinPipeline": _FLUX_2,
        "Flux2Pipeline": _FLUX_2,
        "Flux3ModularPipeline": ReferenceFacts(several=True, shortest_side=16),  # a token
        "JoyImageEditPipeline": ReferenceFacts(one_prompt=True, size_method="vae_image_processor", output_last=True),
        "LongCatImageEditPipeline": ReferenceFacts(
            required=True, one_prompt=True, size_function="calculate_dimensions"
        ),
        "QwenImage21Pipeline": ReferenceFacts(several=True, mode="RGBA"),
        "QwenImageEditPipeline": ReferenceFacts(required=True, one_prompt=True),
        "QwenImageEditPlusPipeline": ReferenceFacts(several=True, required=True, one_prompt=True),
    }
)
"""Pipelines that read images beside a prompt, by class."""

READERS = ("encode_prompt_multiple_images", "prepare_image_latents", "prepare_reference_latents")
"""Methods that read images."""
_NEUTRAL = Image.new("RGB", (64, 64), "grey")
"""Image of the calls that a pipeline which needs one is probed with."""


def needs_image(pipe: Any) -> bool:
    """Return whether a pipeline samples nothing without an image."""
    facts = REFERENCES.get(type(pipe).__name__)
    return facts is not None and facts.required


class ReferringPipeline:
    """Base of the backend of a pipeline ``pipe``, which may read images beside a prompt."""

    pipe: Any
    arguments: CallArguments
    provides: frozenset[str]
    reads_one_prompt = False
    """Whether a call of the pipeline reads one prompt."""

    def __init__(self) -> None:
        super().__init__()
        # Held by the edits that use them, and by what the pipeline keeps.
        self._images: weakref.WeakValueDictionary[int, Image.Image] = weakref.WeakValueDictionary()
        facts = REFERENCES.get(type(self.pipe).__name__)
        if facts is None:
            return
        self.references = References(
            self._reference_guidance(),
            most=_SEVERAL if facts.several else 1,
            required=facts.required,
            shortest_side=facts.shortest_side,
            longest_ratio=facts.longest_ratio,
        )
        self.reads_one_prompt = facts.one_prompt
        self._convert = remember(lambda image: image.convert(facts.mode), kept=_KEPT)
        self._reference_facts = facts

    def _reference_guidance(self) -> Any:
        parameters = inspect.signature(type(self.pipe).__call__).parameters
        if "distilled-guidance" in self.provides:
            return "scale input"
        guides = {"guidance_scale", "true_cfg_scale"} & set(parameters) or hasattr(self.pipe, "guider")
        return "two estimates" if guides and not self.pipe.config.get("is_distilled") else "none"

    def instructed(self, prompts: Sequence[str], images: Sequence[Image.Image]) -> Condition:
        """Return the condition ``call`` (B,) of prompts and images, which the pipeline reads when it is called."""
        numbers = tuple(map(self._number, images))
        rows = self.arguments.rows(self.embed(prompts))
        return self.arguments.condition([{**row, NAME: numbers} for row in rows] if numbers else rows)

    def embed(self, prompts: Sequence[str]) -> Condition:
        """Return the condition of prompts alone."""
        raise NotImplementedError

    def _number(self, image: Image.Image) -> int:
        """Return the number of the content of an image, which is held weakly."""
        content = hashlib.blake2b(repr(image.size).encode() + image.tobytes(), digest_size=8).digest()
        number = int.from_bytes(content)
        self._images.setdefault(number, image)
        return number

    def with_images(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments of a call with images in place of their numbers.

        Raises InvalidParameter if an image is gone, because an edit that read it has ended.
        """
        named = dict(arguments)
        numbers = named.pop(NAME, ())
        try:
            images = [self._images[number] for number in numbers]
        except KeyError:
            raise InvalidParameter("the references of a condition must stay alive as long as it is used") from None
        return named | (self._reference_facts.arguments([self._convert(image) for image in images]) if images else {})


def call_function(kind: type, facts: ReferenceFacts | None, size: tuple[int, int]) -> Callable[..., Any]:
    """Return the function of a pipeline's call; one that computes its own size samples at ``size`` instead."""
    function: Any = inspect.unwrap(kind.__call__)
    if facts is None or not facts.size_function:
        return function  # type: ignore[no-any-return]
    names = {**function.__globals__, facts.size_function: lambda *args: size}
    sized = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    sized.__kwdefaults__ = function.__kwdefaults__
    return sized


def neutral_arguments(facts: ReferenceFacts | None) -> dict[str, Any]:
    """Return arguments of a call for a pipeline that needs an image, where none is given."""
    return facts.arguments([_NEUTRAL]) if facts is not None and facts.required else {}


def processors_of(pipeline: Any, facts: ReferenceFacts, size: Callable[[], tuple[int, int]]) -> Iterator[Any]:
    """Yield name and stand-in of each image processor of a pipeline, which keeps its results.

    ``size`` returns the size of the result where a processor would choose it.
    """
    for name in _PROCESSORS:
        processor = getattr(pipeline, name, None)
        if processor is not None:
            methods = [method for method in _RESIZERS if hasattr(processor, method)]
            kept = {method: remember(getattr(processor, method), kept=_KEPT) for method in methods}
            if name == facts.size_method:
                kept["get_default_height_width"] = lambda *args: size()[::-1]
            yield name, StandIn(processor, **kept)
