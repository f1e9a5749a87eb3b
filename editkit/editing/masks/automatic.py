"""Automatic masks: the region that an edit changes, by the model's own estimates and its attention.

All methods observe the network on the noised source under two prompts. The noise level, the number of noises and the
thresholds are those of the papers, but the masks are soft: a place whose value equals the threshold is marked by one
half, and one around it by less or more. A mask of at least one half is therefore the binary mask of the paper.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ...diffusion.attention import CallRow, Word, describe_rows
from ...diffusion.denoiser import Condition, stack_conditions
from ...diffusion.paths import start_at
from ...diffusion.points import add_noise
from ...errors import MissingCapability
from ...images.masks.feather import fade_edges
from ...images.masks.meaning import cut_levels
from ...images.masks.tensors import mask_tensor
from ...literals import AutoMask
from ...model.batching import exclusive
from ...model.capabilities import SupportsAttention, require
from ..params import AutoMaskParams, EditParams
from ..session import Session
from .attention import WordMaps, changed_places, smooth_maps, widen_maps

NOISES = 10
"""Noises over which the estimates and the attention are averaged (Couairon et al., arXiv 2210.11427, section 3.2)."""
FAINT = 0.5
"""Largest value of a mask up to which most of the edit is hidden everywhere."""
STEPS, LEVEL = 50, 0.5
"""Steps of the path, and the share of it from its clean end, at which the network is observed (ibid.)."""
CLIP = 3.0
"""Multiple of its mean at which a difference of estimates is clipped (ibid.)."""
THRESHOLDS: dict[AutoMask, float] = {"difference": 0.5, "attention": 0.3, "both": 0.9}
"""Published thresholds: a share of the clipped difference (ibid.), a share of the largest attention (Hertz et al.,
arXiv 2208.01626, local blend of the authors' code), the quantile of LEDITS++ (Brack et al., arXiv 2311.16711)."""

SOFTNESS = 0.25
"""Distance from the threshold, relative to it, over which a mask fades on either side."""


def mask_by_prompts(session: Session) -> None:
    """Find the mask of a session whose parameters ask for one and have both prompts; see :func:`mask_automatically`."""
    params = session.params
    if isinstance(params, AutoMaskParams) and params.auto_mask and params.prompts_of_change is not None:
        mask_automatically(session, params.prompts_of_change)


def mask_automatically(session: Session, prompts: tuple[str, str], conditions: Sequence[Condition] = ()) -> None:
    """Set the session's mask to the region that an edit from the first prompt to the second changes.

    The parameters name the method. ``conditions`` are those of both prompts, one row each, by default their
    embeddings. A mask that the session has is kept: the result is marked by the smaller of both. The noises are drawn
    apart, so that those of the edit do not depend on the mask. An empty or a whole mask is a warning.
    """
    params = session.params
    assert isinstance(params, AutoMaskParams) and params.auto_mask is not None
    threshold = THRESHOLDS[params.auto_mask] if params.mask_threshold is None else params.mask_threshold
    words = None
    if params.auto_mask != "difference":
        words = WordMaps(changed_places(*_words(session, prompts, params.auto_mask)))
    both = stack_conditions(conditions) if conditions else session.embed(*prompts)
    difference = _observe(session, both, words)
    _limit(session, _change(params.auto_mask, threshold, difference, words), threshold)


def _words(session: Session, prompts: tuple[str, str], method: AutoMask) -> Iterator[Sequence[Word]]:
    """Yield the words of each prompt; raises MissingCapability if the model has none that it attends to."""
    model = require(session.model, SupportsAttention)
    for prompt in prompts:
        try:
            yield model.words(prompt) if prompt.strip() else []
        except MissingCapability as error:
            raise MissingCapability(f"auto_mask={method!r}: {error}, or use auto_mask='difference'") from None


def _observe(session: Session, conditions: Condition, words: WordMaps | None) -> Tensor:
    """Return the mean absolute difference (1, 1, h, w) of the estimates under two conditions, one row each.

    The attention to ``words`` is recorded in the same calls.
    """
    point = start_at(session.schedule, session.drawing_path(STEPS), LEVEL)[0]
    total = torch.zeros_like(session.latents[:, :1])
    with session.observing(), _own_noise(session), _attending(session, words):
        for _ in range(NOISES):
            noisy = add_noise(session.latents, session.noise(), point)
            with describe_rows([CallRow(0, row, point) for row in range(2)]):
                before, after = session.network(torch.cat([noisy, noisy]), point, conditions).chunk(2)
            total += (after - before).abs().mean(1, keepdim=True)
    return total / NOISES


@contextlib.contextmanager
def _own_noise(session: Session) -> Iterator[None]:
    """Draw noise from another generator of the same seed in this block."""
    before, session.random = session.random, torch.Generator().manual_seed(session.drawing.seed or 0)
    try:
        yield
    finally:
        session.random = before


@contextlib.contextmanager
def _attending(session: Session, words: WordMaps | None) -> Iterator[None]:
    """Record attention in this block; the network then takes the whole canvas."""
    if words is None:
        yield
        return
    model, session.undivided = require(session.model, SupportsAttention), True
    try:
        with exclusive(session.model), model.attending(words.record):
            yield
    finally:
        session.undivided = False


def _change(method: AutoMask, threshold: float, difference: Tensor, words: WordMaps | None) -> Tensor:
    """Return the mask (1, 1, h, w) in [0, 1] of a method, one half at its threshold."""
    size = (difference.shape[-2], difference.shape[-1])
    if method == "difference" or words is None:
        limit = CLIP * difference.mean()
        return _fade((difference / limit.clamp(min=1e-9)).clamp(0, 1), threshold)
    maps = words.maps(size)
    if method == "attention":
        maps = _at_latents(widen_maps(maps), size)
        return _fade(_largest(maps / maps.amax((-2, -1), keepdim=True).clamp(min=1e-9)), threshold)
    attention = _largest(_at_latents(_fade_by_rank(smooth_maps(maps), threshold), size))
    return torch.minimum(attention, _fade_by_rank(difference, threshold))


def _fade(values: Tensor, threshold: float) -> Tensor:
    """Return a mask that is one half at a threshold and fades around it in proportion to the values."""
    return ((values / threshold - 1) / (2 * SOFTNESS) + 0.5).clamp(0, 1)


def _fade_by_rank(maps: Tensor, share: float) -> Tensor:
    """Return masks of maps (R, 1, H, W) that are one half at a quantile of each.

    They fade on either side over as many places as lie above it; maps without a value above 0 mark nothing.
    """
    flat = maps.float().flatten(1)
    shares = torch.tensor([max(0.0, 2 * share - 1), share, (1 + share) / 2], device=maps.device)
    low, middle, high = torch.quantile(flat, shares, dim=1)[..., None, None, None]
    widths = torch.where(maps < middle, middle - low, high - middle)
    masks: Tensor = (0.5 + 0.5 * (maps - middle) / widths.clamp(min=1e-9)).clamp(0, 1)
    return masks * (maps.amax((-2, -1), keepdim=True) > 0)


def _at_latents(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps (R, 1, H, W) at the size of the latents."""
    return F.interpolate(maps, size, mode="bilinear")


def _largest(maps: Tensor) -> Tensor:
    """Return the maximum (1, 1, h, w) of the maps (R, 1, h, w) of several prompts."""
    return maps.amax(0, keepdim=True)


def _limit(session: Session, change: Tensor, threshold: float) -> None:
    """Limit a session's mask by a map (1, 1, h, w) of the latents, and warn if nothing or everything is marked."""
    pixels = session.canvas.latents_to_image(change.cpu(), smooth=True)[0, 0].numpy()
    levels = cut_levels(pixels * 255)
    params = session.params
    if isinstance(params, EditParams) and params.feather > 0:
        levels = np.rint(fade_edges(levels, params.feather)).astype(np.uint8)
    automatic = mask_tensor(Image.fromarray(levels), 0)
    mask = automatic if session.mask is None else torch.minimum(automatic, session.mask)
    for problem in _problems(automatic, mask, threshold):
        session.usage.warn(problem)
    session.limit(mask)


def _problems(automatic: Tensor, mask: Tensor, threshold: float) -> Iterator[str]:
    """Yield a warning if an automatic mask, or its intersection with a painted one, marks nothing or everything, or
    hides most of the edit everywhere.
    """
    if not bool(automatic.any()):
        yield (
            f"the automatic mask marks nothing, so the image stays as it is: no place is near the threshold "
            f"{threshold:g}; give a lower mask_threshold, or leave auto_mask out"
        )
    elif not bool(mask.any()):
        yield "the automatic mask marks nothing inside the painted mask, so the image stays as it is: leave one out"
    elif bool(mask.all()):
        yield (
            "the automatic mask marks the whole image, so no pixel is kept: give a higher mask_threshold than "
            f"{threshold:g}"
        )
    elif float(automatic.max()) < FAINT:
        yield (
            f"the automatic mask is faint, {float(automatic.max()):.0%} at most, so little of the edit shows: give a "
            f"lower mask_threshold than {threshold:g}"
        )
