"""Every inverter with every family that it serves: finite throughout, and exact where declared.

Each family and each inverter meets each spacing somewhere, and one family of each prediction meets all of them; quick
cells are those of these families at one spacing for each inverter.
"""

from __future__ import annotations

import functools
import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

import editkit
from editkit import Backend, MissingCapability, Prediction
from editkit.testing.suite import sample_image
from editkit.testing.tiny import FOLDERS, stable_diffusion_folder

FAMILIES: dict[str, Callable[[Path], Path]] = {
    kind.removesuffix("Pipeline"): maker
    for kind, maker in FOLDERS.items()
    if "Modular" not in kind  # their own size is large; ChromaPipeline is of the same backend
}
FAMILIES |= {
    f"StableDiffusion, {kind}": functools.partial(stable_diffusion_folder, prediction_type=kind)
    for kind in ("v_prediction", "sample")
}
SPACINGS = ("leading", "trailing", "linspace")
AT_EVERY_SPACING = {"StableDiffusion", "StableDiffusion, v_prediction", "StableDiffusion, sample", "StableDiffusion3"}
"""One family of each prediction."""
QUICK = {"null-text": "null-text:inner=1", "fixed-point": "fixed-point:iterations=2"}
"""Inverters whose cost is an option, at little of it."""


@functools.cache
def model_of(family: str) -> Backend:
    with tempfile.TemporaryDirectory() as folder:
        return editkit.load_model(FAMILIES[family](Path(folder)))


def serves(inverter: str, family: str) -> bool:
    return model_of(family).prediction in editkit.inverters()[inverter].predictions


def cells() -> Iterator[Any]:
    for (row, family), (column, inverter) in itertools.product(enumerate(FAMILIES), enumerate(editkit.inverters())):
        turn = SPACINGS[(row + column) % len(SPACINGS)]
        of_all = family in AT_EVERY_SPACING
        for spacing in SPACINGS if of_all else (turn,):
            marks = () if of_all and spacing == turn else pytest.mark.slow
            yield pytest.param(family, inverter, spacing, marks=marks)


@pytest.mark.parametrize(("family", "inverter", "spacing"), list(cells()))
def test_a_cell_is_finite_and_exact_where_declared(family: str, inverter: str, spacing: str) -> None:
    model, spec = model_of(family), editkit.inverters()[inverter]
    text = "text" in model.provides
    side = min(model.native_size, 64)
    prompts = {"prompt": "1" if family == "DiT" else "a red apple"} if text else {}
    call = functools.partial(
        editkit.invert,
        sample_image((side, side)),
        model=model,
        resolution=side,
        method=QUICK.get(inverter, inverter),
        steps=3,
        spacing=spacing,
        guidance=7.5,
        seed=0,
        cache=False,
        **prompts,
    )
    if not serves(inverter, family):
        with pytest.raises(MissingCapability, match=f"{inverter} needs"):
            call()
        return
    try:
        inversion = call()
    except MissingCapability as error:
        assert spec.sets_negative_prompt, error  # such an inverter needs guidance by two estimates
        return
    drawn = editkit.reconstruct(inversion, model=model, guidance=7.5)
    assert drawn.latents is not None
    assert bool(torch.isfinite(drawn.latents).all())
    if spec.exact:
        missed = float((drawn.latents - inversion.trajectory[-1]).abs().max())
        assert missed <= 1e-5, missed


def test_the_matrix_holds_every_prediction() -> None:
    assert {model_of(family).prediction for family in AT_EVERY_SPACING} == set(get_args(Prediction))
