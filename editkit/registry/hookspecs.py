"""The hooks a plugin may implement; each returns a list of specs."""

from __future__ import annotations

import pluggy

from .specs import (
    AnnotatorSpec,
    BackendSpec,
    CaptionerSpec,
    CommandSpec,
    ControlNetSpec,
    ControlSpec,
    InverterSpec,
    ModelSpec,
    OperationSpec,
    SamplerSpec,
)

hookspec = pluggy.HookspecMarker("editkit")


hookimpl = pluggy.HookimplMarker("editkit")


@hookspec
def register_operations() -> list[OperationSpec]:  # type: ignore[empty-body]
    """Edits a user can ask for by name."""


@hookspec
def register_inverters() -> list[InverterSpec]:  # type: ignore[empty-body]
    """Ways from a clean latent up to noise."""


@hookspec
def register_samplers() -> list[SamplerSpec]:  # type: ignore[empty-body]
    """Ways from noise down to a clean latent."""


@hookspec
def register_backends() -> list[BackendSpec]:  # type: ignore[empty-body]
    """Families of models: how a diffusers folder becomes a backend."""


@hookspec
def register_models() -> list[ModelSpec]:  # type: ignore[empty-body]
    """Models that come with a package and have a name of their own."""


@hookspec
def register_annotators() -> list[AnnotatorSpec]:  # type: ignore[empty-body]
    """Ways from a picture to a condition map."""


@hookspec
def register_controls() -> list[ControlSpec]:  # type: ignore[empty-body]
    """What can be attached to any drawing."""


@hookspec
def register_controlnets() -> list[ControlNetSpec]:  # type: ignore[empty-body]
    """Weights that steer a registered model by condition maps."""


@hookspec
def register_captioners() -> list[CaptionerSpec]:  # type: ignore[empty-body]
    """Ways from a picture to a prompt that describes it."""


@hookspec
def register_commands() -> list[CommandSpec]:  # type: ignore[empty-body]
    """Commands of the command line that answer with a table."""
