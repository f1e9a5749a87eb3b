"""Ways from a picture up to the noise it would be drawn from."""

from __future__ import annotations

from pydantic import Field

from editkit import Fraction, InverterSpec, Params, by_name, hookimpl

FLOW = frozenset({"flow_prediction"})


class FixedPointParams(Params):
    iterations: int = Field(60, ge=1, le=1000, description="Most network calls a step after the first.")
    tolerance: float | None = Field(None, gt=0.0, description="Residual to stop at; by the precision when not given.")


class ControlledParams(Params):
    gamma: Fraction = Field(0.5, description="How much the climb is pulled to a drawn noise.")
    eta: Fraction = Field(0.9, description="How much the replay is pulled to the source.")
    start: Fraction = Field(0.0, description="Fraction of the replay before which it is not pulled.")
    stop: Fraction = Field(0.25, description="Fraction of the replay after which it is not pulled.")


class NullTextParams(Params):
    inner: int = Field(10, ge=1, le=1000, description="Most changes of the embedding a step.")
    rate: float = Field(0.01, gt=0.0, le=1.0, description="Learning rate of the first step; half of it at the last.")
    tolerance: float = Field(1e-5, ge=0.0, description="Mean squared miss to stop at in the first step; it grows.")


class EditFriendlyParams(Params):
    skip: Fraction = Field(0.0, description="Fraction of the replay that draws nothing; more of it for more guidance.")


class EdictParams(Params):
    mixing: float = Field(0.93, ge=0.5, lt=1.0, description="What each latent keeps of itself in one of 50 steps.")


@hookimpl
def register_inverters() -> list[InverterSpec]:
    return [
        InverterSpec(
            name="ddim",
            summary="DDIM run upward: cheap, and off by the first order of a step.",
            load=by_name("editkit_inverters.ddim:DdimInverter"),
            source="https://arxiv.org/abs/2010.02502",
        ),
        InverterSpec(
            name="ddim-corrected",
            summary="A predicted step, and one evaluation at the corrected point: as cheap, and nearer.",
            load=by_name("editkit_inverters.ddim_corrected:DdimCorrected"),
            calls_per_step="1, and one more",
            source="https://arxiv.org/abs/2504.13109",
        ),
        InverterSpec(
            name="fixed-point",
            summary="Solves each step's implicit equation, damped, never ending worse than it began.",
            load=by_name("editkit_inverters.fixed_point:FixedPoint"),
            params=FixedPointParams,
            calls_per_step="2 to 61",
            source="https://arxiv.org/abs/2309.04907",
        ),
        InverterSpec(
            name="pinned",
            summary="DDIM upward, with the trajectory recorded and the source held to it on the way back.",
            load=by_name("editkit_inverters.pinned:PinnedInverter"),
            exact=True,
            source="https://arxiv.org/abs/2310.01506",
        ),
        InverterSpec(
            name="negative-prompt",
            summary="DDIM upward; guidance leads away from the source prompt, and so leaves the source alone.",
            load=by_name("editkit_inverters.negative_prompt:NegativePrompt"),
            sets_negative_prompt=True,
            source="https://arxiv.org/abs/2305.16807",
        ),
        InverterSpec(
            name="null-text",
            summary="DDIM upward; what guidance leads away from is optimised until the source comes back.",
            load=by_name("editkit_inverters.null_text:NullText"),
            params=NullTextParams,
            calls_per_step="1, and 2 to 12 where guided",
            sets_negative_prompt=True,
            source="https://arxiv.org/abs/2211.09794",
        ),
        InverterSpec(
            name="edit-friendly",
            summary="Draws the way up and solves for the noise of the way down, which keeps the picture's structure.",
            load=by_name("editkit_inverters.edit_friendly:EditFriendly"),
            params=EditFriendlyParams,
            exact=True,
            stochastic=True,
            calls_per_step="1, many steps in one call",
            replaces_sampler=True,
            source="https://arxiv.org/abs/2304.06140",
        ),
        InverterSpec(
            name="edict",
            summary="Two coupled latents whose steps undo each other by algebra.",
            load=by_name("editkit_inverters.edict:Edict"),
            params=EdictParams,
            exact=True,
            calls_per_step="2",
            replaces_sampler=True,
            source="https://arxiv.org/abs/2211.12446",
        ),
        InverterSpec(
            name="belm",
            summary="Two-step method of second order, reversible by algebra at one call a step.",
            load=by_name("editkit_inverters.belm:Belm"),
            exact=True,
            calls_per_step="1, and one more",
            replaces_sampler=True,
            source="https://arxiv.org/abs/2410.07273",
        ),
        InverterSpec(
            name="dpmpp",
            summary="DPM-Solver++ (2M) of second order, upward as downward.",
            load=by_name("editkit_inverters.dpmpp:SamplerInverter"),
            replaces_sampler=True,
            source="https://arxiv.org/abs/2211.01095",
        ),
        InverterSpec(
            name="virtual",
            summary="Asks no network: noises the picture freely at every point, and holds the source to that.",
            load=by_name("editkit:VirtualInversion"),
            exact=True,
            stochastic=True,
            calls_per_step="0",
            source="https://arxiv.org/abs/2312.04965",
        ),
        InverterSpec(
            name="rf-euler",
            summary="Euler's step of rectified flow run upward: on its paths the same step as ddim.",
            load=by_name("editkit_inverters.ddim:DdimInverter"),
            predictions=FLOW,
            source="https://arxiv.org/abs/2209.03003",
        ),
        InverterSpec(
            name="rf-midpoint",
            summary="Midpoint steps of second order, each from the velocity of the last, both ways.",
            load=by_name("editkit_inverters.rf_midpoint:RfMidpoint"),
            calls_per_step="1, and one more",
            predictions=FLOW,
            replaces_sampler=True,
            source="https://arxiv.org/abs/2412.07517",
        ),
        InverterSpec(
            name="rf-controlled",
            summary="Euler's steps pulled to a drawn noise on the way up and to the picture on the way down.",
            load=by_name("editkit_inverters.rf_controlled:RfControlled"),
            params=ControlledParams,
            stochastic=True,
            predictions=FLOW,
            source="https://arxiv.org/abs/2410.10792",
        ),
    ]
