"""Guidance of pipelines: by two estimates, by a scale as an input of the network, or by the pipeline itself."""

from __future__ import annotations

import functools
from typing import Any

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
        facts, guider = self.call.facts, type(getattr(self.pipe, "guider", None)).__name__
        self.usual = usual_settings(self.pipe, facts, self.call.defaults, self.call.scale_argument)
        if facts.norm is not None:
            self.combine = functools.partial(combine_predictions, self.prediction, facts.norm)
        if guider.endswith("Guidance") and guider != "ClassifierFreeGuidance":
            self.warnings += (
                f"guidance other than 1 is a weighted sum of two estimates, and not the {guider} of this pipeline",
            )

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
