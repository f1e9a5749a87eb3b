"""``bench``: every operation against the class of diffusers for the same job."""

from __future__ import annotations

from pydantic import Field

from editkit import CommandSpec, OutputParam, Params, by_name, hookimpl


class BenchParams(Params):
    only: str = Field(
        "",
        description="Comma-separated rows and parts (start-up, repeats, growth, batch) to measure; all if not given.",
    )
    models: str = Field(
        "",
        description="Comma-separated model sizes; emoji and mid if not given, with --gpu sd15, sdxl and flux.",
    )
    rounds: int = Field(7, ge=1, le=100, description="Rounds in which each side runs once, in alternating order.")
    threads: int = Field(1, ge=1, le=1024, description="Threads of torch on the CPU.")
    gpu: bool = Field(False, description="Measure on a GPU in bfloat16: eager and compiled, 1, 4 and 16 images.")
    chart: str | None = OutputParam("Image file to write with a chart of the ratios.")


@hookimpl
def register_commands() -> list[CommandSpec]:
    return [
        CommandSpec(
            name="bench",
            summary="Measure edits against diffusers on the same weights: time, calls, memory and equality.",
            usage="--only batch --rounds 1",
            load=by_name("editkit_bench.command:bench"),
            params=BenchParams,
        )
    ]
