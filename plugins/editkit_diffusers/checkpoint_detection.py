"""Find the model whose configuration belongs to a single-file checkpoint in the original format."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from editkit import WeightsUnavailable

from .network_files.families import EDM_TENSORS, family_of

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of a file's tensors by name."""

_FIRST_CONVOLUTION = "model.diffusion_model.input_blocks.0.0.weight"
"""First convolution of a UNet; its second dimension is the number of input channels."""
_CLIP = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
_OPEN_CLIP = "cond_stage_model.model.token_embedding.weight"
_SECOND_ENCODER = "conditioner.embedders.1.model.token_embedding.weight"
_REFINER_ENCODER = "conditioner.embedders.0.model.token_embedding.weight"
_BASES = {
    (_CLIP, 4): "stable-diffusion-v1-5/stable-diffusion-v1-5",
    (_CLIP, 8): "timbrooks/instruct-pix2pix",
    (_CLIP, 9): "stable-diffusion-v1-5/stable-diffusion-inpainting",
    (_OPEN_CLIP, 4): "stabilityai/stable-diffusion-2-1",
    (_OPEN_CLIP, 9): "stabilityai/stable-diffusion-2-inpainting",
}
_UPSCALERS = {(_OPEN_CLIP, 7): "stabilityai/stable-diffusion-x4-upscaler"}
_XL_BASES = {
    (_SECOND_ENCODER, 4): "stabilityai/stable-diffusion-xl-base-1.0",
    (_SECOND_ENCODER, 8): "diffusers/sdxl-instructpix2pix-768",
    (_SECOND_ENCODER, 9): "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
    (_REFINER_ENCODER, 4): "stabilityai/stable-diffusion-xl-refiner-1.0",
}
"""Hub ids by text encoder and number of input channels."""
_SD3_BLOCK, _SD3_INPUT = "joint_blocks.0.x_block.attn.qkv.weight", "joint_blocks.37.x_block.mlp.fc1.weight"
_SD35_MEDIUM = "joint_blocks.0.x_block.attn2.qkv.weight"
_FLUX_BLOCK, _FLUX_INPUT = "double_blocks.0.img_attn.norm.key_norm.scale", "img_in.weight"
_FLUX_GUIDANCE = "guidance_in.in_layer.weight"
NETWORK = "model.diffusion_model."
"""Beginning of the names of a network's tensors in a file with other parts; a network alone has none."""
_V_PREDICTION, _ZERO_SNR = "v_pred", "ztsnr"
"""Empty tensors with which trainers mark velocity prediction and a path that starts at pure noise."""
OPEN_CLIP_ENCODER = _OPEN_CLIP
_OLD_CLIP = re.compile(
    r"((?:cond_stage_model|conditioner\.embedders\.0)\.transformer\.)(embeddings|encoder|final_layer_norm)\."
)
"""Names of a CLIP text encoder without ``text_model``, as in the models of NovelAI."""
_PREDICTIONS = {
    "epsilon": "epsilon",
    "eps": "epsilon",
    "v": "v_prediction",
    "v_prediction": "v_prediction",
    "v-prediction": "v_prediction",
    "vpred": "v_prediction",
    "x0": "sample",
    "sample": "sample",
}
_MOST_YAML_BYTES = 10**6


def original_names(names: Iterable[str]) -> dict[str, str]:
    """Return the names of a file's tensors with those that diffusers reads: older ones lack ``text_model``."""
    return {name: _OLD_CLIP.sub(r"\1text_model.\2.", name) for name in names}


def detect_stable_diffusion(shapes: Shapes) -> str | None:
    return _find_base(shapes, _BASES)


def detect_upscaler(shapes: Shapes) -> str | None:
    return _find_base(shapes, _UPSCALERS)


def detect_stable_diffusion_xl(shapes: Shapes) -> str | None:
    return _find_base(shapes, _XL_BASES) if EDM_TENSORS.isdisjoint(shapes) else None


def detect_stable_diffusion_3(shapes: Shapes) -> str | None:
    names = {name.removeprefix(NETWORK) for name in shapes}
    if _SD3_BLOCK not in names:
        return None
    if _SD35_MEDIUM in names:
        return "stabilityai/stable-diffusion-3.5-medium"
    return f"stabilityai/stable-diffusion-3{'.5-large' if _SD3_INPUT in names else '-medium-diffusers'}"


