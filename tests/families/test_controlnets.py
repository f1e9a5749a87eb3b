"""ControlNets of pipelines that the backend of last resort calls: agreement, intervals, threads, refusals."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import editkit
from editkit import EditkitError, InvalidParameter, MissingCapability, WeightsUnavailable
from editkit.images.tensors import to_tensor
from editkit.testing.suite import assert_agree, random_latents, sample_image
from families.parts import shake
from families.tables import FAMILIES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning"),
]

SIZE = (64, 64)
HINT = to_tensor(sample_image(SIZE))
PROMPT, STEPS, SCALE = "a red apple", 4, 0.7


def qwen_image(config: Mapping[str, Any]) -> Any:
    shared = ("in_channels", "attention_head_dim", "num_attention_heads", "joint_attention_dim", "axes_dims_rope")
    return diffusers.QwenImageControlNetModel(num_layers=1, **{name: config[name] for name in shared})


def z_image(config: Mapping[str, Any], channels: int = 16, refiner: str | None = None) -> Any:
    shared = ("dim", "n_heads", "n_kv_heads", "n_refiner_layers", "all_patch_size", "all_f_patch_size")
    return diffusers.ZImageControlNetModel(
        control_layers_places=[0, 1],
        control_refiner_layers_places=[0] if refiner else None,
        control_in_dim=channels,
        add_control_noise_refiner=refiner,
        **{name: config[name] for name in shared},
    )


def sana(config: Mapping[str, Any]) -> Any:
    taken = {name: one for name, one in config.items() if name in SANA}
    return diffusers.SanaControlNetModel(**taken | {"num_layers": 1})


SANA = (
    *("in_channels", "out_channels", "num_attention_heads", "attention_head_dim", "num_cross_attention_heads"),
    *("cross_attention_head_dim", "cross_attention_dim", "caption_channels", "sample_size", "patch_size"),
)


def hunyuan_dit(config: Mapping[str, Any]) -> Any:
    names = (
        *("in_channels", "patch_size", "attention_head_dim", "num_attention_heads", "hidden_size", "sample_size"),
        *("cross_attention_dim", "cross_attention_dim_t5", "pooled_projection_dim", "text_len", "text_len_t5"),
        *("activation_fn", "mlp_ratio", "use_style_cond_and_image_meta_size"),
    )
    sizes = {name: config[name] for name in names}
    return diffusers.HunyuanDiT2DControlNetModel(transformer_num_layers=config["num_layers"], **sizes)


NETS: dict[str, tuple[str, str, Callable[[Mapping[str, Any]], Any]]] = {
    "qwen-image": ("qwen-image", "QwenImageControlNetPipeline", qwen_image),
    "z-image": ("z-image", "ZImageControlNetPipeline", z_image),
    "z-image 2.0": ("z-image", "ZImageControlNetPipeline", lambda config: z_image(config, 33, "control_layers")),
    "z-image 2.1": ("z-image", "ZImageControlNetPipeline", lambda config: z_image(config, 33, "control_noise_refiner")),
    "sana": ("sana", "SanaControlNetPipeline", sana),
    "hunyuan-dit": ("hunyuan-dit", "HunyuanDiTControlNetPipeline", hunyuan_dit),
}
ONE = ("qwen-image", "z-image")
"""Kinds that stand for the others where the code is the same."""


class Pair:
    """A model, and the folder of a ControlNet for it."""

    def __init__(self, folder: Path, net: Path, kind: str) -> None:
        self.folder, self.net, self.kind = folder, net, kind
        self.model: Any = editkit.load_model(folder, device="cpu")

    def attached(self, net: Path | None = None, **options: Any) -> Any:
        options = {"scale": SCALE, "low": 0.0, "high": 1.0, **options}
        return self.model.with_controlnet(net or self.net, HINT, **options)

    @torch.no_grad()
    def estimate(self, rows: int = 1, at: int = 10) -> Tensor:
        x = random_latents(rows, shape=self.model.latent_shape(*SIZE)).float()
        path = editkit.make_path(self.model.schedule.for_shape(x.shape[1:]), 20, self.model.grid)
        result: Tensor = self.model.denoise(x, path[at], self.model.embed([PROMPT] * rows))
        return result


DEEP = {"sana": {"num_layers": 3}, "hunyuan-dit": {"num_layers": 6}}
"""Layers of networks whose ControlNets steer none of the first or the last ones."""


def write(family: str, folder: Path) -> Path:
    """Write the tiny model of a family."""
    pipeline = FAMILIES[family].pipeline()
    network = pipeline.transformer
    if family in DEEP:
        config = {name: DEEP[family].get(name, one) for name, one in network.config.items()}
        pipeline.transformer = shake(type(network).from_config(config))
    reader = pipeline.text_encoder.config
    for config in (reader, getattr(reader, "text_config", reader)):
        if hasattr(config, "max_window_layers"):
            config.max_window_layers = config.num_hidden_layers
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pair_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    pairs: dict[str, Pair] = {}

    def pair(kind: str) -> Pair:
        if kind not in pairs:
            family, _, build = NETS[kind]
            root = tmp_path_factory.mktemp("controlnets")
            folder, net = write(family, root / "model"), root / "net"
            config = json.loads((folder / "transformer" / "config.json").read_text())
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(1)
                shake(build(config), by=0.3).save_pretrained(net)
            pairs[kind] = Pair(folder, net, kind)
        return pairs[kind]

    return pair


GUIDED = ("z-image", "sana", "hunyuan-dit")
"""Kinds whose ControlNet diffusers evaluates under the negative prompt too."""


@pytest.mark.parametrize(("kind", "guided"), [*((kind, False) for kind in NETS), *((kind, True) for kind in GUIDED)])
def test_four_steps_agree_with_the_pipeline_of_diffusers(
    kind: str, guided: bool, pair_of: Callable[[str], Pair]
) -> None:
    pair, (family, name, _) = pair_of(kind), NETS[kind]
    negative = {"negative_prompt": "grey"} if guided else {}
    arguments = FAMILIES[family].arguments(guided=guided) | {"prompt": PROMPT} | negative
    drawing: dict[str, Any] = {"prompt": PROMPT, "steps": STEPS, "seed": 7, "width": SIZE[0], "height": SIZE[1]}
    drawing["guidance"] = arguments["guidance_scale"] + (family == "z-image") if "guidance_scale" in arguments else 1.0
    drawing |= negative
    with pair.attached():
        latents = editkit.apply("generate", model=pair.model, **drawing).latents
    layout = pair.model.call.layout(SIZE)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(7))
    net = getattr(diffusers, json.loads((pair.net / "config.json").read_text())["_class_name"])
    pipeline: Any = getattr(diffusers, name).from_pretrained(pair.folder, controlnet=net.from_pretrained(pair.net))
    pipeline = FAMILIES[family].fit(pipeline)
    without_variance(pipeline.vae)
    own = pipeline(
        control_image=HINT * 2 - 1,
        controlnet_conditioning_scale=SCALE,
        latents=layout.pack(noise),
        num_inference_steps=STEPS,
        output_type="latent",
        **arguments,
    ).images
    assert_agree(latents, layout.unpack(own))
    plain = editkit.apply("generate", model=pair.model, **drawing).latents
    assert float((latents - plain).abs().max()) > 1e-3


def without_variance(autoencoder: Any) -> None:
    """Make an autoencoder's distributions give their mean as samples."""
    encode = autoencoder.encode

    def encode_mean(*args: Any, **kwargs: Any) -> Any:
        encoded = encode(*args, **kwargs)
        if hasattr(encoded, "latent_dist"):
            encoded.latent_dist.sample = lambda *_, **__: encoded.latent_dist.mode()
        return encoded

    autoencoder.encode = encode_mean


