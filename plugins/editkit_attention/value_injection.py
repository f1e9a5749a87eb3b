"""Value injection of DirectEdit (Yang and Ye, arXiv 2605.02417)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from editkit import AttentionControl, AttentionInputs, Control, InvalidParameter, SamplingPath, Session, steps_between

from . import ValueInjectionParams
from .interval import warn_if_zero


def value_injection(params: ValueInjectionParams) -> Callable[[Session, SamplingPath], Control]:
    """Return the factory of the control ``value-injection``."""

    def control(session: Session, path: SamplingPath) -> Control:
        warn_if_zero(session, "value-injection", share=params.share)
        if params.share > 0 and not _steps(params, path):
            session.usage.warn(
                f"value-injection has no effect: the share {params.share:g} of {len(path) - 1} steps is less than one"
            )
        return ValueInjection(params)

    return control


def _steps(params: ValueInjectionParams, path: SamplingPath) -> int:
    """Return the number of steps with the source's values, rounded down as in the authors' code."""
    return len(steps_between(len(path) - 1, 0.0, params.share, whole=True))


class ValueInjection(AttentionControl):
    """Values of the source in the first steps; queries and keys are the edit's own.

    The defaults are the authors' for Stable Diffusion 3.5. Their settings for FLUX.1 are ``share=0.15,blocks=single``.
    Attention to words alone, in networks that have it, is left as it is.
    """

    def __init__(self, params: ValueInjectionParams) -> None:
        super().__init__()
        self.params = params
        self.found = False

    def edit(self, inputs: AttentionInputs) -> Tensor:
        site = inputs.site
        if site.kind == "cross" or (self.params.blocks == "single" and not site.name.startswith("single")):
            return inputs.unchanged()
        self.found = True
        behind = round(self.share(self.rows(inputs)[0]) * (len(self.path) - 1), 6)
        if behind >= _steps(self.params, self.path):
            return inputs.unchanged()
        return inputs.attend(inputs.query, inputs.key, self._values(inputs), inputs.bias)

    def _values(self, inputs: AttentionInputs) -> Tensor:
        if self.params.words:
            values = self.from_source(inputs, "value")
            if values.shape != inputs.value.shape:
                raise InvalidParameter(
                    f"value-injection:words=true is not allowed: with their prompts the source has {values.shape[2]} "
                    f"tokens and the edit {inputs.value.shape[2]}; pass value-injection:words=false"
                )
            return values
        values = inputs.value.clone()
        values[:, :, inputs.site.image_keys] = self.from_source(inputs, "value", "image")
        return values

    def after_step(self, index: int, x: Tensor) -> Tensor:
        if not self.found:
            raise InvalidParameter(
                f"value-injection:blocks={self.params.blocks} is not allowed: the network has no attention of such "
                "blocks; pass value-injection:blocks=all, or leave the control out"
            )
        return x
