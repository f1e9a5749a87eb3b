"""IP-Adapter: further attention of a network to the embedding of an image (Ye et al., arXiv 2308.06721)."""

from __future__ import annotations

import dataclasses as dc
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers.models.attention_processor import SD3IPAdapterJointAttnProcessor2_0
from diffusers.models.embeddings import ImageProjection, MultiIPAdapterImageProjection
from PIL import Image
from torch import Tensor, nn

from editkit import FileCache, InvalidParameter, file_stamps, loading, quiet

from ..shared_network import share
from .attached import Style
from .files import adapter_file, read_tensors, sections
from .image_encoder import CLIP, SIGLIP, EmbeddingCache, Embeddings, EncoderKind, Nothing, embed_image, find_encoder

_FACE_ID = ("perceiver_resampler.proj_in.weight", "norm.weight")
"""Weights of the image projection of FaceID adapters, if it has no plain ``proj``."""


Weights = Mapping[str, Tensor]
Parts = Mapping[str, Weights]
"""Weights of an adapter by section: ``image_proj`` and ``ip_adapter``."""


class Converted(NamedTuple):
    """An adapter as modules of diffusers."""

    processors: Mapping[str, Any]
    """Attention processors by name."""
    projection: nn.Module
    """Projection of the image encoder's output."""
    hidden: bool
    """Whether it takes hidden states, as the variants ``plus`` do."""


@dc.dataclass(frozen=True)
class Layout:
    """Weights of the adapters for one family of networks, and the image encoder that they take."""

    prefixes: Mapping[str, str]
    """Section of the adapter by the prefix of its tensors in a file."""
    shapes: Callable[[Any, Weights], dict[str, tuple[int, ...]]]
    """Function from a network and an adapter to the name and shape of each weight of the section ``ip_adapter``."""
    convert: Callable[[Any, Parts], Converted]
    """diffusers' conversion for a network."""
    projection: str = "encoder_hid_proj"
    """Attribute of the network that holds the image projection."""
    rename: Callable[[str], str] = str
    encoder: EncoderKind = CLIP
    nothing: Nothing | None = None
    """Embedding of no image; None for that of UNets, which depends on the adapter."""


def _unet_shapes(unet: Any, weights: Weights) -> dict[str, tuple[int, ...]]:
    names = [name for name in unet.attn_processors if not name.endswith("attn1.processor")]
    layers = [unet.get_submodule(name.removesuffix(".processor")) for name in names]
    return {
        f"{2 * number + 1}.to_{kind}_ip.weight": tuple(layer.to_k.weight.shape)
        for number, layer in enumerate(layers)
        for kind in "kv"
    }


def _flux_shapes(transformer: Any, weights: Weights) -> dict[str, tuple[int, ...]]:
    width, text = transformer.inner_dim, transformer.config.joint_attention_dim
    return {
        f"{number}.to_{kind}_ip.{part}": shape
        for number in range(len(transformer.transformer_blocks))
        for kind in "kv"
        for part, shape in {"weight": (width, text), "bias": (width,)}.items()
    }


def _sd3_shapes(transformer: Any, weights: Weights) -> dict[str, tuple[int, ...]]:
    head, heads = transformer.config.attention_head_dim, transformer.config.num_attention_heads
    times = weights.get("0.norm_ip.linear.weight", torch.empty(0, 0)).shape[-1]
    with torch.device("meta"):
        layer = SD3IPAdapterJointAttnProcessor2_0(head * heads, head * heads, head, times).state_dict()
    return {
        f"{number}.{name}": tuple(tensor.shape)
        for number in range(len(transformer.attn_processors))
        for name, tensor in layer.items()
    }


def _convert_cross_attention(net: Any, parts: Parts) -> Converted:
    processors = net._convert_ip_adapter_attn_to_diffusers([parts], low_cpu_mem_usage=False)
    projection = net._convert_ip_adapter_image_proj_to_diffusers(parts["image_proj"], low_cpu_mem_usage=False)
    hidden = not isinstance(projection, ImageProjection)
    return Converted(processors, MultiIPAdapterImageProjection([projection]), hidden)


