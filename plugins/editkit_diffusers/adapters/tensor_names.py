"""Names of tensors in adapter files, in the spellings of all trainers: the layer that each changes, and its role."""

from __future__ import annotations

import re
from typing import NamedTuple

DENOISER = "denoiser"
"""Part of a name without the name of a text encoder: the UNet or the transformer."""
WRAPPERS = (
    *("base_model.model.", "base_model.", "model.diffusion_model.", "diffusion_model.", "lycoris_"),
    *("module.", "_orig_mod.", "pipe."),
)
"""Prefixes that name no part: of trainers, and of what they wrap a network in."""
PART_PREFIXES = {
    "lora_unet_": DENOISER,
    "lora_transformer_": DENOISER,
    "unet.": DENOISER,
    "transformer.": DENOISER,
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te3_": "text_encoder_3",
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
    "text_encoder_3.": "text_encoder_3",
    "text_encoders.clip_l.transformer.": "text_encoder",
    "text_encoders.clip_g.transformer.": "text_encoder_2",
    "text_encoders.t5xxl.transformer.": "text_encoder_3",
    "cond_stage_model.transformer.": "text_encoder",
    "conditioner.embedders.0.transformer.": "text_encoder",
}
"""Prefixes of names by trainer, and the part of the model that each names."""

_ROLES = (
    # LoRA: ``down`` and ``up`` (or ``A`` and ``B``), ``mid`` in Tucker form; PEFT puts an adapter's name behind them.
    (
        re.compile(
            r"[._](?:lora|lora_linear_layer)[._](down|up|mid|A|B)(?:\.(?!weight$|bias$)\w+)?(?:\.(weight|bias))?"
        ),
        lambda match: {"A": "down", "B": "up"}.get(match[1], match[1]) + ("_bias" if match[2] == "bias" else ""),
    ),
    (re.compile(r"\.lora_magnitude_vector(?:\.\w+)?"), lambda _: "magnitude"),
    (re.compile(r"\.(alpha|dora_scale|diff|diff_b|w_norm|b_norm)"), lambda match: match[1]),
    (re.compile(r"\.(hada_(?:w[12]_[ab]|t[12]))"), lambda match: match[1]),
    (re.compile(r"\.(lokr_(?:w[12](?:_[ab])?|t2))"), lambda match: match[1]),
)
"""Endings of names, and the role that each gives to its tensor."""
_PEFT_KINDS = (
    "adamss|beft|bone|c3a|deft|delora|fourierft|frod|glora|gralora|hira|hra|lily|ln_tuning|miss|osf|peanut|psoft|randlora|"
    "road|shira|supertuning|tinylora|unilora|vblora|waveft"
)
UNSUPPORTED = {
    "an OFT or BOFT adapter": r"\.(oft_(blocks|diag|R)\b.*|boft_.*|rescale)",
    "an IA3 adapter": r"\.(ia3_\w+(\..*)?|on_input)",
    "a GLoRA adapter": r"\.(a1|a2|b1|b2|bm1|bm2)\.weight",
    "an AdaLoRA": r"\.(lora_E|ranknum)(\..*)?",
    "a VeRA adapter": r".*\.?vera_\w+(\..*)?",
    "an adapter of PEFT that is no LoRA, LoHa or LoKr": rf"\.({_PEFT_KINDS})_\w+(\..*)?",
    "a KaSA, VeLoRA or MonteCLoRA": r"\.lora_(diag|velora_\w+|monteclora_\w+)(\..*)?",
    "a T-LoRA": r"\.([qp]_layer\.weight|lambda_layer)",
    "a LoRA of token embeddings": r"[._]lora_embedding_[AB](\..*)?",
    "an adapter with trained tokens of PEFT": r"\.trainable_tokens_delta",
    "an adapter with whole layers beside it (modules_to_save or bias of PEFT)": r"base_model\.model\.((?!lora_).)*"
    r"\.(weight|bias)",
    "a LyCORIS file with trained scalars": r"\.scalar",
    "a LyCORIS file with sparse biases": r"\.bias_(indices|values|size)",
    "a file that replaces weights": r"\.set_weight",
    "a LoRA that changes the shape of weights": r"\.reshape_weight",
}
"""Kinds of adapters that are recognised and refused, by the endings of their names."""


class TensorName(NamedTuple):
    """Layer that a tensor belongs to, as its file spells it, and the role of the tensor in the change."""

    part: str
    module: str
    role: str
    bare: bool
    """Whether the name has no prefix, so that the part is a guess."""


def parse_name(name: str) -> TensorName | None:
    """Return the parts of a tensor's name, or None if no trainer of adapters spells its weights so."""
    # In files of xlabs two changes of a block differ in a number behind the word "lora".
    spelled = re.sub(r"_lora([12])\.(down|up)", r"\1_lora.\2", name)
    for ending, role_of in _ROLES:
        match = re.search(rf"(?:{ending.pattern})$", spelled)
        if match and match.start() > 0:
            part, module = _split_prefix(spelled[: match.start()])
            return TensorName(part or DENOISER, module, role_of(match), part is None)
    return None


def unsupported_kind(name: str) -> str | None:
    """Return the kind of adapter that a name belongs to, if the kind is recognised but not supported."""
    return next((kind for kind, ending in UNSUPPORTED.items() if re.search(rf"(?:{ending})$", name)), None)


def has_prefix(name: str) -> bool:
    """Return whether a name begins with one of the prefixes of trainers."""
    return name.startswith((*WRAPPERS, *PART_PREFIXES))


def _split_prefix(module: str) -> tuple[str | None, str]:
    """Return the part that the prefixes of a module name, None if there is none, and the module without them."""
    part = None
    while True:
        prefix = next((one for one in (*WRAPPERS, *PART_PREFIXES) if module.startswith(one)), None)
        if prefix is None:
            return part, module
        part = part or PART_PREFIXES.get(prefix) or (DENOISER if "diffusion_model" in prefix else None)
        module = module.removeprefix(prefix)