@pytest.mark.parametrize("kind", ONE)
def test_a_controlnet_has_no_effect_afterwards_outside_its_interval_or_at_scale_0(
    kind: str, pair_of: Callable[[str], Pair]
) -> None:
    pair = pair_of(kind)
    plain = pair.estimate()
    with pair.attached():
        assert not torch.equal(pair.estimate(), plain)
    assert torch.equal(pair.estimate(), plain)
    with pytest.raises(ZeroDivisionError), pair.attached():
        raise ZeroDivisionError
    assert pair.model.controlnets == []
    for idle in ({"high": 0.01}, {"low": 0.99}, {"scale": 0.0}):
        with pair.attached(**idle):
            assert torch.equal(pair.estimate(), plain)


@pytest.mark.parametrize("kind", ONE)
@torch.no_grad()
def test_rows_of_a_batch_do_not_mix(kind: str, pair_of: Callable[[str], Pair]) -> None:
    pair = pair_of(kind)
    model, x = pair.model, random_latents(2, shape=pair.model.latent_shape(*SIZE)).float()
    path = editkit.make_path(model.schedule.for_shape(x.shape[1:]), 20, model.grid)
    points, prompts = (path[2], path[15]), (PROMPT, "a pear")
    with pair.attached(low=path[5].sigma):
        both = model.denoise(x, editkit.PointBatch(points), model.embed(prompts))
        first = model.denoise(x[:1], points[0], model.embed(prompts[:1]))
    assert torch.equal(both[:1], first)
    assert torch.equal(both[1:], model.denoise(x[1:], points[1], model.embed(prompts[1:])))
    with pair.attached():
        pair_of_rows = model.denoise(x, points[0], model.embed([PROMPT] * 2))
        alone = model.denoise(x[1:], points[0], model.embed([PROMPT]))
    assert_agree(pair_of_rows[1:], alone, 1e-4)  # sums of a larger batch are taken in another order


