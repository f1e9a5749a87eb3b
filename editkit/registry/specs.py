"""Specs that plugins register: frozen descriptions with a lazy ``load``, so listing them imports nothing heavy."""

from __future__ import annotations

import dataclasses as dc
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import PluginFailure
from ..literals import Prediction, Spacing
from .params import Params, shorten

if TYPE_CHECKING:
    from PIL import Image

    from ..diffusion.paths import SamplingPath
    from ..editing.outcome import Edit, PixelEdit
    from ..editing.session import Session
    from ..evaluation.cases import Dataset
    from ..images.condition_maps import Annotator
    from ..images.masks.specification import Segmenter
    from ..inversion.inversion import Inversion
    from ..inversion.inverter import Inverter
    from ..model.backend import Backend
    from ..sampling.controls import Control
    from ..sampling.loop import Stepper
    from .accelerators import Accelerator
    from .engines import Engine
    from .tables import Table


@dc.dataclass(frozen=True)
class Paper:
    """Title, authors and year of a paper, for a bibliography."""

    title: str
    authors: str
    """Full names in the order of the paper, joined by " and ", as BibTeX has them."""
    year: int


@dc.dataclass(frozen=True, kw_only=True)
class Spec:
    """Description that every kind of plugin shares."""

    name: str
    """Lower-case words joined by hyphens, used on the command line and in Python."""
    summary: str
    """One sentence."""
    load: Callable[[], Any]
    """Function that imports the implementation and returns it; called on first use."""
    source: str = ""
    """Paper or web page of the method."""
    paper: Paper | None = None
    """Paper that ``source`` is the address of; of several specs with one address one has it."""
    params: type[Params] = Params
    """Declaration of its parameters."""


@dc.dataclass(frozen=True, kw_only=True)
class OperationSpec(Spec):
    """An edit that a user calls by name."""

    load: Callable[[], Callable[[Session, Any], Edit | PixelEdit | Inversion]]
    needs: frozenset[str] = frozenset()
    """Capabilities that the model must provide, such as ``text``."""
    takes: Literal["nothing", "image", "two images", "inversion"] = "image"
    edits_inversion: bool = False
    """True if an inversion may stand in place of the image; its prompt is then the parameter ``source``, and
    :func:`editkit.invert_latents` returns its record."""
    gives: Literal["image", "inversion"] = "image"
    size: Callable[[Any, tuple[int, int]], tuple[int, int]] | None = None
    """Function from parameters and source size (width, height) to the result size; None keeps the source size."""
    example: Mapping[str, Any] = dc.field(default_factory=dict, hash=False)
    """Parameters for trying the operation, if required ones have no obvious value or the defaults change nothing."""
    usage: str = ""
    """Example in the help: the words after the command's name."""


@dc.dataclass(frozen=True, kw_only=True)
class InverterSpec(Spec):
    """A method that inverts clean latents to noise."""

    load: Callable[[], Callable[[Any], Inverter]]
    exact: bool = False
    """True if the source branch of a replay equals the source latents at any guidance scale."""
    stochastic: bool = False
    """True if the result depends on sampled noise."""
    calls_per_step: str = "1"
    """Network calls per step of the inversion, for tables."""
    predictions: frozenset[str] = frozenset(get_args(Prediction))
    """Predictions of networks that the inverter supports."""
    replaces_sampler: bool = False
    """True if a replay uses the inverter's own steps and no sampler."""
    sets_negative_prompt: bool = False
    """True if a replay sets the negative prompt condition; needs text and guidance from two estimates."""


@dc.dataclass(frozen=True, kw_only=True)
class SamplerSpec(Spec):
    """A method that samples clean latents from noise; ``load`` returns a function that builds one stepper per walk."""

    load: Callable[[], Callable[[Any], Stepper]]
    calls_per_step: str = "1"
    """Network calls per step, for tables."""
    order: int = 1
    """Order of convergence to the exact solution of the probability-flow equation."""
    stochastic: bool = False
    """True if the result depends on sampled noise."""
    ends_at_zero: bool = True
    """True if sampling paths end at sigma 0; otherwise they end at the clean end of the model's schedule."""
    extra_node: bool = False
    """True if the spacing counts the clean end as a node of its own, as the DPM-Solver family does."""
    spacing: Spacing | None = None
    """Default spacing of the timesteps; None for the model's own."""
    consistency: bool = False
    """True if the network predicts the clean sample directly, as consistency models do, not the posterior mean."""


