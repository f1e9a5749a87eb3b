"""Hooks that a plugin may implement; each returns a list of specs."""

from __future__ import annotations

import pluggy

from .specs import (
    AcceleratorSpec,
    AnnotatorSpec,
    BackendSpec,
    CaptionerSpec,
    CommandSpec,
    ControlNetSpec,
    ControlSpec,
    DatasetSpec,
    EngineSpec,
    InverterSpec,
    ModelSpec,
    OperationSpec,
    SamplerSpec,
    SegmenterSpec,
)

hookspec = pluggy.HookspecMarker("editkit")


hookimpl = pluggy.HookimplMarker("editkit")


@hookspec
def register_operations() -> list[OperationSpec]:  # type: ignore[empty-body]
    """Edits that a user calls by name."""


@hookspec
def register_inverters() -> list[InverterSpec]:  # type: ignore[empty-body]
    """Methods that invert clean latents to noise."""


@hookspec
def register_samplers() -> list[SamplerSpec]:  # type: ignore[empty-body]
    """Methods that sample clean latents from noise."""


@hookspec
def register_backends() -> list[BackendSpec]:  # type: ignore[empty-body]
    """Families of models, which load a diffusers folder as a backend."""


@hookspec
def register_models() -> list[ModelSpec]:  # type: ignore[empty-body]
    """Models that a package provides under a name."""


@hookspec
def register_annotators() -> list[AnnotatorSpec]:  # type: ignore[empty-body]
    """Functions from an image to a condition map."""


@hookspec
def register_controls() -> list[ControlSpec]:  # type: ignore[empty-body]
    """Controls that can be attached to any sampling."""


@hookspec
def register_controlnets() -> list[ControlNetSpec]:  # type: ignore[empty-body]
    """ControlNet weights for registered models."""


@hookspec
def register_captioners() -> list[CaptionerSpec]:  # type: ignore[empty-body]
    """Functions from an image to a prompt that describes it."""


@hookspec
def register_segmenters() -> list[SegmenterSpec]:  # type: ignore[empty-body]
    """Functions that find the part of an image that words name or points lie in."""


@hookspec
def register_commands() -> list[CommandSpec]:  # type: ignore[empty-body]
    """Commands of the command line that print a table."""


@hookspec
def register_engines() -> list[EngineSpec]:  # type: ignore[empty-body]
    """Processes or machines on which the parts of a batch run."""


@hookspec
def register_accelerators() -> list[AcceleratorSpec]:  # type: ignore[empty-body]
    """Libraries that evaluate the network of a model in place of torch."""


@hookspec
def register_datasets() -> list[DatasetSpec]:  # type: ignore[empty-body]
    """Layouts of folders with edits whose outcome can be measured."""
