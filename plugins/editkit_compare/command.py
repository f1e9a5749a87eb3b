"""One prompt edit by several inverters: a table row and an image of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from editkit import (
    Backend,
    InvalidParameter,
    Result,
    Table,
    apply,
    check_file,
    draw_sheet,
    inverters,
    judge,
    load_model,
    open_image,
    save_picture,
)

from . import CompareParams


def compare(params: CompareParams) -> Table:
    """Edit once with each inverter and, with ``sheet``, write the results to one image.

    The inversion cache is not used, so that every row measures a first edit. On a CPU the peak of memory is that of the
    process so far, so it never falls from row to row.
    """
    image = open_image(params.image)
    truth = _open_truth(params, image)
    if params.sheet is not None:
        check_file(params.sheet, argument="sheet")
    model = load_model(params.model, **params.loading)
    results = {name: _edit_by(params, image, model, name) for name in params.inverter or compatible_inverters(model)}
    if params.sheet is not None:
        labelled = [("source", image), *((name, result.image) for name, result in results.items())]
        save_picture(draw_sheet([*labelled, ("truth", truth)] if truth else labelled), params.sheet, argument="sheet")
    rows = [_row(name, result, image, truth) for name, result in results.items()]
    return Table(rows, {"model": model.name, "steps": params.steps, "guidance": params.guidance})


def _open_truth(params: CompareParams, image: Image.Image) -> Image.Image | None:
    if params.truth is None:
        return None
    truth = open_image(params.truth, argument="truth")
    if truth.size != image.size:
        raise InvalidParameter(f"truth is {truth.size} pixels and the image {image.size}: they must be of one size")
    if np.array_equal(np.asarray(truth.convert("RGB")), np.asarray(image.convert("RGB"))):
        raise InvalidParameter("truth shows the same as the image: give the image that the edit should produce")
    return truth


def compatible_inverters(model: Backend) -> Sequence[str]:
    """Return the names of the inverters that support the model's prediction kind."""
    return [name for name, spec in inverters().items() if model.prediction in spec.predictions]


def _edit_by(params: CompareParams, image: Image.Image, model: Backend, inverter: str) -> Result:
    options: dict[str, Any] = {
        "source": params.source,
        "target": params.target,
        "steps": params.steps,
        "guidance": params.guidance,
    }
    result: Result = apply(
        "prompt-edit", image, model=model, cache=False, inverter=inverter, seed=params.seed, **options
    )
    return result


def _row(name: str, result: Result, image: Image.Image, truth: Image.Image | None) -> dict[str, Any]:
    report = result.report
    figures: dict[str, Any] = {
        "inverter": name,
        "recon_psnr": report.recon_psnr,
        "vae_psnr": report.vae_psnr,
        "network_calls": report.network_calls,
        "network_samples": report.network_samples,
        "seconds": report.seconds,
        "peak_memory_mb": report.peak_memory_mb,
        "progress": None,
        "collateral": None,
        "success": None,
    }
    if truth is not None:
        judgement = judge(*(np.asarray(one.convert("RGB")) / 255 for one in (image, truth, result.image)))
        figures |= judgement._asdict()
    return figures
