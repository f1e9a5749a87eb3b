"""Headings of the options in the help of an operation."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from ...registry.params import Params

_OF_CLASSES = {
    "DrawingParams": "Sampling",
    "SamplingParams": "Sampling",
    "ImageInputParams": "Sampling",
    "EditParams": "Mask",
    "AutoMaskParams": "Mask",
}
"""Heading of the parameters that a class declares; those of other classes belong to the operation."""

_OF_OPTIONS = {
    "Output": (
        "output name format quality keep_gps recipe embed_sources existing skip_existing overwrite json sheet mask_out"
    ),
    "Several images and results": "recursive mask_dir prompt_file count batch exact anchor",
    "Model": (
        "model adapter prediction variant revision vae transformer quantise accelerate clip_skip device dtype compile "
        "compile_mode compile_decoder attention offload group_offload tiling cache"
    ),
}


def headings_of(params: type[Params]) -> Mapping[str, str]:
    """Return the heading of each option, by its name, of an operation with these parameters."""
    headings = {name: heading for heading, names in _OF_OPTIONS.items() for name in names.split()}
    for cls in reversed(params.__mro__):
        heading = _OF_CLASSES.get(cls.__name__)
        declared = [name for name in inspect.get_annotations(cls) if name in params.model_fields]
        headings |= dict.fromkeys(declared, heading or "Options")
    return headings
