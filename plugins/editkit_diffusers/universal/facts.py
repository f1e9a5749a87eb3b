"""Facts of pipelines that no probe can find; a pipeline without any is served as it comes."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from editkit import PromptedNorm


@dc.dataclass(frozen=True)
class FamilyFacts:
    """Facts about a pipeline that its code does not state."""

    unguided: float = 1.0
    """Value of the pipeline's ``guidance_scale`` that does not guide."""
    arguments: Mapping[str, Any] = dc.field(default_factory=dict)
    """Further arguments of every call."""
    fixed_area: str = ""
    """Attribute of the pipeline that fixes the area of its images, as the side of a square in latents."""
    fixed_sizes: str = ""
    """Attribute of the pipeline that lists the sizes (width, height) of its images."""
    raw_pixels: bool = False
    """Whether the tensors that its call returns are pixels in [-1, 1], where its arrays are in [0, 1]."""
    native_size: int = 0
    """Side of the training images in pixels, where the pipeline has another number."""
    norm: PromptedNorm | None = None
    """Rule of guidance by two estimates; None for their weighted sum."""
    own_guidance: bool = False
    """Whether guidance is more than two estimates under two prompts, so that the pipeline has to compute it."""
    usual: Mapping[str, Any] = dc.field(default_factory=dict)
    """Usual settings that are not the defaults of its call, with editkit's guidance."""
    few_steps: int = 0
    """Usual steps of the distilled model, if the family has one whose files say that it is; it is not guided."""
    distilled_shift: float | None = None
    """Shift of the scheduler by which the files of the distilled model differ."""


_TOKENS = PromptedNorm("token", patch=2)
_QWEN_IMAGE = FamilyFacts(norm=_TOKENS)
_JOYIMAGE = FamilyFacts(norm=PromptedNorm("token"))

FACTS: Mapping[str, FamilyFacts] = MappingProxyType(
    {
        "BriaFibo2Pipeline": FamilyFacts(own_guidance=True),  # it has a negative prompt if there is none
        # A negative prompt is no JSON of an edit.
        "BriaFiboEditPipeline": FamilyFacts(own_guidance=True, native_size=1024),
        "BriaPipeline": FamilyFacts(own_guidance=True),  # an empty negative prompt is zeros
        "CogView3PlusPipeline": FamilyFacts(own_guidance=True),  # an empty negative prompt is zeros
        "Flux2KleinPipeline": FamilyFacts(few_steps=4),
        "HiDreamImagePipeline": FamilyFacts(fixed_area="default_sample_size"),
        # One scale for all steps, where the pipeline's default falls from 7 to 3 in the last three.
        "Ideogram4Pipeline": FamilyFacts(
            arguments={"guidance_schedule": None}, own_guidance=True, usual={"guidance": 7.0}
        ),
        "JoyImageEditPipeline": _JOYIMAGE,
        "JoyImageEditPlusPipeline": _JOYIMAGE,
        "Kandinsky3Pipeline": FamilyFacts(unguided=0.0, own_guidance=True, raw_pixels=True),  # as CogView3
        "Kandinsky5T2IPipeline": FamilyFacts(fixed_sizes="resolutions"),
        "Krea2Pipeline": FamilyFacts(unguided=0.0, few_steps=8),
        "LongCatImagePipeline": FamilyFacts(norm=PromptedNorm("token", patch=2, limit=1.0)),  # its edit model has none
        "Lumina2Pipeline": FamilyFacts(own_guidance=True),  # only the prompt is read after an instruction
        "LuminaPipeline": FamilyFacts(own_guidance=True),  # of three channels
        "NucleusMoEImagePipeline": FamilyFacts(norm=_TOKENS),
        "QwenImageEditPipeline": _QWEN_IMAGE,
        "QwenImageEditPlusPipeline": _QWEN_IMAGE,
        "QwenImagePipeline": _QWEN_IMAGE,
        "SanaPipeline": FamilyFacts(own_guidance=True),  # as Lumina 2
        "ZImagePipeline": FamilyFacts(unguided=0.0, few_steps=8, distilled_shift=3.0),
    }
)
"""Facts by the class of the pipeline."""

UNCHANGED_INPUTS: Mapping[str, Any] = MappingProxyType(
    {
        "use_resolution_binning": False,  # keeps the size of the image
        "_auto_resize": False,
        "enable_prompt_rewrite": False,  # keeps the words of the prompt
        "use_pe": False,
    }
)
"""Arguments that keep pipelines from changing the size or the prompt; each is passed to those that take it."""


def facts_of(kind: type) -> FamilyFacts:
    """Return the facts of a pipeline's class."""
    return FACTS.get(kind.__name__, FamilyFacts())


FLOW_MAP = "its network predicts the mean velocity up to a next timestep (a flow map), not an estimate at one point"
_STAGES = "it samples in several stages"
REFUSED: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            ("IFPipeline", "UnCLIPPipeline", "StableUnCLIPPipeline", "StableUnCLIPImg2ImgPipeline"), _STAGES
        ),
        **dict.fromkeys(("KandinskyPipeline", "KandinskyCombinedPipeline", "KandinskyPriorPipeline"), _STAGES),
        **dict.fromkeys(("KandinskyV22Pipeline", "KandinskyV22CombinedPipeline", "KandinskyV22PriorPipeline"), _STAGES),
        **dict.fromkeys(("StableCascadeCombinedPipeline", "StableCascadePriorPipeline"), _STAGES),
        "StableCascadeDecoderPipeline": _STAGES,
        "BlipDiffusionPipeline": "it reads the image of a subject by a model of its own",
        "Cosmos2TextToImagePipeline": "its steps are those of another space than its scheduler's",
        "Flux3DistilledModularPipeline": FLOW_MAP,
        "GlmImagePipeline": "a language model samples tokens of the image before the network is called",
        "HunyuanImageRefinerPipeline": "it refines images of another model",
        "OmniGenPipeline": "its scheduler counts one timestep, and its time runs from the image to noise",
        "QwenImageLayeredPipeline": "it samples several layers of one image",
        "SanaSprintPipeline": "its network predicts no estimate at one point",
        "StableDiffusionLatentUpscalePipeline": "it enlarges latents of another model",
    }
)
"""Classes of pipelines that cannot be served, and why."""