def _convert_joint_attention(net: Any, parts: Parts) -> Converted:
    processors = net._convert_ip_adapter_attn_to_diffusers(parts["ip_adapter"], low_cpu_mem_usage=False)
    projection = net._convert_ip_adapter_image_proj_to_diffusers(parts["image_proj"], low_cpu_mem_usage=False)
    return Converted(processors, projection, hidden=True)


def _xlabs_name(name: str) -> str:
    """Return diffusers' name of a weight of the adapters by XLabs."""
    return re.sub(r"processor\.ip_adapter_double_stream_([kv])_proj", r"to_\1_ip", name)


_SECTIONS = {"image_proj": "image_proj", "ip_adapter": "ip_adapter"}
UNET = Layout(_SECTIONS, _unet_shapes, _convert_cross_attention)
FLUX = Layout(
    _SECTIONS | {"ip_adapter_proj_model": "image_proj", "double_blocks": "ip_adapter"},
    _flux_shapes,
    _convert_cross_attention,
    rename=_xlabs_name,
    nothing="black",
)
SD3 = Layout(_SECTIONS, _sd3_shapes, _convert_joint_attention, projection="image_proj", encoder=SIGLIP, nothing="zeros")


@dc.dataclass(frozen=True, eq=False)
class LoadedIPAdapter:
    """An adapter as a network on the weights of a model's, with its own attention processors and image projection."""

    net: Any
    width: int
    """Values of the image encoder that it takes."""
    hidden: bool
    """Whether it takes the hidden states of the image encoder, as the variants ``plus`` do."""


@dc.dataclass(frozen=True, eq=False)
class IPAdapterStyle(Style):
    """A loaded adapter with the embeddings of an image.

    ``mask`` (1, 1, H, W) in [0, 1] weights its effect at each place.
    """

    loaded: LoadedIPAdapter
    embeddings: Embeddings
    mask: Tensor | None = None
    kept: dict[Any, Any] = dc.field(default_factory=dict)
    """Networks and calls for this style and those that act with it, kept during its walk."""

    def release(self) -> None:
        self.kept.clear()

    def rows(self, roles: Sequence[int]) -> Tensor:
        """Return the embeddings of rows by their values of ``STYLE``, (B, 1, ...): one image each."""
        image, nothing = self.embeddings
        return torch.cat([image if role == 1 else nothing for role in roles]).unsqueeze(1)


