"""``few-step-edit`` and ``chord-edit``: editing without an inversion, in four steps and in one.

InfEdit (Xu et al., arXiv 2312.04965) samples both prompts by consistency sampling on shared noise. The source branch is
the noised image itself, which takes no network; the network's error on it is added to the edited branch.

ChordEdit (Lu et al., arXiv 2602.19083) moves the image by the difference of two estimates of a one-step model, a mean
over two noise levels, and lets the model refine the result once.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from editkit import EffectIf, Fraction, OperationSpec, Paper, RegisteredName, RepromptParams, Spacing, by_name, hookimpl

_PAPER = "https://arxiv.org/abs/2312.04965"


class FewStepEditParams(RepromptParams):
    from_model: ClassVar[frozenset[str]] = frozenset({"gate"})  # the others are those of the paper
    strength: Fraction = Field(1.0, description="Share of the path that is used; 0 keeps the image.")
    steps: int = Field(4, ge=1, le=1000, description="Steps of a whole path, from noise to image.")
    sampler: str = RegisteredName("samplers", "lcm", "Sampler by name, with options after a colon.")
    guidance: float = Field(2.0, ge=0.0, le=100.0, description="Guidance scale; 1 evaluates the prompt alone.")


_NoPath = EffectIf(lambda params, model: False, "chord-edit samples no path; its levels are level, delta and refine")


class ChordEditParams(RepromptParams):
    from_model: ClassVar[frozenset[str]] = frozenset({"gate"})  # the others are those of the paper
    steps: int = Field(1, ge=1, le=1000, description="Steps of the edit, at levels from level to refine.")
    level: Fraction = Field(
        0.9, description="Noise level of the first step, as a share of the training timesteps; above that of refine."
    )
    delta: Fraction = Field(
        0.15, description="Distance to the lower noise level that a step takes its mean with; 0 takes none."
    )
    scale: float = Field(1.0, ge=0.0, le=100.0, description="Length of a step: factor of the estimated difference.")
    refine: Fraction = Field(
        0.3, description="Noise level from which the target prompt refines the result once; 0 leaves that out."
    )
    averages: int = Field(1, ge=1, le=64, description="Noise samples over which the edit of each step is averaged.")
    sampler: Annotated[str, _NoPath] = RegisteredName("samplers", "ddim", "Without effect: no path is sampled.")
    spacing: Annotated[Spacing | None, _NoPath] = Field(None, description="Without effect: no path is sampled.")

    @model_validator(mode="after")
    def check_levels(self) -> Self:
        if self.level <= self.refine:
            raise ValueError(f"level must be above refine, not {self.level:g} and {self.refine:g}")
        return self


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="few-step-edit",
            summary="Edit an image from a source prompt to a target prompt in a few steps, without inverting it.",
            usage='red-apple.png --source "noto red apple" --target "noto green apple" -o green.png',
            load=by_name("editkit_few_step_edit.operation:few_step_edit"),
            params=FewStepEditParams,
            needs=frozenset({"text"}),
            source=_PAPER,
            paper=Paper(
                "Inversion-Free Image Editing with Natural Language",
                "Sihan Xu and Yidong Huang and Jiayi Pan and Ziqiao Ma and Joyce Chai",
                2023,
            ),
        ),
        OperationSpec(
            name="chord-edit",
            summary="Edit an image from a source prompt to a target prompt in one step, without inverting it.",
            usage='red-apple.png --source "noto red apple" --target "noto green apple" -o green.png',
            load=by_name("editkit_few_step_edit.chord:chord_edit"),
            params=ChordEditParams,
            needs=frozenset({"text"}),
            source="https://arxiv.org/abs/2602.19083",
            paper=Paper(
                "ChordEdit: One-Step Low-Energy Transport for Image Editing",
                "Liangsi Lu and Xuhang Chen and Minzhe Guo and Shichu Li and Jingchao Wang and Yang Shi",
                2026,
            ),
        ),
    ]
