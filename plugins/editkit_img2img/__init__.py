"""``img2img``: add noise to an image up to a strength and sample it again (SDEdit)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from editkit import FROM_MODEL, AutoMaskParams, OperationSpec, Paper, by_name, hookimpl


class Img2ImgParams(AutoMaskParams):
    from_model: ClassVar[frozenset[str]] = FROM_MODEL
    prompt: str = Field("", description="Description of the result.")
    strength: float = Field(
        0.6, ge=0.0, le=1.0, description="Noise level to start from: 0 keeps the image, 1 replaces it."
    )
    guidance: float = Field(3.0, ge=0.0, le=100.0, description="Guidance scale; 1 evaluates the prompt alone.")

    @property
    def prompts_of_change(self) -> tuple[str, str] | None:
        return "", self.prompt


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="img2img",
            summary="Add noise to an image up to a strength and sample it again with a prompt.",
            usage='red-apple.png --prompt "noto tomato" --strength 0.7 -o tomato.png',
            load=by_name("editkit_img2img.operation:img2img"),
            params=Img2ImgParams,
            source="https://arxiv.org/abs/2108.01073",
            paper=Paper(
                "SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations",
                "Chenlin Meng and Yutong He and Yang Song and Jiaming Song and Jiajun Wu and Jun-Yan Zhu and Stefano "
                "Ermon",
                2021,
            ),
        )
    ]
