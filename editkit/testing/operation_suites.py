"""The suite of operations: the promises that hold for every edit, asked on the toy model."""

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
from ..editing.result import Result
from ..errors import InvalidParameter
from ..inversion.inversion import Inversion
from ..registry.params import image_fields
from ..registry.registry import installed
from ..registry.specs import OperationSpec
from .suite import Suite, sample_image
from .toy import ToyBackend

SIZES = ((1, 1), (7, 5), (37, 61))
"""Pictures of which no side is a multiple of anything."""
COLOURS = ("red", "green", "blue", "yellow")
"""Of what required texts name: an edit from one prompt to the same is none."""


class OperationTests(Suite):
    """What every operation must do, asked on the toy model."""

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
        """Few steps, a fixed seed, a text of its own for each that is required, and what is ``chosen``."""
        pictures = image_fields(self.declared.params)
        texts = [name for name, field in self.fields.items() if field.is_required() and name not in pictures]
        values: dict[str, Any] = {
            name: f"a {colour} apple" for name, colour in zip(texts, itertools.cycle(COLOURS), strict=False)
        }
        small = {"steps": 4, "seed": 3, "width": 16, "height": 12, "frames": 3}
        values |= {name: value for name, value in small.items() if name in self.fields}
        return {**values, **self.declared.example, **chosen}

    def subject(self, size: tuple[int, int] = (20, 14), mode: str = "RGB") -> Any:
        """What the operation takes, of a size (width, height)."""
        first, second = sample_image(size, mode), sample_image(size, mode, seed=1)
        match self.declared.takes:
            case "nothing":
                return None
            case "image":
                return first
            case "two images":
                return (first, second)
        return apply("invert", first, model=ToyBackend(), steps=4, prompt="a red apple", cache=False)

    def applied(self, subject: Any, **chosen: Any) -> Any:
        values = self.arguments(**chosen)
        if self.declared.takes == "image" and "mask" in self.fields and self.fields["mask"].is_required():
            values.setdefault("mask", Image.new("L", subject.size, 255))
        return apply(self.name, subject, model=ToyBackend(), cache=False, **values)

    def drawn(self, subject: Any, **chosen: Any) -> Result:
        if self.declared.gives != "image":
            raise SkipTest(f"gives an {self.declared.gives}, not a picture")
        result = self.applied(subject, **chosen)
        assert isinstance(result, Result), f"gave {type(result).__name__}, declared an image"
        return result

    def edits_one_picture(self) -> None:
        if self.declared.takes != "image" or self.declared.gives != "image":
            raise SkipTest("does not go from one picture to one picture")

    def test_gives_what_it_declares(self) -> None:
        result = self.applied(self.subject())
        wanted = Inversion if self.declared.gives == "inversion" else Result
        assert isinstance(result, wanted), f"gave {type(result).__name__}, declared an {self.declared.gives}"
        assert result.report is not None, "there is no report"
        assert result.report.operation == self.name, f"the report names {result.report.operation!r}"

    def test_describes_every_parameter(self) -> None:
        bare = [name for name, field in self.fields.items() if not field.description]
        assert not bare, f"parameters without a description: {', '.join(bare)}"

    def test_refuses_an_unknown_parameter(self) -> None:
        try:
            self.applied(self.subject(), no_such_parameter=1)
        except InvalidParameter as error:
            assert "no_such_parameter" in str(error), f"the error does not name the parameter: {error}"
        else:
            raise AssertionError("a parameter that does not exist is accepted")

    def test_gives_the_size_it_declares(self) -> None:
        if self.declared.takes == "nothing":
            result = self.drawn(None, width=13, height=7)
            assert result.image.size == (13, 7), f"asked for 13 x 7, got {result.image.size}"
            return
        for size in SIZES:
            for frame in self.drawn(self.subject(size)).frames:
                assert frame.size == self.wanted(size), f"{size} became {frame.size}, not {self.wanted(size)}"

    def wanted(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size of the result for a source of ``size``, both (width, height)."""
        declared = self.declared
        return declared.size(declared.params.parse(self.name, self.arguments()), size) if declared.size else size

    def test_keeps_alpha(self) -> None:
        self.edits_one_picture()
        if self.declared.size:
            raise SkipTest("changes sizes on purpose")
        picture = self.subject(mode="RGBA")
        made = self.drawn(picture).image
        assert made.mode == "RGBA", f"a picture with alpha came back as {made.mode}"
        assert made.getchannel("A").tobytes() == picture.getchannel("A").tobytes(), "alpha changed"

    def test_changes_nothing_where_no_change_is_asked(self) -> None:
        self.edits_one_picture()
        fields = self.fields
        asked: list[dict[str, Any]] = []
        asked += [{"strength": 0.0}] if "strength" in fields and not self.declared.size else []
        asked += [{"source": "a red apple", "target": "a red apple"}] if {"source", "target"} <= set(fields) else []
        if not asked:
            raise SkipTest("has no parameter that asks for no change")
        for chosen in asked:
            for size, mode in (((20, 14), "RGB"), ((7, 5), "RGBA")):
                picture = self.subject(size, mode)
                made = self.drawn(picture, **chosen).image
                assert made.tobytes() == picture.tobytes(), f"{chosen} changed a picture of {size} {mode}"

    def test_leaves_pixels_outside_the_mask_alone(self) -> None:
        self.edits_one_picture()
        if not issubclass(self.declared.params, EditParams) or self.declared.size:
            raise SkipTest("takes no mask")
        picture = self.subject()
        empty = Image.new("L", picture.size, 0)
        assert self.drawn(picture, mask=empty).image.tobytes() == picture.tobytes(), (
            "an empty mask let something change"
        )
        half = empty.copy()
        half.paste(255, (10, 0, 20, 14))
        result = self.drawn(picture, mask=half)
        kept = (0, 0, 10, 14)
        assert result.image.crop(kept).tobytes() == picture.crop(kept).tobytes(), "pixels outside the mask changed"
        assert result.report.untouched_max_diff == 0, f"untouched_max_diff is {result.report.untouched_max_diff}"
        assert result.image.tobytes() != picture.tobytes(), (
            "nothing changed under the mask: declare an example that edits"
        )

    def test_reconstructs_at_the_bound_with_exact_inverters(self) -> None:
        if not {"inverter", "guidance"} <= set(self.fields):
            raise SkipTest("has no inverter to choose")
        for name, spec in installed().specs["inverters"].items():
            if spec.exact:
                report = self.drawn(self.subject(), inverter=name, guidance=7.5).report
                said = f"{name}: recon_psnr {report.recon_psnr}, vae_psnr {report.vae_psnr}"
                assert report.recon_psnr is not None, said
                assert report.recon_psnr == report.vae_psnr, said

    def test_the_same_seed_gives_the_same_pixels(self) -> None:
        subject = self.subject()
        first, again = (self.drawn(subject).image.tobytes() for _ in range(2))
        assert first == again, "the same call gave other pixels"

    def test_replays_from_its_own_picture(self) -> None:
        result = self.drawn(self.subject())
        again = replay(result.encoded(".png"), model=ToyBackend(), cache=False)
        assert again.image.tobytes() == result.image.tobytes(), "the replayed picture has other pixels"
        assert Image.open(io.BytesIO(result.encoded(".png"))).tobytes() == result.image.tobytes(), (
            "the file has other pixels"
        )
