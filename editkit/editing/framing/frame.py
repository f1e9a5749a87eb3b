"""Bring the subject of an image into the frame that a model shows, and lay the edit back.

A model trained on single subjects of one size and place fails on other sizes and places. Its prediction for a prompt
from pure noise shows where it expects the subject, and is registered to the image; without a prompt of the source, the
usual size of its subjects tells. The square around the subject becomes a region on the model's own ground, and the edit
of the region is laid back as a difference.
"""

from __future__ import annotations

import dataclasses as dc
import math

import torch
from torch import Tensor

from ...diffusion.denoiser import latent_dtype
from ...diffusion.paths import make_path
from ...images.blending.pull_push_fill import pull_push_fill
from ...registry.specs import Frame
from ..outcome import Edit, PixelEdit
from ..params import FrameParams
from ..results.composing import paint
from ..session import Session
from .extent import place_by_extent
from .following import FollowedSubject
from .ground import MATTE_LOW, Standing, coverage
from .placing import Place, place_by_outline, place_standing
from .registration import Placement

EDGE = 2
"""Width of the edges of a decoded subject in pixels at the model's scale."""
BESIDE = 0.25
"""Share of all that stands on a plain ground from which it is named if it is beside the edited square."""

VISIBLE = 0.1
"""Difference of a pixel to the one beside it that is seen as an edge, where the source has less."""
CUT_SHARE = 0.5
"""Share of a side of the edited square with such edges, from which the edit is cut off there."""

_CUT_EDGE = (
    "the edit goes on at the border of the report's frame, and ends there in an edge: frame=off edits the whole image, "
    "another target keeps the size of the subject"
)

NOTHING = torch.zeros(1, 1, 1)
"""Share of a subject or a mask beside an image."""


@dc.dataclass(frozen=True)
class Framing:
    """A region of an edit, in which the subject stands in the model's frame."""

    session: Session
    """The session of the whole image."""
    region: Session
    """The session of the region."""
    placement: Placement
    """Place of the region in the image, in pixels of the image."""
    model_ground: Tensor
    """(3, 1, 1): ground of the region."""
    cut: Standing | None
    """The image whose subject was cut out of a ground that is not smooth; None if the ground is smooth."""

    def as_dict(self) -> dict[str, int]:
        """Return the place of the region for the report."""
        place = self.placement
        return {"left": place.left, "top": place.top, "side": place.side, "mirrored": int(place.mirrored)}

    def lay_back(self, outcome: Edit | PixelEdit) -> PixelEdit:
        """Return the edit of the whole image from that of the region; an unchanged region leaves it bit-identical.

        Where the subject gives way to the ground or covers it, the ground is that of the image beside it.
        """
        before = self.region.pixels
        after = outcome.pixels if isinstance(outcome, PixelEdit) else paint(self.region, outcome)
        covered = self._coverage(before)
        subject = covered if self.cut is None else _cut(self.cut.subject, self.placement, NOTHING)
        # Remains of the ground beside a cut-out subject look like a subject, before and after.
        uncovered = subject - (subject + self._coverage(after) - covered).clamp(0, 1)
        difference = self._image_ground(subject) - self.model_ground
        change = after - before + uncovered * torch.where(difference.abs() < MATTE_LOW, 0.0, difference)
        if self.placement.mirrored:
            change = change.flip(-1)
        pixels = self.session.pixels.clone()
        rows, columns = self.placement.overlaps(pixels)
        pixels[..., rows[0], columns[0]] += change[..., rows[1], columns[1]]
        self._warn_of_cut_edge(pixels)
        return PixelEdit(pixels)

    def _warn_of_cut_edge(self, pixels: Tensor) -> None:
        """Warn if edited pixels (1, 3, H, W) have an edge along the border of the square that the source has not."""
        source, mask, place = self.session.pixels, self.session.mask, self.placement
        edited = pixels if mask is None else source + mask * (pixels - source)
        rows, columns = (own[0] for own in place.overlaps(pixels))
        ends = [(1, columns, (place.top, place.top + place.side)), (2, rows, (place.left, place.left + place.side))]
        for axis, along, edges in ends:
            before, after = (image[0].movedim(axis, 1)[..., along] for image in (source, edited))
            for edge in edges:
                if 0 < edge < before.shape[1]:
                    was, now = (_step(image, edge) for image in (before, after))
                    if float(((was < VISIBLE) & (now - was > VISIBLE)).float().mean()) > CUT_SHARE:
                        self.session.usage.warn(_CUT_EDGE)

    def whole_mask(self, mask: Tensor) -> Tensor:
        """Return a mask (1, 1, H, W) of the whole image from one of the region, outside which nothing changes."""
        return self.placement.put_into(mask, self.session.pixels)

    def _coverage(self, pixels: Tensor) -> Tensor:
        """Return the share (1, 1, side, side) of the subject in each pixel of the region."""
        # The model's edges are some of its pixels wide.
        edge = math.ceil(EDGE * self.placement.side / self.session.model.native_size)
        return coverage(pixels, self.model_ground, edge)

    def _image_ground(self, subject: Tensor) -> Tensor:
        """The image in the region (1, 3, side, side), continued into its subject (1, 1, side, side)."""
        if self.cut is not None:
            return _cut(self.cut.ground[None], self.placement, self.model_ground)
        pixels = self.session.pixels
        inside = _cut(torch.ones_like(pixels[:, :1]), self.placement, NOTHING)
        return pull_push_fill(_cut(pixels, self.placement, self.model_ground), (subject == 0) & (inside == 1))


