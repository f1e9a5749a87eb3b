"""What a plugin hands over: frozen descriptions with a lazy ``load``, so that listing them imports nothing heavy."""

from __future__ import annotations

import dataclasses as dc
import functools
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..literals import Prediction, Spacing
from .params import Params

if TYPE_CHECKING:
    from PIL import Image

    from ..diffusion.paths import SamplingPath as DrawingPath
    from ..editing.outcome import Edit, PixelEdit
    from ..editing.session import Session
    from ..images.condition_maps import Annotator
    from ..inversion.inversion import Inversion
    from ..inversion.inverter import Inverter
    from ..model.backend import Backend
    from ..sampling.controls import Control
    from ..sampling.loop import Stepper
    from .tables import Table


@dc.dataclass(frozen=True, kw_only=True)
class Spec:
    """What every registered thing says of itself."""

    name: str
    """Lower case words joined by hyphens: how the user calls it."""
    summary: str
    """One sentence."""
    load: Callable[[], Any]
    """Imports the implementation and returns it; called on first use."""
    source: str = ""
    """Paper or page the method comes from."""
    params: type[Params] = Params
    """What it can be told."""


@dc.dataclass(frozen=True, kw_only=True)
class OperationSpec(Spec):
    """An edit that a user asks for by name."""

    load: Callable[[], Callable[[Session, Any], Edit | PixelEdit | Inversion]]
    needs: frozenset[str] = frozenset()
    """Capabilities the model must provide, such as ``text``."""
    takes: Literal["nothing", "image", "two images", "inversion"] = "image"
    gives: Literal["image", "inversion"] = "image"
    size: Callable[[Any, tuple[int, int]], tuple[int, int]] | None = None
    """The size (width, height) of the result by the parameters and the source's size; the source's where not given."""
    example: Mapping[str, Any] = dc.field(default_factory=dict)
    """Parameters to try it with, where required ones do not speak for themselves or the defaults change nothing."""


@dc.dataclass(frozen=True, kw_only=True)
class InverterSpec(Spec):
    """A way from a clean latent up to noise."""

    load: Callable[[], Callable[[Any], Inverter]]
    exact: bool = False
    """True where the source branch of a replay equals the source latent at any guidance scale."""
    stochastic: bool = False
    calls_per_step: str = "1"
    """Network calls a step of the inversion costs, for tables."""
    predictions: frozenset[str] = frozenset(get_args(Prediction))
    """What a network may predict for this to serve it."""
    replaces_sampler: bool = False
    """True where a replay goes down by the inverter's own steps, and no sampler is asked for."""
    sets_negative_prompt: bool = False
    """True where a replay sets what guidance leads away from: with text, and guidance by two estimates."""


@dc.dataclass(frozen=True, kw_only=True)
class SamplerSpec(Spec):
    """A way from noise down to a clean latent; ``load`` gives a maker of steppers, one stepper a walk."""

    load: Callable[[], Callable[[Any], Stepper]]
    order: int = 1
    """Order of convergence to the exact solution of the probability-flow equation."""
    stochastic: bool = False
    ends_at_zero: bool = True
    """Paths for drawing end at sigma 0; otherwise where the model's schedule says its clean end is."""
    extra_node: bool = False
    """The spacing counts the clean end as a node of its own, as the DPM-Solver family does."""
    spacing: Spacing | None = None
    """How the timesteps are laid out where the user does not say; the model's own way where not given."""
    consistency: bool = False
    """The network's answer is taken for the end of the way down from where it is asked, as consistency models give it,
    and not for the mean of all that may lie there."""


@dc.dataclass(frozen=True, kw_only=True)
class BackendSpec(Spec):
    """A family of models that load from a diffusers folder."""

    load: Callable[[], Callable[..., Backend]]
    """The loader takes ``(folder, *, name, device, dtype)``, and ``weights`` where the family has ``recognise``."""
    pipelines: frozenset[str] = frozenset()
    """``_class_name`` values of a ``model_index.json`` that this family serves."""
    provides: frozenset[str] = frozenset()
    execution_options: frozenset[str] = frozenset()
    """How its models can be told to run: names of fields of :class:`Running`. They are then ``Tunable``."""
    detect: Callable[[Mapping[str, tuple[int, ...]]], str | None] | None = None
    """Of a checkpoint in one file, by names and shapes of its tensors: the hub id of the model it is built on, None
    where it is of another family. The loader then gets that file as ``weights``, and no weights in the folder."""


@dc.dataclass(frozen=True, kw_only=True)
class ModelSpec(Spec):
    """A model with a name of its own; ``load`` gives its folder."""

    load: Callable[[], Path]
    licence: str = ""
    default: bool = False
    """Taken where no model is named."""
    default_for: frozenset[str] = frozenset()
    """Operations that take it in place of the default."""
    defaults: Mapping[str, float] = dc.field(default_factory=dict)
    """What parameters are set to that the user leaves to the operation and the operation to the model."""


@dc.dataclass(frozen=True, kw_only=True)
class ControlSpec(Spec):
    """What steers any drawing beside its prompt, for ``attach``."""

    load: Callable[[], Callable[[Any], Callable[[Session, DrawingPath], Control]]]


@dc.dataclass(frozen=True, kw_only=True)
class ControlNetSpec(Spec):
    """Weights that steer registered models by condition maps; ``load`` gives their folder."""

    load: Callable[[], Path]
    models: frozenset[str]
    """The registered models they fit."""
    annotators: frozenset[str]
    """Whose maps they understand."""
    licence: str = ""


@dc.dataclass(frozen=True, kw_only=True)
class CaptionerSpec(Spec):
    """A way from a picture to a prompt that describes it."""

    load: Callable[[], Callable[[Any], Callable[[Image.Image], str]]]


@dc.dataclass(frozen=True, kw_only=True)
class AnnotatorSpec(Spec):
    """A way from a picture to a condition map: edges, depth, ...; ``load`` gives a maker of annotators."""

    load: Callable[[], Callable[[Any], Annotator]]


@dc.dataclass(frozen=True, kw_only=True)
class CommandSpec(Spec):
    """A command that measures instead of making a picture; its parameters are its options."""

    load: Callable[[], Callable[[Any], Table]]


def by_name(name: str) -> Callable[[], Any]:
    """Return a ``load`` for a spec that refers to an object by ``name``: ``package.module:Name``.

    The module is imported when ``load`` is called, not before. A class is returned as a function of the spec's
    parameters: it builds an instance with every field of ``params`` as a keyword argument. A function, or any other
    object, is returned unchanged. ``load`` raises what importing the module raises, and AttributeError if the module
    has no such name.

    Example: ``InverterSpec(name="edict", load=by_name("editkit_inverters.edict:Edict"), params=EdictParams, ...)``
    """

    def load() -> Any:
        found = pkgutil.resolve_name(name)
        return _builder(found) if isinstance(found, type) else found

    return load


def _builder(kind: type) -> Callable[[Params], Any]:
    """Return a function that builds a ``kind`` with the fields of parameters as keyword arguments."""

    @functools.wraps(kind, updated=())
    def build(params: Params) -> Any:
        return kind(**{field: getattr(params, field) for field in type(params).model_fields})

    return build