class IPAdapters:
    """Adapters and embeddings of a model, of which those used last are kept for the next edit."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.loaded = FileCache[LoadedIPAdapter](maxsize=2)
        self.embeddings = EmbeddingCache()

    def style(
        self,
        model: Any,
        weights: Path,
        image: Image.Image,
        *,
        encoder: Path | None,
        scale: float,
        low: float,
        high: float,
        mask: Tensor | None = None,
    ) -> IPAdapterStyle:
        """Return the style of an image for a model with a network ``net``; see :meth:`SupportsStyle.with_style`."""
        file = adapter_file(weights)
        loaded, folder = self.load(file, model.net, model.identity), find_encoder(file, encoder)
        nothing: Nothing = self.layout.nothing or ("zero pixels" if loaded.hidden else "zeros")
        place = {"device": model.device, "dtype": model.dtype}
        options: dict[str, Any] = {"hidden": loaded.hidden, "nothing": nothing, **place}
        embedded = self.embeddings.get(
            folder,
            image,
            (loaded.width, *options.values()),
            lambda: embed_image(folder, image, loaded.width, encoder=self.layout.encoder, **options),
        )
        mask = None if mask is None else mask.to(model.device, model.dtype)
        return IPAdapterStyle(scale, low, high, loaded, embedded, mask)

    def load(self, file: Path, net: Any, identity: str) -> LoadedIPAdapter:
        """Return the adapter in a file for ``net``, the network of a model of ``identity``.

        Raises BadFile for a damaged file, InvalidParameter for one that is no adapter or does not fit the network.
        """
        try:
            return self.loaded.get((file, identity), file_stamps(file), lambda: _load(file, net, self.layout))
        except InvalidParameter as error:
            raise InvalidParameter(f"style:model={str(file)!r} {error}") from error


def _load(file: Path, net: Any, layout: Layout) -> LoadedIPAdapter:
    parts = sections(read_tensors(file), layout.prefixes)
    parts["ip_adapter"] = {layout.rename(name): tensor for name, tensor in parts["ip_adapter"].items()}
    projection = parts["image_proj"]
    if "proj.weight" not in projection and "proj.3.weight" not in projection:
        face = [name for name in _FACE_ID if name in projection]
        if face:
            raise InvalidParameter(
                f"holds {f'image_proj.{face[0]}'!r} and so is a FaceID adapter, which takes the embedding of a face by "
                "another library: use IP-Adapter, IP-Adapter Plus or Plus Face"
            )
    _check_attention(parts["ip_adapter"], layout.shapes(net, parts["ip_adapter"]))
    own = share(net)
    try:
        with loading(), quiet():
            converted = layout.convert(own, parts)
    except (KeyError, RuntimeError, IndexError, AttributeError) as error:
        raise InvalidParameter(f"has an image projection of no known kind ({error!r:.200})") from error
    _attach(own, converted, layout.projection)
    return LoadedIPAdapter(own, _image_input(projection), converted.hidden)


def _check_attention(weights: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise InvalidParameter unless an adapter has one weight of each name and shape that a network needs."""
    for name in [*shapes, *weights]:
        found, needed = weights.get(name), shapes.get(name)
        if found is None:
            raise InvalidParameter(f"lacks {f'ip_adapter.{name}'!r}: it belongs to a smaller model")
        if needed is None:
            raise InvalidParameter(
                f"holds {f'ip_adapter.{name[:80]}'!r}, which the model has no layer for: it belongs to another model"
            )
        if tuple(found.shape) != needed:
            raise InvalidParameter(
                f"has {f'ip_adapter.{name}'!r} of the shape {tuple(found.shape)}, and the model's is {needed}: it "
                "belongs to another model"
            )


def _image_input(projection: Mapping[str, Tensor]) -> int:
    """Return the number of values of the image encoder that a projection takes."""
    first = next(name for name in ("proj.weight", "proj.0.weight", "proj_in.weight") if name in projection)
    return int(projection[first].shape[-1])


def _attach(net: Any, converted: Converted, projection: str) -> None:
    """Give a network of its own the modules of an adapter, as diffusers' ``_load_ip_adapter_weights`` does.

    That one also moves all weights of the network, which are shared here.
    """
    for part in (converted.projection, *converted.processors.values()):
        if isinstance(part, nn.Module):
            part.to(net.device, net.dtype).requires_grad_(False).eval()
    if net.config.get("encoder_hid_dim_type") == "text_proj":
        net.text_encoder_hid_proj = net.encoder_hid_proj
    net.set_attn_processor(dict(converted.processors))
    setattr(net, projection, converted.projection)
    net.config.encoder_hid_dim_type = "ip_image_proj"


def styled_network(styles: Sequence[IPAdapterStyle]) -> Any:
    """Return the network in which several adapters act with their scales."""
    networks, key = styles[0].kept, ("network", *styles)
    if key not in networks:
        networks[key] = _combined([style.loaded for style in styles], [style.scale for style in styles])
    return networks[key]


def _combined(adapters: Sequence[LoadedIPAdapter], scales: list[float]) -> Any:
    first, *others = (share(adapter.net) for adapter in adapters)
    for name, processor in first.attn_processors.items():
        if not hasattr(processor, "to_k_ip"):
            continue
        for other in others:
            added = other.attn_processors[name]
            processor.to_k_ip.extend(added.to_k_ip)
            processor.to_v_ip.extend(added.to_v_ip)
        processor.scale = scales if isinstance(processor.scale, list) else scales[0]
    for other in others:
        first.encoder_hid_proj.image_projection_layers.extend(other.encoder_hid_proj.image_projection_layers)
    return first