def _step(image: Tensor, edge: int) -> Tensor:
    """Return the largest difference of a channel between two lines of an image (3, H, W), at each pixel of them."""
    return (image[:, edge] - image[:, edge - 1]).abs().amax(0)


def frame_session(session: Session, following: FollowedSubject | None = None) -> Framing | None:
    """Return the framing of an edit whose subject stands elsewhere than the model expects it; None for all others.

    It needs a model that declares a frame, one source, and a prompt of the source or a frame with an extent. For a
    prompt the network is called once. ``following`` is for the frames of an animation, which are all framed if the
    first one shows the subject.
    """
    params, spec = session.params, session.registry.specs["models"].get(session.model.name)
    frame = spec.frame if spec is not None and len(session.images) == 1 else None
    if frame is None or not isinstance(params, FrameParams) or params.frame == "off":
        return None
    model_ground = torch.tensor(frame.ground, dtype=torch.float32)[:, None, None]
    standing = Standing.of(session.pixels, model_ground)
    place = _place(session, params.source_prompt, frame, standing, model_ground, keep_whole=following is not None)
    if place is None:
        return None
    placement = place.placement
    if following is not None:
        placement = following.place(None if standing is None else session.pixels[0] - standing.ground, placement)
    _warn_of_subjects(session, params.source_prompt, place)
    if placement is None or place.standing is None:
        return None
    if place.more or (not place.cut and _leaves_much(session, place.standing.subject, placement)):
        session.usage.warn(
            "frame=auto edits one subject, whose place is the report's frame, and the others stay as they are: a mask "
            "over another one chooses it, frame=off edits the whole image"
        )
    region = session.for_region(
        _cut(place.standing.pixels, placement, model_ground),
        None if session.mask is None else _cut(session.mask, placement, NOTHING),
        crop=lambda values: _cut(values, placement, NOTHING),
    )
    return Framing(session, region, placement, model_ground, place.standing if place.cut else None)


def _place(
    session: Session, prompt: str, frame: Frame, standing: Standing | None, model_ground: Tensor, *, keep_whole: bool
) -> Place | None:
    """Return the place of the subject; None if neither a prompt of the source nor the frame tells it."""
    mask = session.mask
    if prompt:
        template = _predict(session, prompt) - model_ground
        place = standing and place_standing(standing, mask, template, model_ground, keep_whole=keep_whole)
        return place or place_by_outline(session.pixels, mask, template, model_ground)
    if frame.extent is None:
        return None
    return place_by_extent(standing, mask, frame.extent, keep_whole=keep_whole)


def _warn_of_subjects(session: Session, prompt: str, place: Place) -> None:
    """Warn of an image without a subject, and of one with several that are edited as one."""
    name = session.model.name
    if not place.explained:
        subject = f"subject as {name} draws it for the source prompt {prompt[:60]!r}" if prompt else "plain ground"
        other = ", or describe it in the source prompt" if prompt else ""
        session.usage.warn(
            f"frame=auto finds no {subject}: the image is edited as it stands, which such a model seldom does well; "
            f"crop it to its subject{other}"
        )
    if place.several:
        session.usage.warn(
            f"the image shows several things, which {name} takes for one subject: a mask over one chooses it"
        )


def _leaves_much(session: Session, subject: Tensor, placement: Placement) -> bool:
    """Return whether much of what stands on the ground, shares (1, 1, H, W), is beside the placement and may change."""
    standing = subject if session.mask is None else subject * session.mask
    rows, columns = (inside[0] for inside in placement.overlaps(subject))
    return float(standing.sum() - standing[..., rows, columns].sum()) > BESIDE * float(standing.sum())


def _predict(session: Session, prompt: str) -> Tensor:
    """Return the image (3, n, n) that the model predicts for a prompt from pure noise, at its native size."""
    model = session.model
    start = make_path(session.schedule, 1, session.grid)[0]
    shape = (1, *model.latent_shape(model.native_size, model.native_size))
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu")
    x = (start.sigma * noise).to(model.device, latent_dtype(model.dtype))
    with session.observing():
        return model.decode(session.network(x, start, session.embed(prompt)))[0].float().cpu()


def _cut(values: Tensor, placement: Placement, fill: Tensor) -> Tensor:
    """Return the square (B, C, side, side) of values (B, C, H, W) at a placement, with ``fill`` (C, 1, 1) outside."""
    side = placement.side
    square = fill.expand(len(values), -1, side, side).clone()
    rows, columns = placement.overlaps(values)
    square[..., rows[1], columns[1]] = values[..., rows[0], columns[0]]
    return square.flip(-1) if placement.mirrored else square
