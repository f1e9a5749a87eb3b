"""One network estimate by the blocks of a modular pipeline.

The blocks before the loop give a state that holds all but latents and timestep: embedded prompt, positions, masks. It
is kept for a prompt and a size. For an estimate the loop runs on it for one timestep, with a scheduler whose ``step``
returns the network's output.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from diffusers import ClassifierFreeGuidance
from diffusers.modular_pipelines.modular_pipeline import LoopSequentialPipelineBlocks, PipelineState
from PIL.Image import Image
from torch import Tensor

from editkit import WeightsUnavailable

from .layout import LatentLayout
from .network_call import NetworkCall, Size, as_timesteps
from .silence import silence
from .stand_in import StandIn
from .usual import WORKFLOW

_WITH_IMAGES = "image_conditioned"
"""Name of the blocks that also read images, if the family has some."""
_IMAGES = "image"
"""Their input for images."""
_NOT_OF_PROMPTS = frozenset({"height", "width", "latents", "num_images_per_prompt", "num_inference_steps"})
"""Inputs of the blocks before the loop that do not belong to reading a prompt."""
_KEPT = 64
"""States that are kept."""


class BlockCall(NetworkCall):
    """Calls of the blocks of a modular pipeline, one by one."""

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline)
        self._stages = {
            name: _Stages.of(pipeline, name)
            for name in pipeline.blocks.available_workflows
            if name in (WORKFLOW, _WITH_IMAGES)
        }
        self._prompts: dict[tuple[Any, ...], PipelineState] = {}
        self._states: dict[tuple[Any, ...], PipelineState] = {}
        self._put("scheduler", _output_scheduler(type(pipeline.scheduler), self.config))
        if "guider" in pipeline.components:
            with silence():
                self._put("guider", ClassifierFreeGuidance(enabled=False))
        self._observe_tokenizers()

    def _run(self, blocks: Iterable[Any], state: PipelineState) -> PipelineState:
        """Run blocks on a state."""
        with silence():
            for block in blocks:
                _, state = block(self.pipeline, state)
        return state

    def _stages_for(self, images: Sequence[Image]) -> _Stages:
        return self._stages[_WITH_IMAGES if images else WORKFLOW]

    def _read(self, prompt: str, images: Sequence[Image] = ()) -> PipelineState:
        """Return the state after the blocks that read a prompt, and images beside it."""
        key = prompt, *map(id, images)  # the state holds the images
        if key not in self._prompts:
            self._prompt = prompt
            stages, state = self._stages_for(images), PipelineState()
            for parameter in stages.inputs:
                if parameter.name is not None:
                    state.set(parameter.name, parameter.default, parameter.kwargs_type)
            state.set("prompt", prompt)
            if images:
                state.set(_IMAGES, list(images))
            self._keep(self._prompts, key, self._run(stages.readers, state))
        return _copy(self._prompts[key])

    def _prepare(self, prompt: str, size: Size, images: Sequence[Image] = (), **values: Any) -> PipelineState:
        """Return the state before the loop; ``values`` are further inputs of the blocks."""
        state = self._read(prompt, images)
        width, height = size
        generator = torch.Generator()  # for noise that is not used, so that torch's own generator is not advanced
        general = {"height": height, "width": width, "generator": generator, "num_inference_steps": 1}
        for name, value in {**general, "output_type": "pt", **values}.items():
            state.set(name, value)
        return self._run(self._stages_for(images).preparers, state)

    @staticmethod
    def _keep(kept: dict[Any, Any], key: Any, value: Any) -> None:
        kept[key] = value
        if len(kept) > _KEPT:
            del kept[next(iter(kept))]

    def estimate(
        self, x: Tensor, timestep: float, prompts: list[str], size: Size, arguments: Mapping[str, Any]
    ) -> Tensor:
        (prompt,) = set(prompts)
        values = {"num_images_per_prompt": len(x), **arguments}
        images = values.pop(_IMAGES, ())
        key = prompt, size, repr(sorted(values.items())), *map(id, images)
        with self._lock:
            layout, shown = self.layout(size), self._network_timestep(timestep, size)
            if key not in self._states:
                self._keep(self._states, key, self._prepare(prompt, size, images, **values))
            state = _copy(self._states[key])
            state.set("latents", layout.pack(x))
            state.set("timesteps", as_timesteps(shown, x.device))
            output: Tensor = self._run([self._stages_for(images).loop], state).get("latents")
            return layout.unpack(output)

    def decode(self, x: Tensor, size: Size) -> Tensor:
        with self._lock:
            state = self._prepare("", size, num_images_per_prompt=len(x))
            state.set("latents", self.layout(size).pack(x))
            pixels: Tensor = self._run(self._stages[WORKFLOW].decoders, state).get("images")
            return pixels[:, :3]

    def _probe_layout(self, size: Size) -> LatentLayout | None:
        state = self._prepare("", size)
        sampled, decoded = state.get("latents").shape[1:], []

        def decode(z: Tensor, *args: Any, **kwargs: Any) -> None:
            decoded.append(z[0])
            raise _Decoded

        count = sampled.numel()
        self._put(self._decoder, StandIn(self.autoencoder, decode=decode, dtype=torch.float64))
        try:
            for values in (torch.zeros(count), torch.ones(count), torch.arange(count)):
                probe = _copy(state)
                probe.set("latents", values.view(1, *sampled).double())
                try:
                    self._run(self._stages[WORKFLOW].decoders, probe)
                except _Decoded:
                    continue
        finally:
            self._put(self._decoder, self.autoencoder)
        return LatentLayout.of_probes(sampled, decoded) if len(decoded) == 3 else None

    def _set_timesteps(self, steps: int, size: Size) -> None:
        self._prepare("", size, num_inference_steps=steps)

    def _encode_prompt(self, prompt: str) -> None:
        self._prompts.pop((prompt,), None)
        self._read(prompt)

    def forget_prompts(self) -> None:
        with self._lock:
            self._prompts.clear()
            self._states.clear()


class _Decoded(Exception):
    """Ends the blocks of decoding at the decoder."""


def _copy(state: PipelineState) -> PipelineState:
    """Return a state whose entries can be set without a change of the other."""
    return PipelineState(dict(state.values), {name: list(keys) for name, keys in state.kwargs_mapping.items()})


class _Stages(NamedTuple):
    """Blocks of a workflow by their part in sampling."""

    inputs: list[Any]
    readers: list[Any]
    """Blocks that read a prompt, and images beside it."""
    preparers: list[Any]
    """Blocks that prepare the loop for a size and a number of images."""
    loop: Any
    decoders: list[Any]

    @classmethod
    def of(cls, pipeline: Any, workflow: str) -> _Stages:
        """Return the blocks of a workflow; raises WeightsUnavailable for blocks without one loop."""
        blocks = sampling_blocks(pipeline, workflow)
        loops = [place for place, block in enumerate(blocks) if isinstance(block, LoopSequentialPipelineBlocks)]
        if len(loops) != 1:
            raise WeightsUnavailable(f"a modular pipeline with {len(loops)} loops is not supported: it should have one")
        before, loop, after = blocks[: loops[0]], blocks[loops[0]], blocks[loops[0] + 1 :]
        loop.set_progress_bar_config(disable=True)
        prepares = [bool(_NOT_OF_PROMPTS & {one.name for one in block.inputs}) for block in before]
        first = prepares.index(True) if True in prepares else len(before)
        inputs = pipeline.blocks.get_workflow(workflow).inputs
        return cls(inputs, before[:first], before[first:], loop, after)


def sampling_blocks(pipeline: Any, workflow: str = WORKFLOW) -> list[Any]:
    """Return the blocks that sample an image from a prompt as it is: those that rewrite the prompt are left out."""
    blocks = pipeline.blocks.get_workflow(workflow).sub_blocks.values()
    return [block for block in blocks if "prompt" not in {output.name for output in block.intermediate_outputs}]


def _output_scheduler(kind: Any, config: Mapping[str, Any]) -> Any:
    """Return a scheduler of a class whose steps lead to the network's output."""

    class OutputScheduler(kind):  # type: ignore[misc]
        def step(self, model_output: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor]:
            return (model_output,)

        def scale_model_input(self, sample: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            return sample

    return OutputScheduler.from_config(config)
