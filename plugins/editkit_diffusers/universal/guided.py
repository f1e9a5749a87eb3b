"""Guidance of pipelines: by two estimates, by a scale as an input of the network, or by the pipeline itself."""

from __future__ import annotations

import functools
from typing import Any

import diffusers

from editkit import Condition, InvalidParameter, Prediction, combine_predictions

from .call_arguments import CallArguments
from .network_call import NetworkCall
from .usual import usual_settings

_NEGATIVE = "negative_prompt"
"""Argument of a pipeline that guides itself."""


class GuidedPipeline:
    """Base of the backend of a pipeline ``pipe``: its usual settings, and the guidance of its family."""

    pipe: Any
    call: NetworkCall
    arguments: CallArguments
    prediction: Prediction
    warnings: tuple[str, ...]

    def __init__(self) -> None:
        super().__init__()
        facts = self.call.facts
        self.usual = usual_settings(self.pipe, is_input=self.call.takes_scale)
        if facts.norm is not None:
            self.combine = functools.partial(combine_predictions, self.prediction, facts.norm)
        self.warnings += guider_warnings(self.pipe)

    @property
    def takes_negative_prompt(self) -> bool:
        return self.call.takes_negative_prompt

    def with_guidance_scale(self, condition: Condition, scale: float) -> Condition:
        rows = self.arguments.rows(condition)
        return self.arguments.condition([{**row, self.call.scale_argument: scale} for row in rows])

    def with_guidance(self, condition: Condition, negative: Condition, scale: float) -> Condition:
        if scale < 1.0:
            raise InvalidParameter(
                f"guidance={scale:g} is not allowed: {self.call.kind.__name__} guides by itself, from 1 on"
            )
        argument = self.call.scale_argument
        left_out = (argument, _NEGATIVE)
        rows = [
            {name: value for name, value in row.items() if name not in left_out}
            for row in self.arguments.rows(condition)
        ]
        if scale > 1.0:
            guided = {argument: scale - 1.0 + self.call.facts.unguided}
            against = [row["prompt"] for row in self.arguments.rows(negative)]
            # Without a negative prompt some pipelines take zeros in the place of the text.
            texts = [{_NEGATIVE: prompt} if prompt else {} for prompt in against]
            rows = [{**row, **guided, **text} for row, text in zip(rows, texts, strict=True)]
        return self.arguments.condition(rows)


def guider_warnings(pipe: Any) -> tuple[str, ...]:
    """Return the warning of a guider whose rule is another than that of classifier-free guidance."""
    guider = getattr(pipe, "guider", None)
    if guider is None or _is_plain(guider):
        return ()
    return (f"the model's guider ({type(guider).__name__}) is not used: guidance is plain classifier-free guidance",)


def _is_plain(guider: Any) -> bool:
    """Return whether a guider extrapolates from the negative to the prompted estimate at every step, if it guides."""
    plain = {"guidance_rescale": 0.0, "start": 0.0, "stop": 1.0}
    return type(guider) is diffusers.ClassifierFreeGuidance and plain.items() <= dict(guider.config).items()