@pytest.mark.parametrize("kind", ONE)
def test_a_controlnet_steers_the_thread_that_attached_it(kind: str, pair_of: Callable[[str], Pair]) -> None:
    pair, barrier = pair_of(kind), threading.Barrier(3)

    def edit(scale: float, wait: Callable[[], Any] = lambda: None) -> Tensor:
        with pair.attached(scale=scale):
            wait()
            result = pair.estimate()
            wait()
            return result

    scales = (0.0, 0.5, 2.0)
    expected = [edit(scale) for scale in scales]
    with ThreadPoolExecutor(3) as threads:
        results = list(threads.map(lambda scale: edit(scale, lambda: barrier.wait(60)), scales))
    assert all(torch.equal(one, other) for one, other in zip(results, expected, strict=True))
    assert not torch.equal(expected[1], expected[2])


@pytest.mark.parametrize("kind", ONE)
def test_the_map_is_encoded_once_for_an_edit(kind: str, pair_of: Callable[[str], Pair]) -> None:
    pair = pair_of(kind)
    drawing = {"prompt": PROMPT, "steps": STEPS, "seed": 7, "width": SIZE[0], "height": SIZE[1]}
    with encoded_images(pair.model) as calls, pair.attached():
        editkit.apply("generate", model=pair.model, **drawing)
    assert len(calls) == 1


@contextlib.contextmanager
def encoded_images(model: Any) -> Iterator[list[int]]:
    """Yield a list with an entry for each call of the autoencoder's encoder."""
    calls: list[int] = []
    hook = model.call.autoencoder.encoder.register_forward_hook(lambda *_: calls.append(1))
    yield calls
    hook.remove()


def test_an_operation_takes_the_controlnet_of_a_pipeline(pair_of: Callable[[str], Pair]) -> None:
    pair, image = pair_of("qwen-image"), sample_image(SIZE)
    params = {"prompt": PROMPT, "steps": 2, "seed": 7, "guidance": 1.0}
    control = {"controlnet": str(pair.net), "control_image": image, "control_scale": SCALE, "resolution": SIZE[0]}
    result = editkit.apply("control", image, model=pair.model, **control, **params)
    assert result.report.warnings == ()
    with pair.attached():
        expected = editkit.apply("generate", model=pair.model, width=SIZE[0], height=SIZE[1], **params)
    assert torch.equal(result.latents, expected.latents)