@dc.dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """Facts about a model, as they would be once it is loaded; None where only loading it can tell."""

    provides: frozenset[str]
    native_size: int | None = None
    multiple: int | None = None
    needs_image: bool = False
    """Whether the model samples nothing without an image that it edits."""
    usual: Mapping[str, Any] = dc.field(default_factory=dict, hash=False)
    """Usual settings by parameter."""
    warnings: tuple[str, ...] = ()


@dc.dataclass(frozen=True, kw_only=True)
class BackendSpec(Spec):
    """A family of models that load from a diffusers folder."""

    load: Callable[[], Callable[..., Backend]]
    """The loader takes ``(folder, *, name, device, dtype)``, ``weights`` if the family has ``detect``, and ``options``
    if it has ``loading_options``."""
    from_pipe: Callable[[], Callable[..., Backend]] | None = None
    """Loads a function ``(pipe, *, name)`` that returns a model on the weights of a pipeline in memory, for
    :func:`editkit.from_pipe`."""
    facts: Callable[[], Callable[[Path], ModelFacts]] | None = None
    """Loads a function that returns facts about the model in a folder, whose weights it does not read."""
    compare: Callable[[], Callable[[Path], Iterator[tuple[str, float]]]] | None = None
    """Loads a function that samples images with the model in a folder, by the loop of its authors' library and by
    editkit's, from the same noise; it yields the name of each image and the largest difference, in [0, 1]."""
    pipelines: frozenset[str] = frozenset()
    """``_class_name`` values of a ``model_index.json`` that this family loads."""
    last_resort: bool = False
    """True for a family that loads folders of all classes that no other family lists, or says why it cannot."""
    parts: frozenset[str] = frozenset()
    """Parts of a folder that its models need; others in the index are ignored. All but a few by default."""
    provides: frozenset[str] = frozenset()
    """Capabilities of its models, such as ``text``."""
    execution_options: frozenset[str] = frozenset()
    """Names of the fields of ExecutionOptions that its models support; they are then SupportsExecutionOptions."""
    loading_options: frozenset[str] = frozenset()
    """Names of the fields of LoadingOptions that its loader supports; ``revision`` is no concern of a loader."""
    detect: Callable[[Mapping[str, tuple[int, ...]]], str | None] | None = None
    """Function from the tensor names and shapes of a one-file checkpoint to the hub id of its base model, or None for
    another family. The loader then gets that file as ``weights``, and the folder holds no weights."""
    describe: Callable[[Path], str | None] | None = None
    """Function from a file of weights to what it holds, such as "the network of Z-Image", or None if it is unknown; for
    the error of a file that is no whole model."""


