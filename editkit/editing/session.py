"""Session: model, images, parameters and usage of one edit, and the computations every operation needs."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import functools
from collections.abc import Callable, Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor

from ..diffusion.denoiser import Condition, Denoiser, latent_dtype, repeat_condition
from ..diffusion.paths import SamplingPath, TimestepGrid, make_path
from ..diffusion.points import Point, PointBatch, eps_of
from ..diffusion.schedules import Schedule
from ..diffusion.source_rows import version_of
from ..diffusion.transfer import to_device
from ..errors import PluginFailure
from ..images.canvas import Canvas
from ..images.tensors import to_image
from ..inversion.cache import InversionCache
from ..inversion.inversion import Inversion
from ..model.autoencoder_cache import DecodedLatents, RoundTrip
from ..model.backend import Backend
from ..model.capabilities import full_name
from ..model.finite import check_returned, is_finite, walk_failed
from ..model.prompt_text import embed_instructions, embed_prompts
from ..model.references import requires_references
from ..registry.params import Params
from ..registry.registry import Registry
from ..registry.specs import SamplerSpec
from ..report import Usage
from ..sampling.change_map import ChangeMap, NoisedSourceChangeMap, own_change
from ..sampling.controls import Control, attach_all, check_compatible
from ..sampling.guidance import Guidance, condition_at_scale, guidance_parts, idle_guidance
from ..sampling.guidance_rules import guidance_rule_of
from ..sampling.intervals import interval, no_step_between
from ..sampling.kept_detail import KeptDetail, kept_detail
from ..sampling.loop import Stepper, final_state, walk
from ..sampling.params import DEFAULT_STEPS, DrawingParams
from ..sampling.progress import Progress, check_cancelled
from ..sampling.usual import usual_of
from ..sampling.windows import evaluate_in_windows
from .params import PROMPTS, prompts_of
from .sources import EncodesSources
from .steps.attaching import AttachesControls
from .steps.tracking import TracksLoops


@dc.dataclass
class Session(EncodesSources, TracksLoops, AttachesControls):
    """Everything an operation may use; latents are (B, C, h, w), and the first rows of a batch are its sources.

    ``usage`` counts network calls and takes warnings for the report (``usage.warn``); ``canvas`` is the place of the
    image at the model's size. ``random`` is seeded by the parameters: take noise from :meth:`noise`.
    """

    model: Backend
    params: Params
    registry: Registry
    canvas: Canvas
    images: Sequence[Image.Image]
    """The S source images."""
    pixels: Tensor
    """(S, 3, H, W) in [0, 1], the sources on white; S is 0 for an operation without an image."""
    mask: Tensor | None = None
    """(1, 1, H, W) in [0, 1]: strength of the change of each pixel."""
    progress: Progress | None = None
    inversion: Inversion | None = None
    """The inversion that the operation takes, if it takes one."""
    cache: InversionCache | None = None
    """Cache of inversion records; None to compute each."""
    random: torch.Generator = dc.field(default_factory=torch.Generator)
    usage: Usage = dc.field(default_factory=Usage)
    operation: str = "the operation"
    """Operation and its plugin, for messages."""
    pixel_cache: DecodedLatents = dc.field(default_factory=DecodedLatents, init=False)
    detail: KeptDetail = dc.field(default_factory=KeptDetail, init=False)
    visible: Tensor = dc.field(init=False)
    """(S, 3, H, W): the pixels that the edit may use, which are :attr:`pixels` until :meth:`erase`."""
    erased: bool = dc.field(default=False, init=False)
    """Whether the fully masked pixels of :attr:`visible` hold nothing of the sources."""
    left_out: Tensor | None = dc.field(default=None, init=False)
    """(B, 1, H, W): pixels whose visible change the gate left out; None without a gate."""
    undivided: bool = dc.field(default=False, init=False)
    """Whether the network takes the whole canvas, as what a control attaches to the model belongs to the whole."""
    reads_references: bool = dc.field(init=False)
    """Whether prompts are read together with :attr:`references`, which an operation may set for a model of both."""
    encoded: Tensor | None = dc.field(default=None, init=False)
    controls: dict[SamplingPath, list[Control]] = dc.field(default_factory=dict, init=False)
    regions: list[tuple[Session, tuple[int, int]]] = dc.field(default_factory=list, init=False)
    """Sessions on parts of the image, with left and top of each."""
    whole: Session | None = dc.field(default=None, init=False)
    """The session of the whole image, for one on a region."""
    crop: Callable[[Tensor], Tensor] | None = dc.field(default=None, init=False)
    """Cuts the region out of values (B, C, H, W) of the whole image; None for the whole, or no part of it."""
    left_out_controls: set[str] = dc.field(default_factory=set, init=False)
    """Controls of the parameters that are not attached."""
    round_trip: RoundTrip | None = dc.field(default=None, init=False)

    def __post_init__(self) -> None:
        self.visible, self.reads_references = self.pixels, requires_references(self.model)

    def for_region(
        self,
        pixels: Tensor,
        mask: Tensor | None = None,
        *,
        longest: int | None = None,
        place: tuple[int, int] | None = None,
        crop: Callable[[Tensor], Tensor] | None = None,
    ) -> Session:
        """Return a session on pixels (B, 3, H, W) of a region, which shares noise, usage and warnings with this one.

        ``mask`` (1, 1, H, W) is that of the region; ``longest`` is its longest side in pixels at which the model works,
        by default the model's native size. ``place`` is left and top of a region that is a part of the image: masks
        that controls find there are then masks of the edit. ``crop`` cuts another region out of values (B, C, H, W) of
        the session's image, so that maps and masks of controls, which have the size of the image, fit the region.
        """
        height, width = pixels.shape[-2:]
        if place is not None:
            crop = functools.partial(_crop, place=place, size=(width, height))
        canvas = Canvas.plan_native((width, height), self.model.native_size, self.model.multiple, longest)
        region = dc.replace(self, canvas=canvas, images=tuple(map(to_image, pixels)), pixels=pixels, mask=mask)
        region.whole, region.crop = self.whole or self, crop if self.whole is None else None
        if place is not None:
            self.regions.append((region, place))
        return region

    def network(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        """Call the model's network, in windows if the canvas has them, and count the calls."""
        self.detail.record_evaluation(point, len(x))

        def count_and_call(part: Tensor, condition: Condition) -> Tensor:
            check_cancelled()
            self.usage.count(len(part), self.canvas.work)
            version = version_of(part)
            x0 = self.model.denoise(part, point, condition)
            if version_of(part) != version:
                raise PluginFailure(f"denoise() of the model {full_name(self.model)!r} wrote into x: clone it")
            return check_returned(x0, "denoise", self.model, part.shape, part.dtype)

        if self.canvas.window is None or self.undivided:
            return count_and_call(x, condition)
        self.usage.warn(self.canvas.window_warning)
        return evaluate_in_windows(count_and_call, x, condition, self.network_shape[1:])

    @contextlib.contextmanager
    def observing(self) -> Iterator[None]:
        """Evaluate the network in this block to look at the source: the edit keeps its detail all the same."""
        before, self.detail = self.detail, KeptDetail()
        try:
            yield
        finally:
            self.detail = before

    @property
    def network_shape(self) -> tuple[int, int, int]:
        """Shape (C, h, w) of the latents that the network takes at once."""
        return self.model.latent_shape(*(self.canvas.window or self.canvas.padded))

    def model_default(self, name: str, fallback: float) -> float:
        """Return the model's usual value of a parameter if its spec or its family has one, else ``fallback``."""
        return float(usual_of(self.model, self.registry.specs["models"]).get(name, fallback))

    def default_steps(self, given: int | None) -> int:
        """Return the given number of steps, else the model's usual one, else :data:`DEFAULT_STEPS`."""
        return given or int(self.model_default("steps", DEFAULT_STEPS))

    def noise(self) -> Tensor:
        """Return noise (1, C, h, w) for one image, generated on the CPU so that it is equal on every device."""
        shape = (1, *self.model.latent_shape(*self.canvas.padded))
        # Torch's default dtype and device are the caller's, and change while another thread loads a model.
        noise = torch.randn(shape, generator=self.random, dtype=torch.float32, device="cpu")
        return to_device(noise, self.model.device, latent_dtype(self.model.dtype))

    @property
    def guidance_scale(self) -> float:
        """Guidance scale of the parameters."""
        return self.drawing.guidance

    @property
    def grid(self) -> TimestepGrid:
        """The model's grid with the spacing of the parameters, else the sampler's; flows are distilled on their own."""
        spacing, is_flow = getattr(self.params, "spacing", None), self.model.prediction == "flow_prediction"
        if spacing is None and isinstance(self.params, DrawingParams) and not is_flow:
            spacing = self.registry.configure("samplers", self.params.sampler)[0].spacing
        return dc.replace(self.model.grid, spacing=spacing) if spacing else self.model.grid

    @property
    def schedule(self) -> Schedule:
        """The model's schedule for latents of the size that the network takes."""
        return self.model.schedule.for_shape(self.network_shape)

    def drawing_path(self, steps: int) -> SamplingPath:
        """Return the sampler's path of ``steps`` steps; its end follows the sampler's convention."""
        spec: SamplerSpec = self.registry.configure("samplers", self.drawing.sampler)[0]
        return make_path(self.schedule, steps, self.grid, extra_node=spec.extra_node, to_zero=spec.ends_at_zero)

    def inversion_path(self, steps: int) -> SamplingPath:
        """Return the path of an inversion and its replay; it ends at the schedule's lowest noise, not at sigma 0."""
        return make_path(self.schedule, steps, dc.replace(self.grid, ends_clean=False))

    def embed(self, *prompts: str) -> Condition:
        """Return the condition of prompts, one row each; words that are cut become warnings."""
        self.usage.prompts.update(dict.fromkeys(prompts))
        if self.reads_references:
            return embed_instructions(self.model, prompts, self.references, self.usage.warn)
        in_chunks = isinstance(self.params, DrawingParams) and self.params.long_prompts
        edit = [*prompts_of(self.params), *([self.inversion.prompt] if self.inversion else [])] if in_chunks else None
        return embed_prompts(self.model, prompts, self.usage.warn, chunked_with=edit)

    def guided(self, condition: Condition, rows: int, path: SamplingPath) -> Guidance:
        """Return the network under a condition of ``rows`` rows with the guidance of the parameters."""
        # Without text both estimates would be equal: one evaluation is enough.
        scale = self.drawing.guidance if "text" in self.model.provides else 1.0
        if scale != self.drawing.guidance and not self.drawing.is_default("guidance"):
            self.usage.warn(f"guidance={self.drawing.guidance:g} has no effect: the model takes no text")
        unread = scale == 0.0 and "distilled-guidance" not in self.model.provides
        if unread and any(getattr(self.params, name, "") for name in PROMPTS if name != "negative_prompt"):
            self.usage.warn("the prompt has no effect: guidance is 0, which evaluates the negative prompt alone")
        beside = self.drawing.negative_guidance
        parts = guidance_parts(self.model, condition, lambda: self._negative(condition, rows), scale, beside)
        return self.weighted(*parts, path)

    def guided_edit(self, condition: Condition, rows: int, path: SamplingPath) -> Guidance:
        """Return :meth:`guided` for rows of an edit, and warn of parameters without effect on them."""
        guidance = self.guided(condition, rows, path)
        usual = usual_of(self.model, self.registry.specs["models"])
        self.usage.warn(*idle_guidance(self.drawing, usual, guidance))
        return guidance

    def at_guidance_scale(self, condition: Condition, rows: int, scale: float) -> Condition | None:
        """Return the condition of ``rows`` rows under which one evaluation is guided; None if it takes several."""
        return condition_at_scale(self.model, condition, lambda: self._negative(condition, rows), scale)

    def _negative(self, condition: Condition, rows: int) -> Condition:
        """Return a condition of ``rows`` rows with the negative prompt in place of its prompts."""
        return {**condition, **repeat_condition(self.embed(self.drawing.negative_prompt), rows)}

    def weighted(self, conditions: Sequence[Condition], weights: Sequence[float], path: SamplingPath) -> Guidance:
        """Return guidance by several conditions with the interval and the rescaling of the parameters."""
        params = self.drawing
        low, high = interval(path, params.guidance_start, params.guidance_end)
        if low > high and any(weights[:-1]):
            self.usage.warn(no_step_between("guidance", path, params.guidance_start, params.guidance_end))
        rule, prediction = guidance_rule_of(self.model), self.model.prediction
        options = params.guidance_rescale, low, high
        return Guidance(self.network, conditions, weights, *options, rule=rule, prediction=prediction)

    def draw(
        self,
        x: Tensor,
        path: SamplingPath,
        condition: Condition | Guidance,
        controls: Sequence[Control] = (),
        noise: Tensor | None = None,
        step: Stepper | None = None,
        inverted: bool = False,
        sources: Sequence[int | None] | None = None,
    ) -> Tensor:
        """Sample from ``x`` (B, C, h, w) along a path with ``step``, or the sampler, and return the clean latents.

        With a mask, protected latents follow the sources noised with ``noise``, by default the noise in ``x``.
        ``inverted`` declares that ``x`` is the noise of an inversion, which keeps the sources whatever its noise level;
        ``sources`` names for each row of ``x`` the row that is its source, or None, for controls.
        Raises InvalidParameter if two controls contradict each other, EditkitError if a latent is not finite.
        """
        if self.latent_mask is not None and not any(isinstance(control, ChangeMap) for control in controls):
            noise = eps_of(x, self.latents, path[0]) if noise is None else noise
            controls = [*controls, NoisedSourceChangeMap(self.latent_mask, path, self.latents, noise)]
        if self.mask is not None and (small := self.canvas.small_mask_warning(self.mask, self.model.native_size)):
            self.usage.warn(small)
        self._warn_of_spared(path, sources or ())
        controls = [*self.attached(path), *controls]
        check_compatible(controls)
        self.detail.record_start(1.0 if inverted or len(path) == 1 else self._kept_from(path, controls))
        denoise = condition if isinstance(condition, Guidance) else self.guided_edit(condition, len(x), path)
        stepper = step or self.registry.build("samplers", self.drawing.sampler)
        self.undivided = any(control.changes_model and not control.divisible for control in controls)
        with attach_all(self.model, controls, path, sources or [None] * len(x)):
            estimate = self.estimate(path, sources or ())
            watching = controls if estimate is None else [*controls, estimate]
            steps = walk(stepper, denoise, x, path, noise=self.noise, controls=watching)
            final = final_state(self.track(steps, len(path) - 1, "sampling", estimate=estimate), x)
            walker = f"sampling with {self.drawing.sampler}" if step is None else "sampling"
            return self.check_walk(final, x, denoise, path[0], walker)

    @property
    def kept(self) -> Tensor | float:
        """Share in [0, 1] of the sources' detail that the session's sampling kept, a number or (1, 1, H, W).

        It is 0 where :meth:`draw` started from noise, and 1 outside the mask and for an inversion.
        """
        return self.detail.share

    def _kept_from(self, path: SamplingPath, controls: Sequence[Control]) -> Tensor:
        """Return the share (1, 1, H, W), or of one value without a mask, that a start at ``path[0]`` keeps."""
        change = own_change(controls)
        pixels = self.mask if change is None else self.canvas.latents_to_image(change)
        return kept_detail(pixels, path, from_noise=self.starts_from_noise(path))

    def starts_from_noise(self, path: SamplingPath) -> bool:
        """Return whether a path starts where the whole path of the parameters does, as at strength 1."""
        steps = getattr(self.params, "steps", None) or DEFAULT_STEPS
        return path[0].angle >= self.drawing_path(steps)[0].angle

    def check_walk(self, states: Tensor, start: Tensor, denoise: Denoiser, point: Point, walker: str) -> Tensor:
        """Return the states of a walk from ``start`` at ``point``; raises EditkitError if one is not finite."""
        if not is_finite(states):
            raise walk_failed(self.operation, walker, full_name(self.model), start, lambda: denoise(start, point))
        return states


def _crop(values: Tensor, place: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Return the part of values (B, C, H, W) of ``size`` (width, height) at ``place`` (left, top)."""
    (left, top), (width, height) = place, size
    return values[..., top : top + height, left : left + width]
