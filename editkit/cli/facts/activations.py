"""Memory of an edit beside the weights: networks run on tensors that have shapes and no storage."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ...errors import EditkitError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_ROWS = 2
"""Rows of a network call for one image with guidance."""
_TOKENS = 77


class PeakOfTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Context that measures the largest sum of bytes of the tensors that live at one time, beside some."""

    def __init__(self, beside: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.peak = 0
        self._live = {tensor.untyped_storage()._cdata for tensor in beside}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._live:
            self._live.add(key)
            self.bytes += size
            self.peak = max(self.peak, self.bytes)
            weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._live.discard(key)
        self.bytes -= size


def decoding_memory(folder: Path, size: tuple[int, int]) -> Mapping[str, int]:
    """Return the bytes beside the weights that decoding one image of a size (width, height) needs, by dtype.

    ``folder`` is that of a model in the layout of diffusers. Raises EditkitError if it has no autoencoder of images
    with three axes of latents.
    """
    config = _autoencoder_config(folder)
    shape = (1, config["latent_channels"], *_latent_size(config, size))
    return _peaks(config, lambda net, dtype: net.decode(torch.zeros(shape, dtype=dtype)))


def network_memory(folder: Path, size: tuple[int, int]) -> Mapping[str, int]:
    """Return the bytes beside the weights of a call of the U-Net for one image with guidance, which has two rows.

    Arguments and errors are those of :func:`decoding_memory`.
    """
    config, (height, width) = _read_config(folder, "unet"), _latent_size(_autoencoder_config(folder), size)
    if config.get("_class_name") != "UNet2DConditionModel":
        raise EditkitError(f"model {folder}: the memory of a network call is known of UNet2DConditionModel alone")

    def call(net: Any, dtype: torch.dtype) -> Any:
        latents = torch.zeros(_ROWS, net.config.in_channels, height, width, dtype=dtype)
        prompt = torch.zeros(_ROWS, _TOKENS, net.config.cross_attention_dim, dtype=dtype)
        more: dict[str, Any] = {}
        if net.config.num_class_embeds is not None:
            more["class_labels"] = torch.zeros(_ROWS, dtype=torch.int64)
        if net.config.addition_embed_type == "text_time":
            pooled = net.config.projection_class_embeddings_input_dim - 6 * net.config.addition_time_embed_dim
            values = {"text_embeds": pooled, "time_ids": 6}
            more["added_cond_kwargs"] = {name: torch.zeros(_ROWS, n, dtype=dtype) for name, n in values.items()}
        return net(latents, torch.zeros(_ROWS, dtype=torch.int64), encoder_hidden_states=prompt, **more)

    return _peaks(config, call)


def _read_config(folder: Path, part: str) -> dict[str, Any]:
    file = folder / part / "config.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def _autoencoder_config(folder: Path) -> dict[str, Any]:
    config = _read_config(folder, "vae")
    if not {"latent_channels", "block_out_channels"} <= set(config):
        raise EditkitError(f"model {folder}: the memory of decoding is known of autoencoders like AutoencoderKL alone")
    return config


def _latent_size(config: Mapping[str, Any], size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of the latents of an image."""
    factor = 2 ** (len(config["block_out_channels"]) - 1)
    return -(-size[1] // factor), -(-size[0] // factor)


def _peaks(config: Mapping[str, Any], call: Callable[[Any, torch.dtype], Any]) -> dict[str, int]:
    """Return the memory of a call of a network with this configuration, by dtype."""
    import diffusers

    with torch.device("meta"):
        net = getattr(diffusers, config["_class_name"]).from_config(config).eval()
    shapes = {name: tensor.shape for name, tensor in net.state_dict().items()}
    peaks = {}
    # On tensors of the device meta, attention would be computed without the kernels that torch takes for it.
    with FakeTensorMode(), torch.no_grad():
        for name, dtype in _DTYPES.items():
            net.load_state_dict({key: torch.empty(shape, dtype=dtype) for key, shape in shapes.items()}, assign=True)
            with PeakOfTensors([*net.parameters(), *net.buffers()]) as tensors:
                call(net, dtype)
            peaks[name] = tensors.peak
    return peaks