@dc.dataclass(frozen=True)
class Frame:
    """Frame in which a model shows what a prompt names: one subject, centred, on a plain ground."""

    ground: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Colour of the ground, RGB in [0, 1]."""
    extent: float | None = None
    """Usual longest side of a subject, as a share of the frame's side, by which edits without a source prompt place it;
    None if it varies."""


@dc.dataclass(frozen=True, kw_only=True)
class ModelSpec(Spec):
    """A named model; ``load`` returns its folder."""

    load: Callable[[], Path]
    licence: str = ""
    default: bool = False
    """True for the model that is used if none is named."""
    default_for: frozenset[str] = frozenset()
    """Operations that use it instead of the default model."""
    defaults: Mapping[str, float] = dc.field(default_factory=dict, hash=False)
    """Defaults of parameters that the user does not set, for the operations of ``default_for``, or for all if it names
    none; see :attr:`editkit.DrawingParams.from_model`."""
    frame: Frame | None = None
    """Frame of a model of single subjects, into which edits bring them; None for a model of any image."""


@dc.dataclass(frozen=True, kw_only=True)
class ControlSpec(Spec):
    """A control that steers any sampling besides its prompt, for ``attach``."""

    load: Callable[[], Callable[[Any], Callable[[Session, SamplingPath], Control]]]
    needs: frozenset[str] = frozenset()
    """Capabilities that the model must provide, such as ``attention``."""
    reads: frozenset[str] = frozenset()
    """Parameters of the operation that it reads, such as ``source``; operations without them are refused."""
    needs_mask: bool = False
    """True if edits without a mask, painted or automatic, are refused."""
    approximates: bool = False
    """True if parts of an estimate are replaced by those of other steps. Controls that need the modules of the network
    at every step, and inverters that are exact by steps of their own, are refused beside it."""
    finds_mask: bool = False
    """Whether it finds a mask of its own, which is returned with the result."""
    check: Callable[[Any], None] | None = None
    """Function that raises an EditkitError for options that cannot be used here, before a model is loaded."""


@dc.dataclass(frozen=True, kw_only=True)
class ControlNetSpec(Spec):
    """ControlNet weights for registered models; ``load`` returns their folder."""

    load: Callable[[], Path]
    models: frozenset[str]
    """Registered models that the weights fit."""
    annotators: frozenset[str]
    """Annotators whose maps the weights accept."""
    licence: str = ""


@dc.dataclass(frozen=True, kw_only=True)
class CaptionerSpec(Spec):
    """A function from an image to a prompt that describes it."""

    load: Callable[[], Callable[[Any], Callable[[Image.Image], str]]]


@dc.dataclass(frozen=True, kw_only=True)
class SegmenterSpec(Spec):
    """A function that finds the part of an image that words name or points lie in."""

    load: Callable[[], Callable[[Any], Segmenter]]
    reads: frozenset[str]
    """Kinds of specifications that it reads: ``words``, ``points``."""


@dc.dataclass(frozen=True, kw_only=True)
class AnnotatorSpec(Spec):
    """A function from an image to a condition map: edges, depth, ...; ``load`` returns a function that builds it."""

    load: Callable[[], Callable[[Any], Annotator]]


@dc.dataclass(frozen=True, kw_only=True)
class CommandSpec(Spec):
    """A command that measures and prints a table; its parameters are its options."""

    load: Callable[[], Callable[[Any], Table]]
    usage: str = ""
    """Example in the help: the words after the command's name."""
    details: str = ""
    """Further paragraphs of the help; one that begins with a line of a backspace keeps its lines."""
    section: str = "Measure"
    """Heading of the command in the overview."""


@dc.dataclass(frozen=True, kw_only=True)
class EngineSpec(Spec):
    """Processes or machines on which the parts of a batch run; ``load`` returns a function that builds the engine."""

    load: Callable[[], Callable[[Any], Engine]]


@dc.dataclass(frozen=True, kw_only=True)
class AcceleratorSpec(Spec):
    """A library that evaluates the network of a model in place of torch."""

    load: Callable[[], Callable[[Any], Accelerator]]
    devices: frozenset[str] = frozenset({"cpu"})
    """Types of the devices that it serves."""
    dtypes: frozenset[str] = frozenset({"float32"})
    """Precisions of the models that it serves."""


@dc.dataclass(frozen=True, kw_only=True)
class DatasetSpec(Spec):
    """A layout of folders with images and edits whose outcome can be measured."""

    load: Callable[[], Callable[[Path, Any], Dataset]]
    """The function takes a folder and the parameters, and raises an EditkitError for a folder that is none."""


def checked(spec: Spec) -> Spec:
    """Return a spec with frozen sets in place of other collections of names.

    Raises PluginFailure for one that has something else in place of names, or of one of several choices.
    """
    sets: dict[str, Any] = {}
    for field in dc.fields(spec):
        value, kind = getattr(spec, field.name), str(field.type)
        problem, choices = "", re.findall("'([^']+)'", kind) if kind.startswith("Literal[") else ()
        if kind.startswith("frozenset"):
            sets[field.name] = frozenset(value) if isinstance(value, (set, frozenset, list, tuple)) else value
            problem = "" if isinstance(sets[field.name], frozenset) else "a set of names, as {'text'}"
        elif choices and value not in choices:
            problem = f"one of {', '.join(choices)}"
        if problem:
            raise PluginFailure(f"{spec.name!r}: {field.name}={shorten(value)} must be {problem}")
    return dc.replace(spec, **sets) if any(value is not getattr(spec, name) for name, value in sets.items()) else spec