@pytest.mark.parametrize("option", ["offload", "group_offload"])
def test_a_controlnet_that_shares_parts_is_refused_beside_offloading(
    option: str, pair_of: Callable[[str], Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = pair_of("z-image")
    monkeypatch.setattr(pair.model, "execution", editkit.ExecutionOptions(**{option: True}))
    with pytest.raises(MissingCapability, match=f"{option}=True is not possible with a ControlNet"), pair.attached():
        pass


def test_a_second_controlnet_and_a_mask_are_refused(pair_of: Callable[[str], Pair]) -> None:
    pair = pair_of("qwen-image")
    with (
        pytest.raises(InvalidParameter, match="a second condition map is not allowed"),
        pair.attached(),
        pair.attached(),
    ):
        pass
    mask = torch.ones(1, 1, *SIZE)
    with pytest.raises(InvalidParameter, match="a mask of a condition map is not allowed"), pair.attached(mask=mask):
        pass
    assert pair.model.controlnets == []


@pytest.mark.parametrize("guided", [False, True])
def test_a_network_with_the_map_in_channels_agrees_with_its_pipeline(
    guided: bool, family_folder: Callable[[str], Path]
) -> None:
    family, folder = FAMILIES["cogview4-control"], family_folder("cogview4-control")
    model: Any = editkit.load_model(folder, device="cpu")
    assert {"controlnet", "map-channels"} <= model.provides
    guidance = family.arguments(guided=guided)["guidance_scale"]
    drawing: dict[str, Any] = {"prompt": PROMPT, "steps": STEPS, "seed": 7, "guidance": guidance}
    image = sample_image(SIZE)
    with encoded_images(model) as calls:
        result = editkit.apply("control", image, model=model, control_image=image, resolution=SIZE[0], **drawing)
    assert len(calls) == 2  # of the image and of its map
    assert result.report.warnings == ()
    pipeline: Any = family.fit(diffusers.DiffusionPipeline.from_pretrained(folder))
    without_variance(pipeline.vae)
    layout = model.call.layout(SIZE)
    noise = torch.randn((1, *model.latent_shape(*SIZE)), generator=torch.Generator().manual_seed(7))
    arguments = {"prompt": PROMPT, "guidance_scale": guidance, "width": SIZE[0], "height": SIZE[1]}
    own = pipeline(
        control_image=HINT * 2 - 1,
        latents=layout.pack(noise),
        num_inference_steps=STEPS,
        output_type="latent",
        **arguments,
    ).images
    assert_agree(result.latents, layout.unpack(own))
    with pytest.raises(InvalidParameter, match="needs a condition map for every image"):
        editkit.apply("generate", model=model, width=SIZE[0], height=SIZE[1], **drawing)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "one of another family": (
        "qwen-image",
        {"_class_name": "ZImageControlNetModel"},
        "of Z-Image, and no .* Qwen",
    ),
    "one of FLUX": ("z-image", {"_class_name": "FluxControlNetModel"}, "a ControlNet of FLUX, and no .* Z-Image"),
    "another width": ("qwen-image", {"joint_attention_dim": 3584}, "joint_attention_dim 3584 and the model 16"),
    "a mask beside the map": ("qwen-image", {"extra_condition_channels": 4}, "extra_condition_channels 4, as one for"),
    "a later layer": ("z-image", {"control_layers_places": [0, 2]}, "n_layers 3 and the model 2"),
    "no list of layers": ("z-image", {"control_layers_places": 3}, "control_layers_places 3"),
    "fewer channels": ("z-image", {"control_in_dim": 4}, "control_in_dim 4 and the model 16"),
    "more layers": ("sana", {"num_layers": 4}, "num_layers 4 and the model 3"),
    "other layers": ("hunyuan-dit", {"transformer_num_layers": 4}, "transformer_num_layers 4 and the model 6"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_folder_is_refused_by_its_configuration(reason: str, pair_of: Callable[[str], Pair], tmp_path: Path) -> None:
    kind, config, complaint = REFUSED[reason]
    pair = pair_of(kind)
    original = json.loads((pair.net / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(original | config))
    with pytest.raises(EditkitError, match=complaint) as raised, pair.attached(tmp_path):
        pass
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", NETS)
def test_a_controlnet_without_training_is_refused(kind: str, pair_of: Callable[[str], Pair], tmp_path: Path) -> None:
    pair, build = pair_of(kind), NETS[kind][2]
    build(json.loads((pair.folder / "transformer" / "config.json").read_text())).save_pretrained(tmp_path)
    with pytest.raises(InvalidParameter, match="zeros in all its output layers"), pair.attached(tmp_path):
        pass


@pytest.mark.parametrize("kind", ["qwen-image", "z-image", "z-image 2.0", "z-image 2.1"])
def test_a_file_is_loaded_without_its_configuration(kind: str, pair_of: Callable[[str], Pair], tmp_path: Path) -> None:
    pair = pair_of(kind)
    tensors = load_file(next(pair.net.glob("*.safetensors")))
    if kind.endswith("2.0"):  # its files hold a refiner that is not used
        refiner = z_image(pair.model.net.config, 33, "control_noise_refiner").state_dict()
        tensors |= {name: one for name, one in refiner.items() if name.startswith("control_noise_refiner.")}
    save_file(tensors, tmp_path / "net.safetensors")
    with pair.attached():
        expected = pair.estimate()
    with pair.attached(tmp_path / "net.safetensors"):
        assert_agree(pair.estimate(), expected, 1e-5)  # weights at other addresses are added in another order
    del tensors[next(name for name in tensors if name.startswith(("transformer_blocks.0.", "control_layers.1.")))]
    save_file(tensors, tmp_path / "less.safetensors")
    with pytest.raises(WeightsUnavailable, match="1 missing weights"), pair.attached(tmp_path / "less.safetensors"):
        pass