def detect_flux(shapes: Shapes) -> str | None:
    names = _flux_names(shapes)
    if _inputs(names, _FLUX_INPUT) in (0, _FILL_INPUTS, _CONTROL_INPUTS):
        return None
    return f"black-forest-labs/FLUX.1-{'dev' if _FLUX_GUIDANCE in names else 'schnell'}"


def detect_flux_fill(shapes: Shapes) -> str | None:
    filling = _inputs(_flux_names(shapes), _FLUX_INPUT) == _FILL_INPUTS
    return "black-forest-labs/FLUX.1-Fill-dev" if filling else None


def detect_flux_control(shapes: Shapes) -> str | None:
    """Depth and Canny have the same tensors, and the same configuration."""
    controlled = _inputs(_flux_names(shapes), _FLUX_INPUT) == _CONTROL_INPUTS
    return "black-forest-labs/FLUX.1-Depth-dev" if controlled else None


def detect_flux_kontext(shapes: Shapes) -> str | None:
    """Kontext has the tensors of FLUX.1 dev: the configuration beside the file distinguishes the two."""
    return "black-forest-labs/FLUX.1-Kontext-dev" if detect_flux(shapes) else None


_FILL_INPUTS = 384
"""Input values of a token in FLUX.1 Fill: latents, masked latents and mask."""
_CONTROL_INPUTS = 128
"""Input values of a token in FLUX.1 Depth and Canny: latents, and those of the map."""


def _flux_names(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a FLUX network by name, or nothing for another network."""
    names = {name.removeprefix(NETWORK): shape for name, shape in shapes.items()}
    return names if _FLUX_BLOCK in names and family_of(names) == "FLUX.1" else {}


def _inputs(shapes: Shapes, name: str) -> int:
    """Return the number of inputs of a layer, 0 if there is none."""
    shape = shapes.get(name, ())
    return shape[1] if len(shape) > 1 else 0


def _find_base(shapes: Shapes, bases: Mapping[tuple[str, int], str]) -> str | None:
    inputs = _inputs(shapes, _FIRST_CONVOLUTION)
    names = set(original_names(shapes).values())
    return next((base for (encoder, channels), base in bases.items() if encoder in names and channels == inputs), None)


def stated_settings(file: Path, header: Mapping[str, str], names: Collection[str]) -> dict[str, Any]:
    """Return the scheduler settings that a checkpoint states: a ``.yaml`` beside it, its header, its tensor names.

    The later outweighs the earlier. Raises WeightsUnavailable for a prediction that is unknown.
    """
    settings = _yaml_settings(file)
    stated = header.get("modelspec.prediction_type")
    if stated:
        settings["prediction_type"] = _prediction(stated, f"the header of {file}")
    if "true" in (header.get(key, "").lower() for key in ("ss_v_parameterization", "v_parameterization")):
        settings["prediction_type"] = "v_prediction"
    if "true" in (header.get(key, "").lower() for key in ("ss_zero_terminal_snr", "zero_terminal_snr", "ztsnr")):
        settings["rescale_betas_zero_snr"] = True
    settings |= {"prediction_type": "v_prediction"} if _V_PREDICTION in names else {}
    return settings | ({"rescale_betas_zero_snr": True} if _ZERO_SNR in names else {})


def _prediction(stated: str, where: str) -> str:
    if stated.lower() not in _PREDICTIONS:
        raise WeightsUnavailable(
            f"{where} names the prediction {stated[:60]!r}, which is unknown: pass prediction= (--prediction)"
        )
    return _PREDICTIONS[stated.lower()]


def _yaml_settings(file: Path) -> dict[str, Any]:
    """Return the settings in the configuration of the original code beside a checkpoint, ``NAME.yaml``."""
    import yaml

    place = next((one for one in map(file.with_suffix, (".yaml", ".yml")) if one.is_file()), None)
    if place is None:
        return {}
    try:
        if place.stat().st_size > _MOST_YAML_BYTES:
            raise ValueError("it is too large")
        content = yaml.safe_load(place.read_text(encoding="utf-8"))
        params = content["model"]["params"]
        scaling = params.get("denoiser_config", {}).get("params", {}).get("scaling_config", {}).get("target", "")
        stated = params.get("parameterization") or _SCALINGS.get(str(scaling).rpartition(".")[2])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsUnavailable(
            f"{place} is no configuration of a model ({type(error).__name__}: {reason}): move it elsewhere"
        ) from error
    return {} if stated is None else {"prediction_type": _prediction(str(stated), str(place))}


_SCALINGS = {"EpsScaling": "eps", "VScaling": "v", "VScalingWithEDMcNoise": "v"}
"""Predictions by the scaling class of the original code of SDXL."""
