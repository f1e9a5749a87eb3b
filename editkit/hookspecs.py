"""The hooks a plugin may implement; each returns a list of specs."""

from __future__ import annotations

import pluggy

from .specs import AnnotatorSpec, BackendSpec, InverterSpec, ModelSpec, OperationSpec, SamplerSpec

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
