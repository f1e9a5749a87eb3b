"""Measure the results of a data set's cases, by the definitions that the user chose."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from editkit import InvalidParameter, evaluation, on_white

from . import EvaluateParams
from .measures import Region, measure_image, to_pixels
from .networks import ClipSimilarity, PerceptualDistance, StructureDistance
from .published import blacken, measure_as_published, with_border

Measures = Mapping[str, float | bool | None]
"""Measures of one result by name; None where one is not defined."""


class Metrics:
    """The measures of an evaluation, with the networks that they need."""

    def __init__(self, params: EvaluateParams) -> None:
        """Load the networks; raises WeightsUnavailable for a folder that is of no use."""
        self.as_published = params.as_published
        self.clip = ClipSimilarity(params.clip) if params.clip else None
        self.lpips = PerceptualDistance(params.lpips) if params.lpips else None
        self.dino = StructureDistance(params.dino) if params.dino else None

    @property
    def definitions(self) -> str:
        """Name of the definitions and networks; measures of one name are comparable."""
        networks = {"clip": self.clip, "lpips": self.lpips, "dino": self.dino}
        names = [f"{name} {network.identity}" for name, network in networks.items() if network is not None]
        return ", ".join(["published" if self.as_published else "editkit", *names])

    def measure(
        self, case: evaluation.Case, result: Image.Image, truth_round_trip: Image.Image | None = None
    ) -> Measures:
        """Return the measures of a result of a case; the round trip is that of the true outcome, if there is one.

        Raises InvalidParameter for a case without a mask if the definitions need one.
        """
        source = on_white(case.image)
        if result.size != source.size:
            raise InvalidParameter(
                f"the result has {result.size[0]} x {result.size[1]} pixels and the image {source.size[0]} x "
                f"{source.size[1]}: only a method that keeps the size can be measured"
            )
        edited = None if case.mask is None else np.asarray(case.mask) > 0
        if self.as_published:
            if edited is None:
                raise InvalidParameter(f"as_published needs masks, and case {case.name!r} has none: leave it out")
            return self._published(case, source, result, with_border(edited))
        truth = {} if truth_round_trip is None else _compare_with_truth(case, result, truth_round_trip)
        unchanged = np.array_equal(np.asarray(source), np.asarray(result))
        own = measure_image(to_pixels(source), to_pixels(result), edited)
        return {**truth, **own, **self._by_networks(case, source, result, edited), "unchanged": unchanged}

    def _by_networks(
        self, case: evaluation.Case, source: Image.Image, result: Image.Image, edited: Region | None
    ) -> dict[str, float | None]:
        values: dict[str, float | None] = {}
        if self.lpips and edited is None:
            values["lpips"] = self.lpips.distance(source, result)
        elif self.lpips and edited is not None:
            alone = Image.composite(source, result, Image.fromarray(edited))
            values["lpips_outside"] = self.lpips.distance(source, alone, ~edited)
        if self.dino:
            values["structure_distance"] = self.dino.distance(source, result)
        if self.clip:
            values["clip_source"] = self.clip.similarity(source, case.source)
            values["clip_target"] = self.clip.similarity(result, case.target)
            box = None if edited is None else Image.fromarray(edited).getbbox()
            if edited is not None:
                values["clip_target_crop"] = box and self.clip.similarity(result.crop(box), case.target)
        return values

    def _published(
        self, case: evaluation.Case, source: Image.Image, result: Image.Image, edited: Region
    ) -> dict[str, float | None]:
        """Return the measures that the published code lists by default, in its order, as far as networks are there."""
        parts = measure_as_published(to_pixels(source), to_pixels(result), edited)
        values: dict[str, float | None] = {}
        if self.dino:
            values["structure_distance"] = self.dino.distance(source, result, as_published=True)
        values["psnr_unedit_part"] = parts["psnr_unedit_part"]
        if self.lpips:
            one, other = (blacken(image, ~edited) for image in (source, result))
            values["lpips_unedit_part"] = None if edited.all() else self.lpips.distance(one, other)
        values |= {name: parts[name] for name in ("mse_unedit_part", "ssim_unedit_part")}
        if self.clip:
            values["clip_similarity_source_image"] = self.clip.similarity(source, case.source)
            values["clip_similarity_target_image"] = self.clip.similarity(result, case.target)
            values["clip_similarity_target_image_edit_part"] = self.clip.similarity(
                blacken(result, edited), case.target
            )
        return values | {name: parts[name] for name in ("psnr_edit_part", "mse_edit_part", "ssim_edit_part")}


def _compare_with_truth(
    case: evaluation.Case, result: Image.Image, round_trip: Image.Image
) -> dict[str, float | bool | None]:
    assert case.truth is not None, "a round trip of the true outcome needs one"
    images = (case.image, case.truth, result, round_trip)
    score = evaluation.score_against_truth(*(np.asarray(on_white(image)) for image in images))
    return {
        "success": score.success,
        "success_round_trip": score.success_round_trip,
        "progress": score.progress,
        "collateral": score.collateral,
        "psnr_truth": score.psnr,
    }
