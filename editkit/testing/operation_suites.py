"""Conformance suite of operations: the promises of every edit, checked on the toy model."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping
from typing import Any
from unittest import SkipTest

from PIL import Image

from ..editing.apply import apply
from ..editing.params import EditParams
from ..editing.replay import replay
from ..editing.results.result import Result
from ..errors import InvalidParameter
from ..inversion.inversion import Inversion
from ..registry.params import image_fields
from ..registry.registry import installed
from ..registry.specs import OperationSpec
from .suite import Suite, sample_image
from .toy import ToyBackend

SIZES = ((1, 1), (7, 5), (37, 61))
"""Sizes of images whose sides are no multiples of a model's."""
COLOURS = ("red", "green", "blue", "yellow")
"""Colours in the required texts, which must differ: equal prompts make no edit."""


class OperationTests(Suite):
    """Checks of every operation on the toy model."""

    kind = "operation"

    @property
    def declared(self) -> OperationSpec:
        spec: OperationSpec = installed().spec("operations", self.name)
        if not spec.needs <= ToyBackend.provides:
            raise SkipTest(
                f"needs {', '.join(sorted(spec.needs - ToyBackend.provides))}, which the toy model does not provide"
            )
        return spec

    @property
    def fields(self) -> Mapping[str, Any]:
        return self.declared.params.model_fields

    def arguments(self, **chosen: Any) -> dict[str, Any]:
        """Return few steps, a fixed seed, a different text for each required parameter, and the ``chosen`` values."""
        images = image_fields(self.declared.params)
        texts = [name for name, field in self.fields.items() if field.is_required() and name not in images]
        values: dict[str, Any] = {
            name: f"a {colour} apple" for name, colour in zip(texts, itertools.cycle(COLOURS), strict=False)
        }
        small = {"steps": 4, "seed": 3, "width": 16, "height": 12, "frames": 3}
        values |= {name: value for name, value in small.items() if name in self.fields}
        return {**values, **self.declared.example, **chosen}

    def subject(self, size: tuple[int, int] = (20, 14), mode: str = "RGB") -> Any:
        """Return an input of the operation's kind, of a size (width, height)."""
        first, second = sample_image(size, mode), sample_image(size, mode, seed=1)
        match self.declared.takes:
            case "nothing":
                return None
            case "image":
                return first
            case "two images":
                return (first, second)
        return apply("invert", first, model=ToyBackend(), steps=4, prompt="a red apple", cache=False)

    def apply(self, subject: Any, **chosen: Any) -> Any:
        """Apply the operation to an input, with a full mask if one is required."""
        values = self.arguments(**chosen)
        if self.declared.takes == "image" and "mask" in self.fields and self.fields["mask"].is_required():
            values.setdefault("mask", Image.new("L", subject.size, 255))
        return apply(self.name, subject, model=ToyBackend(), cache=False, **values)

    def edit(self, subject: Any, **chosen: Any) -> Result:
        """Apply the operation and return its Result; skips the check for an operation that gives no image."""
        if self.declared.gives != "image":
            raise SkipTest(f"gives an {self.declared.gives}, not an image")
        result = self.apply(subject, **chosen)
        assert isinstance(result, Result), f"gave {type(result).__name__}, declared an image"
        return result

    def require_one_image(self) -> None:
        """Skip the check unless the operation goes from one image to one image."""
        if self.declared.takes != "image" or self.declared.gives != "image":
            raise SkipTest("does not go from one image to one image")

    def test_gives_what_it_declares(self) -> None:
        result = self.apply(self.subject())
        kind = Inversion if self.declared.gives == "inversion" else Result
        assert isinstance(result, kind), f"gave {type(result).__name__}, declared an {self.declared.gives}"
        assert result.report is not None, "there is no report"
        assert result.report.operation == self.name, f"the report names {result.report.operation!r}"

    def test_describes_every_parameter(self) -> None:
        bare = [name for name, field in self.fields.items() if not field.description]
        assert not bare, f"parameters without a description: {', '.join(bare)}"

    def test_refuses_an_unknown_parameter(self) -> None:
        try:
            self.apply(self.subject(), no_such_parameter=1)
        except InvalidParameter as error:
            assert "no_such_parameter" in str(error), f"the error does not name the parameter: {error}"
        else:
            raise AssertionError("a parameter that does not exist is accepted")

    def test_gives_the_size_it_declares(self) -> None:
        if self.declared.takes == "nothing":
            result = self.edit(None, width=13, height=7)
            assert result.image.size == (13, 7), f"requested 13 x 7, got {result.image.size}"
            return
        for size in SIZES:
            for frame in self.edit(self.subject(size)).frames:
                assert frame.size == self.declared_size(size), (
                    f"{size} became {frame.size}, not {self.declared_size(size)}"
                )

    def declared_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the declared size of the result for a source of ``size``, both (width, height)."""
        declared = self.declared
        return declared.size(declared.params.parse(self.name, self.arguments()), size) if declared.size else size

    def test_keeps_alpha(self) -> None:
        self.require_one_image()
        if self.declared.size:
            raise SkipTest("changes sizes on purpose")
        image = self.subject(mode="RGBA")
        # An edit with a mask may paint over transparency under it.
        masked = "mask" in self.fields and self.fields["mask"].is_required()
        kept = (0, 0, image.width // 2 if masked else image.width, image.height)
        mask = Image.new("L", image.size, 255)
        mask.paste(0, kept)
        result = self.edit(image, **({"mask": mask} if masked else {})).image
        assert result.mode == "RGBA", f"an image with alpha became {result.mode}"
        before, after = (one.crop(kept).getchannel("A") for one in (image, result))
        assert after.tobytes() == before.tobytes(), "alpha changed"

    def test_changes_nothing_if_no_change_is_requested(self) -> None:
        self.require_one_image()
        fields = self.fields
        requests: list[dict[str, Any]] = []
        requests += [{"strength": 0.0}] if "strength" in fields and not self.declared.size else []
        requests += [{"source": "a red apple", "target": "a red apple"}] if {"source", "target"} <= set(fields) else []
        if not requests:
            raise SkipTest("has no parameter that requests no change")
        for chosen in requests:
            for size, mode in (((20, 14), "RGB"), ((7, 5), "RGBA")):
                image = self.subject(size, mode)
                result = self.edit(image, **chosen).image
                assert result.tobytes() == image.tobytes(), f"{chosen} changed an image of {size} {mode}"

    def test_leaves_pixels_outside_the_mask_unchanged(self) -> None:
        self.require_one_image()
        if not issubclass(self.declared.params, EditParams) or self.declared.size:
            raise SkipTest("takes no mask")
        image = self.subject()
        empty = Image.new("L", image.size, 0)
        assert self.edit(image, mask=empty).image.tobytes() == image.tobytes(), "an empty mask let something change"
        half = empty.copy()
        half.paste(255, (10, 0, 20, 14))
        result = self.edit(image, mask=half)
        protected = (0, 0, 10, 14)
        assert result.image.crop(protected).tobytes() == image.crop(protected).tobytes(), (
            "pixels outside the mask changed"
        )
        assert result.report.untouched_max_diff == 0, f"untouched_max_diff is {result.report.untouched_max_diff}"
        assert result.image.tobytes() != image.tobytes(), (
            "nothing changed under the mask: declare an example that edits"
        )

    def test_edits_an_inversion_as_its_image(self) -> None:
        if not self.declared.edits_inversion:
            raise SkipTest("takes no inversion in place of its image")
        image, values = self.subject(), self.arguments()
        settings = {name: values.pop(name) for name in ("source", "steps", "seed")}
        model, prompt = ToyBackend(), settings["source"]
        inversion = apply("invert", image, model=model, prompt=prompt, steps=settings["steps"], seed=settings["seed"])
        result, expected = apply(self.name, inversion, model=model, **values), self.edit(image, **settings)
        assert result.image.tobytes() == expected.image.tobytes(), "the edit of an inversion has other pixels"

    def test_reconstructs_at_the_bound_with_exact_inverters(self) -> None:
        if not {"inverter", "guidance"} <= set(self.fields):
            raise SkipTest("has no inverter to choose")
        for name, spec in installed().specs["inverters"].items():
            if spec.exact:
                report = self.edit(self.subject(), inverter=name, guidance=7.5).report
                figures = f"{name}: recon_psnr {report.recon_psnr}, vae_psnr {report.vae_psnr}"
                assert report.recon_psnr is not None, figures
                assert report.recon_psnr == report.vae_psnr, figures

    def test_the_same_seed_gives_the_same_pixels(self) -> None:
        subject = self.subject()
        first, again = (self.edit(subject).image.tobytes() for _ in range(2))
        assert first == again, "the same call gave other pixels"

    def test_replays_from_its_own_file(self) -> None:
        result = self.edit(self.subject())
        again = replay(result.encoded(".png", recipe="full"), model=ToyBackend(), cache=False)
        assert again.image.tobytes() == result.image.tobytes(), "the replayed image has other pixels"
        assert Image.open(io.BytesIO(result.encoded(".png"))).tobytes() == result.image.tobytes(), (
            "the file has other pixels"
        )
