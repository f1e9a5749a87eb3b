"""Controls that the parameter ``attach`` of an edit names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...diffusion.paths import SamplingPath
from ...errors import MissingCapability
from ...registry.params import Params
from ...registry.registry import Registry
from ...report import Usage
from ...sampling.controls import Control
from ...sampling.params import DrawingParams


class AttachesControls:
    """Part of a :class:`Session` that has the controls of its parameters."""

    params: Params
    registry: Registry
    usage: Usage
    controls: dict[SamplingPath, list[Control]]
    left_out_controls: set[str]

    @property
    def drawing(self) -> DrawingParams:
        """Sampling parameters of the session."""
        assert isinstance(self.params, DrawingParams), f"{type(self.params).__name__} must extend DrawingParams"
        return self.params

    def attached(self, path: SamplingPath) -> list[Control]:
        """Return the controls of the parameter ``attach``, the same ones for an inversion and its replay."""
        if path not in self.controls:
            self.controls[path] = [self._build_control(call, path) for call in self.drawing.controls]
        return self.controls[path]

    def _warn_of_spared(self, path: SamplingPath, sources: Sequence[int | None]) -> None:
        """Warn of controls without effect on a walk of sources alone, as of a reconstruction."""
        if not sources or any(source != row for row, source in enumerate(sources)):
            return
        for call, control in zip(self.drawing.controls, self.attached(path), strict=True):
            if control.spares_sources:
                self.usage.warn(f"attach={call!r} has no effect: nothing is edited beside the source")

    def leave_out_approximations(self) -> None:
        """Attach no control that approximates estimates, and warn of it, for an edit that asks for no change."""
        for call in self.drawing.controls:
            if self.registry.configure("controls", call)[0].approximates:
                self.left_out_controls.add(call)
                self.usage.warn(
                    f"attach={call!r} has no effect: both prompts are equal, so the edit asks for no change"
                )

    def _build_control(self, call: str, path: SamplingPath) -> Control:
        if call in self.left_out_controls:
            return Control()
        try:
            control: Any = self.registry.build("controls", call)(self, path)
        except MissingCapability as error:
            raise MissingCapability(f"attach={call!r}: {error}") from None
        if not isinstance(control, Control):
            raise self.registry.wrong_result("controls", call, control, "a Control")
        return control.called(call)
