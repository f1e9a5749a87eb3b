"""``batch``: the edits of a manifest, row by row, on the processes and machines of an engine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from editkit import CommandSpec, EngineSpec, LoadingParams, NameList, Paper, Params, RegisteredName, by_name, hookimpl


class BatchParams(LoadingParams):
    manifest: str = Field(
        min_length=1,
        description="File of rows (.jsonl, .csv or .parquet) or folder of such files, on any file system of fsspec.",
        json_schema_extra={"argument": True},
    )
    output: str = Field(
        min_length=1,
        description="Folder of the job, on any file system of fsspec; a job that was interrupted goes on there.",
        json_schema_extra={"letter": "o"},
    )
    engine: str = RegisteredName("engines", "local", "Engine that runs the workers.")
    address: str | None = Field(None, description="Address of a running cluster; the engine starts one when not given.")
    workers: int | None = Field(
        None, ge=0, le=100_000, description="Worker processes; 1 for local, 0 edits in this process."
    )
    gpus: float | None = Field(None, gt=0.0, le=64.0, description="Share of a GPU that each worker takes in a cluster.")
    batch: int = Field(
        16, ge=1, le=4096, description="Rows that are edited together.", json_schema_extra={"also": ["batch-size"]}
    )
    exact: bool = Field(
        True,
        description=(
            "Give a row the same bits whatever is edited beside it, by calls of a few rows. Without, all are combined, "
            "which keeps a GPU busy and takes more memory; images differ by rounding."
        ),
    )
    model: str | None = Field(
        None,
        description="Model of rows without one: a registered name, a folder, a file or a hub id.",
        json_schema_extra={"letter": "m"},
    )
    adapter: NameList = Field(
        (), description="Adapter of all models, FILE:SCALE.", json_schema_extra={"repeated": True}
    )
    device: str | None = Field(None, description="Such as cpu or cuda:1; cuda if available when not given.")
    dtype: str | None = Field(None, description="float32, float16, bfloat16, float64 or auto, as for load_model.")
    threads: int | None = Field(
        None, ge=1, le=4096, description="Processor threads of each worker; the cores shared out when not given."
    )
    outputs: Literal["files", "tar", "parquet"] = Field(
        "files", description="Images as single files, or in one tar or Parquet file for each file of the plan."
    )
    rows_per_file: int = Field(1000, ge=1, le=1_000_000, description="Rows in a file of the plan and of the results.")
    part: str | None = Field(None, description="Run one share of the job, such as 3/64: the third of 64.")
    resume: bool = Field(True, description="Go on with a job in the folder; --no-resume refuses a folder that has one.")
    retry_errors: bool = Field(
        False, description="Plan again, also a changed manifest, and repeat the rows that failed or crashed."
    )
    dry_run: bool = Field(False, description="Check the rows and write the plan; edit nothing.")

    @field_validator("part")
    @classmethod
    def check_part(cls, value: str | None) -> str | None:
        if value is not None:
            share_of(value)
        return value


_ROWS = """MANIFEST is a file of rows, or a folder of such files; .jsonl, .ndjson and .csv may be compressed.

\b
rows.jsonl    {"operation": "img2img", "image": "apple.png", "prompt": "a tomato", "seed": 1}
rows.csv      operation,image,prompt,seed
              img2img,apple.png,a tomato,1
rows.parquet  the same columns; seed of whole numbers, the others of text"""


def share_of(text: str) -> tuple[int, int]:
    """Return number and count of a share such as 3/64; raises ValueError for another text."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count) <= 1_000_000):
        raise ValueError("give a number from 1 and the count of shares, such as 3/64")
    return int(number), int(count)


class RayParams(Params):
    cpus: float = Field(1.0, ge=0.0, le=4096.0, description="Processors that each worker takes.")


@hookimpl
def register_commands() -> list[CommandSpec]:
    return [
        CommandSpec(
            name="batch",
            summary="Edit all rows of a manifest, on one machine or many, and go on after interruptions.",
            usage="rows.jsonl -o out/ --dry-run",
            details=_ROWS,
            section="Many images",
            load=by_name("editkit_batch.command:batch"),
            params=BatchParams,
        )
    ]


@hookimpl
def register_engines() -> list[EngineSpec]:
    return [
        EngineSpec(
            name="local",
            summary="Processes of this machine; with several GPUs each has its own.",
            load=by_name("editkit_batch.engines.local:LocalEngine"),
        ),
        EngineSpec(
            name="ray",
            summary="Actors of a Ray cluster; needs the extra editkit[ray].",
            load=by_name("editkit_batch.engines.ray_actors:RayEngine"),
            params=RayParams,
            source="https://arxiv.org/abs/1712.05889",
            paper=Paper(
                "Ray: A Distributed Framework for Emerging AI Applications",
                "Philipp Moritz and Robert Nishihara and Stephanie Wang and Alexey Tumanov and Richard Liaw and others",
                2017,
            ),
        ),
        EngineSpec(
            name="dask",
            summary="Workers of a Dask cluster; needs the extra editkit[dask].",
            load=by_name("editkit_batch.engines.dask_workers:DaskEngine"),
            source="https://docs.dask.org",
        ),
    ]
