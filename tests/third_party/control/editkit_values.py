from typing import Any

from pydantic import Field

from editkit import ControlSpec, Fraction, Params, hookimpl


class ValuesParams(Params):
    amount: Fraction = Field(0.5, description="Share of the source in the values of the image.")


def load() -> Any:
    from editkit_values_control import SourceValues

    return lambda params: lambda session, path: SourceValues(params.amount)


@hookimpl
def register_controls() -> list[ControlSpec]:
    summary, needs = "Mix the values of the image with those of the source.", frozenset({"attention"})
    return [ControlSpec(name="source-values", summary=summary, load=load, params=ValuesParams, needs=needs)]
