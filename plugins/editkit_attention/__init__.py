"""Controls of attention: keep the structure or the appearance of the source in an edit."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from editkit import ControlSpec, Fraction, Paper, Params, by_name, check_interval, hookimpl

_READS = frozenset({"source", "target"})
_NEEDS = frozenset({"attention"})


class PromptToPromptParams(Params):
    mode: Literal["refine", "replace"] = Field(
        "refine", description="Whether a word in place of another has maps of its own, or those of the word before."
    )
    words: Fraction = Field(0.8, description="Share of the path on which kept words have the source's maps.")
    places: Fraction = Field(0.4, description="Share of the path on which places attend as in the source.")
    weights: str = Field("", description="Words of the target with a factor of their maps each: hat:1.3+coat:0.5.")


class PlugAndPlayParams(Params):
    features: Fraction = Field(0.8, description="Share of the path with the source's features; UNets only.")
    queries: Fraction = Field(0.5, description="Share of the path with the source's queries and keys.")
    block: str | None = Field(
        None, description="Residual block of a UNet whose features are taken, such as up_blocks.1.resnets.1."
    )


class MutualAttentionParams(Params):
    start: Fraction = Field(0.1, description="Share of the path after which the image attends to the source.")
    end: Fraction = Field(1.0, description="Share of the path after which it does not.")
    beside: bool = Field(False, description="Attend to the source beside the edit, not in place of it.")

    @model_validator(mode="after")
    def check_order(self) -> Self:
        return check_interval(self, "start", "end")


class ConsistEditParams(Params):
    structure: Fraction = Field(1.0, description="Share of the path with the source's queries and keys.")
    content: bool = Field(True, description="Keep the source's values where a mask protects the image.")


class ValueInjectionParams(Params):
    share: Fraction = Field(0.3, description="Share of the path with the source's values.")
    blocks: Literal["all", "single"] = Field(
        "all", description="Blocks that take them: all, or only those in which words and image are one stream."
    )
    words: bool = Field(True, description="Take the values of the prompt's tokens too.")


class LeditsParams(Params):
    edit: str = Field(min_length=1, description="Content to add, or to remove with a negative scale.")
    scale: float = Field(5.0, ge=-100.0, le=100.0, description="Guidance scale of the edit.")
    mask: Literal["both", "attention", "difference", "none"] = Field(
        "both",
        description="Places that the edit changes: by the attention to its words, its difference, or both.",
    )
    threshold: Fraction = Field(0.9, description="Quantile of the attention and of the difference from which it acts.")
    start: Fraction = Field(0.0, description="Share of the path after which the edit acts.")
    end: Fraction = Field(1.0, description="Share of the path after which it does not.")

    @model_validator(mode="after")
    def check_order(self) -> Self:
        return check_interval(self, "start", "end")


class KvEditParams(Params):
    fresh: bool = Field(
        False, description="Start from noise in the mask, and leave what is there out of the inversion too."
    )


@hookimpl
def register_controls() -> list[ControlSpec]:
    return [
        ControlSpec(
            name="prompt-to-prompt",
            summary="Keep where the words that both prompts share are attended to.",
            load=by_name("editkit_attention.prompt_to_prompt:prompt_to_prompt"),
            params=PromptToPromptParams,
            needs=_NEEDS,
            reads=_READS,
            source="https://arxiv.org/abs/2208.01626",
            paper=Paper(
                "Prompt-to-Prompt Image Editing with Cross Attention Control",
                "Amir Hertz and Ron Mokady and Jay Tenenbaum and Kfir Aberman and Yael Pritch and Daniel Cohen-Or",
                2022,
            ),
        ),
        ControlSpec(
            name="plug-and-play",
            summary="Keep the features, queries and keys of the source.",
            load=by_name("editkit_attention.injection:plug_and_play"),
            params=PlugAndPlayParams,
            needs=_NEEDS,
            source="https://arxiv.org/abs/2211.12572",
            paper=Paper(
                "Plug-and-Play Diffusion Features for Text-Driven Image-to-Image Translation",
                "Narek Tumanyan and Michal Geyer and Shai Bagon and Tali Dekel",
                2022,
            ),
        ),
        ControlSpec(
            name="mutual-attention",
            summary="Attend to the source: take its appearance.",
            load=by_name("editkit_attention.injection:mutual_attention"),
            params=MutualAttentionParams,
            needs=_NEEDS,
            source="https://arxiv.org/abs/2304.08465",
            paper=Paper(
                "MasaCtrl: Tuning-Free Mutual Self-Attention Control for Consistent Image Synthesis and Editing",
                "Mingdeng Cao and Xintao Wang and Zhongang Qi and Ying Shan and Xiaohu Qie and Yinqiang Zheng",
                2023,
            ),
        ),
        ControlSpec(
            name="consist-edit",
            summary="Keep the queries and keys of the source's image tokens, and its values outside a mask.",
            load=by_name("editkit_attention.injection:consist_edit"),
            params=ConsistEditParams,
            needs=_NEEDS,
            source="https://arxiv.org/abs/2510.17803",
            paper=Paper(
                "ConsistEdit: Highly Consistent and Precise Training-free Visual Editing",
                "Zixin Yin and Ling-Hao Chen and Lionel Ni and Xili Dai",
                2025,
            ),
        ),
        ControlSpec(
            name="value-injection",
            summary="Keep the values of the source in the first steps.",
            load=by_name("editkit_attention.value_injection:value_injection"),
            params=ValueInjectionParams,
            needs=_NEEDS,
            source="https://arxiv.org/abs/2605.02417",
        ),
        ControlSpec(
            name="ledits",
            summary="Add guidance towards a prompt, or away from it, inside a mask of its own; several at once.",
            load=by_name("editkit_attention.ledits:ledits"),
            params=LeditsParams,
            needs=frozenset({"text"}),
            finds_mask=True,
            source="https://arxiv.org/abs/2311.16711",
            paper=Paper(
                "LEDITS++: Limitless Image Editing using Text-to-Image Models",
                "Manuel Brack and Felix Friedrich and Katharina Kornmeier and Linoy Tsaban and Patrick Schramowski "
                "and Kristian Kersting and Apolinário Passos",
                2023,
            ),
        ),
        ControlSpec(
            name="kv-edit",
            summary="Compute only what a mask marks; the rest lends its keys and values from the inversion.",
            load=by_name("editkit_attention.kv_edit:kv_edit"),
            params=KvEditParams,
            needs=_NEEDS,
            reads=_READS | {"inverter"},
            needs_mask=True,
            source="https://arxiv.org/abs/2502.17363",
            paper=Paper(
                "KV-Edit: Training-Free Image Editing for Precise Background Preservation",
                "Tianrui Zhu and Shiyi Zhang and Jiawei Shao and Yansong Tang",
                2025,
            ),
        ),
    ]
