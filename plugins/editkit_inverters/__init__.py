"""Inverters: from a clean latent to the noise that a sampler would turn into it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from editkit import Fraction, InverterSpec, Paper, Params, by_name, check_interval, hookimpl

FLOW = frozenset({"flow_prediction"})


class FixedPointParams(Params):
    iterations: int = Field(60, ge=1, le=1000, description="Maximum network calls per step after the first one.")
    tolerance: float | None = Field(
        None, gt=0.0, description="Residual at which a step stops; chosen by the precision if not given."
    )


class ControlledParams(Params):
    gamma: Fraction = Field(0.5, description="Strength of the pull towards the sampled noise during inversion.")
    eta: Fraction = Field(0.9, description="Strength of the pull towards the source during the replay.")
    start: Fraction = Field(0.0, description="Fraction of the replay at which the pull starts.")
    stop: Fraction = Field(0.25, description="Fraction of the replay at which the pull stops.")

    @model_validator(mode="after")
    def check_fractions(self) -> Self:
        return check_interval(self, "start", "stop")


class NullTextParams(Params):
    inner: int = Field(10, ge=1, le=1000, description="Maximum updates of the embedding per step.")
    rate: float = Field(
        0.01, gt=0.0, le=1.0, description="Learning rate of the first step; it falls to half at the last."
    )
    tolerance: float = Field(
        1e-5, ge=0.0, description="Mean squared error at which the first step stops; it grows along the path."
    )


class EditFriendlyParams(Params):
    skip: Fraction = Field(
        0.0, description="Fraction of the replay that follows the source; raise it with the guidance scale."
    )


class EdictParams(Params):
    mixing: float = Field(
        0.93, ge=0.5, lt=1.0, description="Weight of each latent when the pair is mixed, for a path of 50 steps."
    )


class RexParams(Params):
    scheme: Literal["euler", "heun"] = Field(
        "euler", description="Runge-Kutta scheme that is made reversible, of first or second order."
    )
    coupling: float = Field(
        0.999, ge=0.9, le=1.0, description="Weight of the latents when a step mixes the pair, for a path of 50 steps."
    )


@hookimpl
def register_inverters() -> list[InverterSpec]:
    return [
        InverterSpec(
            name="ddim",
            summary="DDIM inversion: cheap, with a first-order error per step.",
            load=by_name("editkit_inverters.ddim:DdimInverter"),
            source="https://arxiv.org/abs/2010.02502",
            paper=Paper(
                "Denoising Diffusion Implicit Models",
                "Jiaming Song and Chenlin Meng and Stefano Ermon",
                2020,
            ),
        ),
        InverterSpec(
            name="ddim-corrected",
            summary="DDIM inversion with the noise evaluated at the predicted point: as cheap, more accurate.",
            load=by_name("editkit_inverters.ddim_corrected:DdimCorrected"),
            calls_per_step="1, and one more",
            source="https://arxiv.org/abs/2504.13109",
        ),
        InverterSpec(
            name="fixed-point",
            summary="Solves the implicit equation of each step; no step ends worse than its first guess.",
            load=by_name("editkit_inverters.fixed_point:FixedPoint"),
            params=FixedPointParams,
            calls_per_step="2 to 61",
            source="https://arxiv.org/abs/2309.04907",
            paper=Paper(
                "Effective Real Image Editing with Accelerated Iterative Diffusion Inversion",
                "Zhihong Pan and Riccardo Gherardi and Xiufeng Xie and Stephen Huang",
                2023,
            ),
        ),
        InverterSpec(
            name="pinned",
            summary="DDIM inversion; the replay pins the source to the recorded trajectory.",
            load=by_name("editkit_inverters.pinned:PinnedInverter"),
            exact=True,
            source="https://arxiv.org/abs/2310.01506",
        ),
        InverterSpec(
            name="aligned",
            summary="Euler's steps, each exact: the replay evaluates the network at the inputs of the inversion.",
            load=by_name("editkit_inverters.aligned:AlignedInverter"),
            exact=True,
            replaces_sampler=True,
            source="https://arxiv.org/abs/2605.02417",
            paper=Paper(
                "DirectEdit: Step-Level Accurate Inversion for Flow-Based Image Editing",
                "Desong Yang and Mang Ye",
                2026,
            ),
        ),
        InverterSpec(
            name="negative-prompt",
            summary="DDIM inversion; the source prompt is the negative prompt, so guidance cancels on the source.",
            load=by_name("editkit_inverters.negative_prompt:NegativePrompt"),
            sets_negative_prompt=True,
            source="https://arxiv.org/abs/2305.16807",
            paper=Paper(
                "Negative-prompt Inversion: Fast Image Inversion for Editing with Text-guided Diffusion Models",
                "Daiki Miyake and Akihiro Iohara and Yu Saito and Toshiyuki Tanaka",
                2023,
            ),
        ),
        InverterSpec(
            name="null-text",
            summary="DDIM inversion; the negative embedding is optimised until the replay reconstructs the source.",
            load=by_name("editkit_inverters.null_text:NullText"),
            params=NullTextParams,
            calls_per_step="1, and 2 to 12 with guidance",
            sets_negative_prompt=True,
            source="https://arxiv.org/abs/2211.09794",
            paper=Paper(
                "Null-text Inversion for Editing Real Images using Guided Diffusion Models",
                "Ron Mokady and Amir Hertz and Kfir Aberman and Yael Pritch and Daniel Cohen-Or",
                2022,
            ),
        ),
        InverterSpec(
            name="edit-friendly",
            summary="Samples the trajectory and solves for the replay's noise, which keeps the image's structure.",
            load=by_name("editkit_inverters.edit_friendly:EditFriendly"),
            params=EditFriendlyParams,
            exact=True,
            stochastic=True,
            calls_per_step="1, many steps in one call",
            replaces_sampler=True,
            source="https://arxiv.org/abs/2304.06140",
            paper=Paper(
                "An Edit Friendly DDPM Noise Space: Inversion and Manipulations",
                "Inbar Huberman-Spiegelglas and Vladimir Kulikov and Tomer Michaeli",
                2023,
            ),
        ),
        InverterSpec(
            name="edict",
            summary="Two coupled latents with algebraically invertible steps.",
            load=by_name("editkit_inverters.edict:Edict"),
            params=EdictParams,
            exact=True,
            calls_per_step="2",
            replaces_sampler=True,
            source="https://arxiv.org/abs/2211.12446",
            paper=Paper(
                "EDICT: Exact Diffusion Inversion via Coupled Transformations",
                "Bram Wallace and Akash Gokul and Nikhil Naik",
                2022,
            ),
        ),
        InverterSpec(
            name="belm",
            summary="Algebraically invertible two-step method of second order, at one call per step.",
            load=by_name("editkit_inverters.belm:Belm"),
            exact=True,
            calls_per_step="1, and one more",
            replaces_sampler=True,
            source="https://arxiv.org/abs/2410.07273",
            paper=Paper(
                "BELM: Bidirectional Explicit Linear Multi-step Sampler for Exact Inversion in Diffusion Models",
                "Fangyikang Wang and Hubery Yin and Yuejiang Dong and Huminhao Zhu and Chao Zhang and Hanbin Zhao and "
                "Hui Qian and Chen Li",
                2024,
            ),
        ),
        InverterSpec(
            name="rex",
            summary="Reversible Runge-Kutta steps of a coupled pair, of the order of their scheme.",
            load=by_name("editkit_inverters.rex:Rex"),
            params=RexParams,
            exact=True,
            calls_per_step="2, and 4 with heun",
            replaces_sampler=True,
            source="https://arxiv.org/abs/2502.08834",
            paper=Paper(
                "Rex: Reversible Solvers for Diffusion Models",
                "Zander W. Blasingame and Chen Liu",
                2025,
            ),
        ),
        InverterSpec(
            name="dpmpp",
            summary="DPM-Solver++ (2M) of second order for inversion and replay.",
            load=by_name("editkit_inverters.dpmpp:SamplerInverter"),
            replaces_sampler=True,
            source="https://arxiv.org/abs/2211.01095",
        ),
        InverterSpec(
            name="virtual",
            summary="Calls no network: noises the image independently at every point and pins the source to that.",
            load=by_name("editkit:VirtualInversion"),
            exact=True,
            stochastic=True,
            calls_per_step="0",
            source="https://arxiv.org/abs/2312.04965",
        ),
        InverterSpec(
            name="rf-euler",
            summary="Euler's method of rectified flow in reverse: on its paths the same step as ddim.",
            load=by_name("editkit_inverters.ddim:DdimInverter"),
            predictions=FLOW,
            source="https://arxiv.org/abs/2209.03003",
            paper=Paper(
                "Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow",
                "Xingchao Liu and Chengyue Gong and Qiang Liu",
                2022,
            ),
        ),
        InverterSpec(
            name="rf-midpoint",
            summary="Midpoint steps of second order, each from the velocity of the last, for inversion and replay.",
            load=by_name("editkit_inverters.rf_midpoint:RfMidpoint"),
            calls_per_step="1, and one more",
            predictions=FLOW,
            replaces_sampler=True,
            source="https://arxiv.org/abs/2412.07517",
            paper=Paper(
                "FireFlow: Fast Inversion of Rectified Flow for Image Semantic Editing",
                "Yingying Deng and Xiangyu He and Changwang Mei and Peisong Wang and Fan Tang",
                2024,
            ),
        ),
        InverterSpec(
            name="rf-controlled",
            summary="Euler's steps, pulled to a sampled noise in the inversion and to the source in the replay.",
            load=by_name("editkit_inverters.rf_controlled:RfControlled"),
            params=ControlledParams,
            stochastic=True,
            predictions=FLOW,
            source="https://arxiv.org/abs/2410.10792",
            paper=Paper(
                "Semantic Image Inversion and Editing using Rectified Stochastic Differential Equations",
                "Litu Rout and Yujia Chen and Nataniel Ruiz and Constantine Caramanis and Sanjay Shakkottai and "
                "Wen-Sheng Chu",
                2024,
            ),
        ),
    ]
