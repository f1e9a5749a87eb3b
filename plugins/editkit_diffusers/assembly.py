"""Backends that are built from the parts of a folder, of a checkpoint file, or of a pipeline in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import torch

from editkit import ModelDisplay, ModelFacts

from .autoencoder import Autoencoder
from .checkpoint import Checkpoint
from .not_copied import NotCopied
from .offload import SequentialOffload
from .outline import Outline
from .pipeline.parts import PipelineParts
from .text_encoder import TextEncoder


class Parts(Protocol):
    """The parts of a model: of a :class:`Checkpoint` or of a pipeline."""

    index: dict[str, Any]
    """Content of ``model_index.json``."""

    @property
    def identity(self) -> str:
        """Hash of configuration and weights."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Notes for the report, one sentence each."""

    def network(self, kind: Any, part: str, *, changed: bool = False) -> Any:
        """Return a part of class ``kind``, ready to run; ``changed`` if the backend changes its modules."""

    def autoencoder(self) -> Autoencoder:
        """Return the autoencoder."""

    def text_encoder(self, part: str, kind: Any, length: int | None = None, left_out: int = 0) -> TextEncoder:
        """Return a text encoder with its tokenizer."""

    def scheduler(self, part: str = "scheduler", *, fixed: Mapping[str, Any] = ...) -> dict[str, Any]:
        """Return the configuration of a scheduler."""


class Assembled(ModelDisplay, NotCopied):
    """Base of backends that :meth:`from_parts` builds."""

    device: torch.device
    lender: Any = None
    """Pipeline in memory whose weights are shared; None for a model with weights of its own."""
    offload: SequentialOffload | None = None

    @classmethod
    def from_folder(cls, folder: Path, *, name: str, **target: Any) -> Self:
        """Load a diffusers folder, or a checkpoint file on its configuration; ``target`` is that of a Checkpoint.

        Raises WeightsUnavailable for parts that are damaged or of another shape.
        """
        return cls.from_parts(Checkpoint(folder, **target), name)

    @classmethod
    def from_pipe(cls, pipe: Any, *, name: str) -> Self:
        """Build the backend on the weights of a pipeline in memory, which is left as it is.

        Raises WeightsUnavailable for parts that are missing or of another class, InvalidParameter for state of the
        pipeline that the backend would not reproduce.
        """
        parts = PipelineParts(pipe)
        model = cls.from_parts(parts, name)
        model.device, model.lender = parts.device, pipe
        return model

    @classmethod
    def facts_of_folder(cls, folder: Path) -> ModelFacts:
        """Return facts about the model in a diffusers folder, by networks of its shapes without weights.

        Raises WeightsUnavailable for parts that do not fit.
        """
        model: Any = cls.from_parts(Outline(folder), str(folder))
        return ModelFacts(
            provides=model.provides,
            native_size=model.native_size,
            multiple=model.multiple,
            usual=getattr(model, "usual", {}),
            warnings=tuple(getattr(model, "warnings", ())),
        )

    def free_device(self) -> None:
        """Move the weights that are on the device only while they are active back to main memory."""
        if self.offload is not None:
            self.offload.release()
        if self.lender is not None:
            self.lender.maybe_free_model_hooks()

    @classmethod
    def from_parts(cls, parts: Parts, name: str) -> Self:
        """Build the backend from its parts."""
        raise NotImplementedError
