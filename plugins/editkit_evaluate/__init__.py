"""``evaluate``: methods of editing on a data set such as PIE-Bench, measured and compared."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from editkit import (
    CommandSpec,
    DatasetSpec,
    ModelParams,
    NameList,
    Params,
    PathParam,
    RegisteredName,
    by_name,
    hookimpl,
)

_PIE_BENCH = "https://arxiv.org/abs/2310.01506"


class EvaluateParams(ModelParams):
    folder: str = Field(
        min_length=1,
        description="Folder of the data set, or its annotation file.",
        json_schema_extra={"argument": True},
    )
    method: NameList = Field(
        description="Operation with options, whose prompts come from the data set: "
        "prompt-edit:inverter=ddim,steps=20; a value with commas in square brackets; mask=annotated gives it the mask.",
        json_schema_extra={"repeated": True},
    )
    output: str = Field(
        min_length=1,
        description="Folder for edits, table, sheet and JSON; an interrupted evaluation goes on from the edits in it.",
        json_schema_extra={"letter": "o"},
    )
    dataset: str = RegisteredName("datasets", "pie-bench", "Layout of the folder, with options after a colon.")
    limit: int | None = Field(None, ge=1, description="Number of cases from the beginning; all when not given.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of the noise of every edit.")
    batch: int = Field(
        1,
        ge=1,
        le=1024,
        description="Edits that share network calls; their results do not depend on each other, but differ by rounding "
        "from those of 1.",
    )
    as_published: bool = Field(
        False, description="Measure by the definitions of PIE-Bench's own code, with their oddities."
    )
    clip: str | None = PathParam(None, "Folder of a CLIP model, for the similarity of images to prompts.")
    lpips: str | None = PathParam(None, "Folder with the weights of LPIPS (SqueezeNet), for perceptual differences.")
    dino: str | None = PathParam(None, "Folder of a DINO ViT, for the distance of structures.")
    sheet_rows: int = Field(3, ge=0, le=50, description="Best and worst edits of each method in the sheet; 0 for none.")
    rank_by: str | None = Field(
        None, description="Measure that ranks the edits in the sheet; the first that all methods have when not given."
    )

    @field_validator("method")
    @classmethod
    def check_methods(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        if not methods:
            raise ValueError("give at least one method, such as prompt-edit:steps=20")
        if len(set(methods)) < len(methods):
            raise ValueError("a method is given twice: leave one out")
        return methods


class PieBenchParams(Params):
    group: str | None = Field(
        None, description="Only the cases of this kind of edit: a folder such as 1_change_object_80, or its number."
    )

    @field_validator("group", mode="before")
    @classmethod
    def read_number(cls, group: Any) -> Any:
        """Read a number, as options are read, as the text that annotations have."""
        return str(group) if isinstance(group, int) and not isinstance(group, bool) else group


@hookimpl
def register_commands() -> list[CommandSpec]:
    return [
        CommandSpec(
            name="evaluate",
            summary="Edit the images of a data set by several methods, and measure what changed and what stayed.",
            usage="benchmark.json --method prompt-edit:inverter=edict -o scores/",
            load=by_name("editkit_evaluate.command:evaluate"),
            params=EvaluateParams,
            source=_PIE_BENCH,
        )
    ]


@hookimpl
def register_datasets() -> list[DatasetSpec]:
    return [
        DatasetSpec(
            name="pie-bench",
            summary="PIE-Bench or PIE-Bench++: annotations in JSON, masks as run lengths, beside a folder of images.",
            load=by_name("editkit_evaluate.pie_bench:open_pie_bench"),
            params=PieBenchParams,
            source=_PIE_BENCH,
        )
    ]
