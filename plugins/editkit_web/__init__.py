"""``web``: a page in the browser with a form, a brush for masks, a history, and batches of a folder."""

from __future__ import annotations

from pydantic import Field

from editkit import CommandSpec, NameList, Params, RegisteredName, by_name, hookimpl


class WebParams(Params):
    folder: str = Field(
        ".",
        min_length=1,
        description="Folder of images: the page reads and writes files below it and nowhere else.",
        json_schema_extra={"argument": True},
    )
    host: str = Field(
        "127.0.0.1", min_length=1, description="Address to listen at; any other than this computer's own needs a token."
    )
    port: int = Field(7860, ge=0, le=65535, description="Port to listen at; 0 for any free one.")
    token: str | None = Field(
        None,
        min_length=8,
        max_length=200,
        pattern=r"^[A-Za-z0-9._~-]+$",
        description="Secret without which the page is refused; made and printed for other hosts when not given.",
    )
    model: NameList = Field(
        (),
        description="Model that the page offers beside the registered ones: a folder, a file or a hub id.",
        json_schema_extra={"repeated": True},
    )
    segmenter: NameList = RegisteredName(
        "segmenters", (), "Segmenter for masks by clicks and words, with its options: sam:model=FOLDER."
    )
    device: NameList = Field(
        (),
        description="Device, such as cpu or cuda:1, each with a worker of its own; cuda if available when not given.",
        json_schema_extra={"repeated": True},
    )
    dtype: str | None = Field(None, description="float32, float16, bfloat16, float64 or auto, as for load_model.")
    waiting: int = Field(16, ge=1, le=10_000, description="Edits that may wait for a worker; more are refused.")
    upload: int = Field(256, ge=1, le=256, description="Largest upload in MiB.")


@hookimpl
def register_commands() -> list[CommandSpec]:
    return [
        CommandSpec(
            name="web",
            summary="Edit images on a page in the browser, with a brush for masks.",
            load=by_name("editkit_web.command:web"),
            params=WebParams,
            usage="photos",
            section="Edit an image",
        )
    ]
