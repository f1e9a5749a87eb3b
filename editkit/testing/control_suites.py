"""Conformance suite of controls of attention, on a tiny UNet and on a tiny transformer of joint attention."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest

import torch
from torch import Tensor, nn

from ..diffusion.denoiser import latent_dtype
from ..editing.apply import apply
from ..editing.many.apply_all import apply_all
from ..editing.primitives import invert_latents, sample_from_inversion
from ..editing.session import Session
from ..errors import InvalidParameter
from ..images.canvas import Canvas
from ..images.tensors import to_tensor
from ..model.loading import load_model
from ..registry.registry import installed
from .suite import Suite, largest, random_latents, sample_image
from .tiny import FOLDERS

NETWORKS: Mapping[str, str] = {"UNet": "StableDiffusionPipeline", "joint attention": "FluxPipeline"}
"""Pipelines whose networks a control is checked on."""
SIZE = (36, 28)
SOURCE, TARGET = "a red apple", "a red pear"
STEPS = 4
"""Steps of an edit: a control of the first third acts on one at least."""


@functools.cache
def tiny_model(pipeline: str) -> Any:
    """Return the tiny model of a pipeline, loaded once."""
    with tempfile.TemporaryDirectory() as folder:
        return load_model(FOLDERS[pipeline](Path(folder) / "model"), device="cpu")


class AttentionControlTests(Suite):
    """Checks of every control whose spec needs ``attention``, attached to an edit by inversion."""

    kind = "control"
    options: ClassVar[str] = ""
    """Options as after the colon of a call: ``start=0.2,end=0.8``."""
    operation: ClassVar[str] = "prompt-edit"
    """Operation with parameters ``source``, ``target`` and ``inverter`` that the control is attached to."""
    arguments: ClassVar[Mapping[str, Any]] = {}
    """Further parameters of the operation."""
    tolerance: ClassVar[float] = 5e-5
    """Largest difference of latents between edits in a batch and alone: float32 sums vary with the order."""

    @classmethod
    def serves(cls, spec: Any) -> bool:
        """Return whether the control is one of attention that acts on whole images."""
        return "attention" in spec.needs and not spec.needs_mask

    @property
    def call(self) -> str:
        """The control as ``attach`` takes it; without required options the checks are skipped."""
        call = f"{self.name}:{self.options}" if self.options else self.name
        try:
            installed().build("controls", call)
        except InvalidParameter as error:
            if self.options:
                raise
            raise SkipTest(str(error)) from None
        return call

    def models(self) -> Iterator[tuple[str, Any]]:
        """Yield each kind of network and the model that has it."""
        for kind, pipeline in NETWORKS.items():
            yield kind, tiny_model(pipeline)

    def given(self, **chosen: Any) -> dict[str, Any]:
        """Return the parameters of an edit with the control, and the ``chosen`` ones."""
        values = {"source": SOURCE, "target": TARGET, "steps": STEPS, "seed": 3, "attach": [self.call]}
        return {**values, **self.arguments, **chosen}

    def edit(self, model: Any, **chosen: Any) -> Any:
        """Return the Result of an edit with the control."""
        return apply(self.operation, sample_image(SIZE), model=model, cache=False, **self.given(**chosen))

    def test_changes_the_edit(self) -> None:
        for kind, model in self.models():
            plain, held = self.edit(model, attach=[]), self.edit(model)
            change = largest(held.latents - plain.latents)
            assert change > self.tolerance, f"{kind}: the edit is the same without the control"

    def test_an_edit_to_the_source_prompt_returns_the_source(self) -> None:
        for kind, model in self.models():
            for guidance in (1.0, 5.0):
                same = self.edit(model, target=SOURCE, guidance=guidance).image
                assert same.tobytes() == sample_image(SIZE).tobytes(), (
                    f"{kind}, guidance {guidance}: equal prompts changed the image"
                )

    def test_reconstructs_the_source_at_the_bound_of_the_autoencoder(self) -> None:
        for kind, model in self.models():
            report = self.edit(model).report
            figures = f"{kind}: recon_psnr {report.recon_psnr}, vae_psnr {report.vae_psnr}"
            assert report.recon_psnr is not None, figures
            assert abs(report.recon_psnr - report.vae_psnr) < 1e-6, figures

    def test_samples_the_source_as_without_it(self) -> None:
        """No control holds the source of ``ddim``: it is what the network makes of it."""
        for kind, model in self.models():
            plain, held = (self.session(model, attach=attach) for attach in ([], [self.call]))
            if any(control.acts_on_inversion for control in held.attached(held.inversion_path(STEPS))):
                raise SkipTest("acts on the inversion of the source too")
            error = largest(self.replay(held, "ddim")[:1] - self.replay(plain, "ddim")[:1])
            assert error < self.tolerance, f"{kind}: the source is off by {error:.1e} with the control"

    def test_rows_do_not_mix(self) -> None:
        for kind, model in self.models():
            both = self.replay(self.session(model, rows=2), "pinned")
            for row in range(2):
                alone = self.replay(self.session(model, rows=1, first=row), "pinned")
                error = largest(both[row::2] - alone)
                assert error < self.tolerance, f"{kind}: a row is off by {error:.1e} beside another source"

    def test_an_edit_in_a_batch_equals_the_edit_alone(self) -> None:
        images = [sample_image(SIZE), sample_image(SIZE, seed=1)]
        for kind, model in self.models():
            batch = apply_all(self.operation, images, model=model, cache=False, **self.given())
            for image, together in zip(images, batch, strict=True):
                alone = apply(self.operation, image, model=model, cache=False, **self.given())
                error = largest(alone.latents - together.latents)
                assert error < self.tolerance, f"{kind}: an edit is off by {error:.1e} in a batch"

    def test_the_same_seed_gives_the_same_pixels(self) -> None:
        for kind, model in self.models():
            first, again = (self.edit(model).image.tobytes() for _ in range(2))
            assert first == again, f"{kind}: the same call gave other pixels"

    def test_leaves_nothing_in_the_network(self) -> None:
        for kind, model in self.models():
            plain, before = estimate(model), traces(model)
            self.edit(model)
            assert_untouched(f"{kind}, after an edit", model, plain, before)

    def test_leaves_nothing_in_the_network_after_an_exception(self) -> None:
        for kind, model in self.models():
            plain, before = estimate(model), traces(model)
            with _Interruption(model.net) as calls:
                self.edit(model)
            with _Interruption(model.net, calls.count) as interruption:
                try:
                    self.edit(model)
                except Exception:  # the edit may wrap it
                    pass
                else:
                    raise AssertionError(f"{kind}: an exception of the network is swallowed")
            assert interruption.count == calls.count, f"{kind}: the edit failed before the network did"
            assert_untouched(f"{kind}, after an exception", model, plain, before)

    def session(self, model: Any, *, rows: int = 1, first: int = 0, **chosen: Any) -> Session:
        """Return a session of several images of the model's native size, of which ``first`` is the first one's seed."""
        side = model.native_size
        images = [sample_image((side, side), seed=first + row) for row in range(rows)]
        params = installed().spec("operations", self.operation).params.parse(self.operation, self.given(**chosen))
        pixels = torch.cat([to_tensor(image) for image in images]).to(latent_dtype(model.dtype))
        with torch.no_grad():
            return Session(model, params, installed(), Canvas.plan((side, side), side, model.multiple), images, pixels)

    @torch.no_grad()
    def replay(self, session: Session, inverter: str) -> Tensor:
        """Return the latents (2 S, C, h, w) of S sources and, after them, of their edits."""
        method, count = installed().build("inverters", inverter), len(session.latents)
        path, prompts = session.inversion_path(STEPS), session.embed(*[SOURCE] * count)
        record = invert_latents(session, method, session.latents, path, prompts)
        both = session.embed(*[SOURCE] * count, *[TARGET] * count)
        shares = torch.eye(count).repeat(2, 1)
        return sample_from_inversion(session, method, record, record.trajectory[0].repeat(2, 1, 1, 1), both, shares)


@torch.no_grad()
def estimate(model: Any) -> Tensor:
    """Return an estimate of the network without a control."""
    side = model.native_size
    x = random_latents(1, shape=model.latent_shape(side, side)).to(latent_dtype(model.dtype))
    estimated: Tensor = model.denoise(x, model.schedule.point(500), model.embed([SOURCE]))
    return estimated


def traces(model: Any) -> dict[str, tuple[int, object, bool]]:
    """Return for each module of a network the number of its hooks, its processor, and whether its call is replaced."""
    return {
        name: (
            len(part._forward_hooks) + len(part._forward_pre_hooks),
            getattr(part, "processor", None),
            "forward" in vars(part),
        )
        for name, part in model.net.named_modules()
    }


def assert_untouched(label: str, model: Any, plain: Tensor, before: Mapping[str, Any]) -> None:
    """Fail if something of a control is left in a network."""
    after = traces(model)
    left = [name or "the network" for name in after if after[name] != before.get(name)]
    assert after.keys() == before.keys(), f"{label}: the network has other modules"
    assert not left, f"{label}: hooks, processors or functions are left in {left[0]} and {len(left) - 1} others"
    assert torch.equal(estimate(model), plain), f"{label}: the network gives another estimate"


class _Interruption:
    """Context that counts the calls of an attention of a network, and raises an exception in one of them."""

    def __init__(self, net: nn.Module, last: int | None = None) -> None:
        attentions = [part for part in net.modules() if hasattr(part, "get_processor") and hasattr(part, "to_q")]
        self.module: Any = attentions[len(attentions) // 2]
        self.last, self.count = last, 0

    def __enter__(self) -> _Interruption:
        self.handle = self.module.to_q.register_forward_pre_hook(self._count)
        return self

    def _count(self, module: nn.Module, inputs: Any) -> None:
        self.count += 1
        if self.count == self.last:
            raise RuntimeError("interrupted by the conformance suite")

    def __exit__(self, *error: object) -> None:
        self.handle.remove()
