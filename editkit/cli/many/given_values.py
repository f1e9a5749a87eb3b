"""Values of parameters on a command line: one for all results, one for each input, or one for each variant."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Mapping, Sequence
from typing import Any

import click

from ...registry.params import SEVERAL, image_fields
from ...registry.specs import OperationSpec
from ...sampling.params import DrawingParams
from ..options import may_be_listed
from .edit_options import prompt_field
from .inputs import Input, masks_in, read_prompts
from .variants import seeds_of_count


@dc.dataclass(frozen=True)
class GivenValues:
    """Values by their parameter, apart for those that all results share and those in which they differ."""

    shared: dict[str, Any]
    """The value of all results."""
    images: dict[str, Sequence[str]]
    """Files: one for all inputs, one for each, or all for each if the parameter is of several images."""
    listed: dict[str, Sequence[Any]]
    """Values of which each input has a result for every combination."""
    prompts: dict[str, Sequence[str]]
    """Prompts of a file: one for each input."""

    @classmethod
    def of(cls, spec: OperationSpec, options: Mapping[str, Any], inputs: Sequence[Input]) -> GivenValues:
        """Read the options of an operation; raises UsageError for options that contradict each other."""
        shared = {name: options[name] for name in spec.params.model_fields if options[name] not in (None, ())}
        images = {name: files for name in image_fields(spec.params) if (files := shared.pop(name, ()))}
        lists = [name for name, field in spec.params.model_fields.items() if name == "seed" or may_be_listed(field)]
        listed = {name: values for name in lists if (values := shared.pop(name, ()))}
        if issubclass(spec.params, DrawingParams):
            seeds = seeds_of_count(options["count"], listed.pop("seed", ()))
            listed |= {"seed": seeds} if seeds else {}
        if options.get("mask_dir") is not None:
            if "mask" in images:
                raise click.UsageError("--mask and --mask-dir contradict each other: give one of them")
            images["mask"] = masks_in(options["mask_dir"], inputs)
        return cls(shared, images, listed, _read_prompts(spec, options, listed, len(inputs)))

    @property
    def first(self) -> dict[str, Any]:
        """The values of the first result, without images."""
        different = {**self.listed, **self.prompts}
        return {**self.shared, **{name: values[0] for name, values in different.items()}}

    def check_images(self, spec: OperationSpec, inputs: Sequence[Input]) -> None:
        """Raise UsageError unless each parameter of one image is given once, or once for each input."""
        several = params_of_several(spec)
        for name, files in self.images.items():
            if name not in several and len(files) not in (1, len(inputs)):
                count = f"once, or {len(inputs)} times" if len(inputs) > 1 else "once"
                option = f"--{name.replace('_', '-')}"
                raise click.UsageError(f"the option {option} is given {len(files)} times: give it {count}")


def params_of_several(spec: OperationSpec) -> frozenset[str]:
    """Return the parameters that take several images."""
    return frozenset(name for name, kind in image_fields(spec.params).items() if kind == SEVERAL)


def _read_prompts(
    spec: OperationSpec, options: Mapping[str, Any], listed: dict[str, Sequence[Any]], count: int
) -> dict[str, Sequence[str]]:
    """Return the prompts of a file for each of ``count`` inputs; those of one input are added to ``listed``."""
    if options.get("prompt_file") is None:
        return {}
    name, prompts = prompt_field(spec), read_prompts(options["prompt_file"])
    assert name is not None, "the option is there for operations with a prompt"
    if name in listed:
        raise click.UsageError(f"--{name} and --prompt-file contradict each other: give one of them")
    if 1 in (count, len(prompts)):
        listed[name] = prompts
        return {}
    if len(prompts) != count:
        raise click.UsageError(
            f"--prompt-file has {len(prompts)} prompts for {count} images: write one a line for each, or one for all"
        )
    return {name: prompts}
