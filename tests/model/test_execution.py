"""Laws of execution options: they change time and memory, and not the result."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import inspect
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from diffusers.models.attention_dispatch import AttentionBackendName
from editkit_diffusers.attention.backends import select_attention
from editkit_diffusers.offload import offload_sequentially
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import editkit
from editkit import BackendSpec, ExecutionOptions, InvalidParameter, LoadingOptions, MissingCapability, make_path
from editkit.cli import main
from editkit.literals import AttentionBackend
from editkit.model.capabilities import execution_of
from editkit.model.execution import in_use
from editkit.model.finding import check_execution
from editkit.model.loading import cached_model
from editkit.testing import ToyBackend, stable_diffusion_folder
from editkit.testing.suite import assert_agree, random_latents, sample_image
from editkit.testing.tiny import (
    chroma_folder,
    dit_folder,
    flux_folder,
    pixart_folder,
    pixel_ddpm_folder,
    stable_diffusion_3_folder,
)

SOURCE = sample_image((20, 14))
WORDS = {"source": "a red apple", "target": "a green apple", "steps": 2, "seed": 3, "guidance": 2.0}
FIELDS = [field.name for field in dc.fields(ExecutionOptions)]
VALUES: dict[str, Any] = {field.name: field.metadata.get("choices", [True])[0] for field in dc.fields(ExecutionOptions)}
"""A value of each option that is not its default."""


def with_option(name: str) -> dict[str, Any]:
    """Return an option with what it needs beside it."""
    return {**({"compile": True} if name.startswith("compile_") else {}), name: VALUES[name]}


# Options and arguments


def test_every_way_is_an_option_and_an_argument_by_one_name() -> None:
    for function in (editkit.load_model, editkit.apply):
        parameters = inspect.signature(function).parameters
        assert all(parameters[name].default is (False if VALUES[name] is True else None) for name in FIELDS)
    for command in ("img2img", "generate", "run"):
        text = CliRunner().invoke(main, [command, "--help"]).stdout
        assert all(f"--{name.replace('_', '-')}" in text for name in FIELDS)


def test_execution_options_are_part_of_the_shared_model_key(tiny_folder: Path) -> None:
    plain = cached_model(str(tiny_folder))
    tiled = cached_model(str(tiny_folder), (), LoadingOptions(), None, None, ExecutionOptions(tiling=True))
    assert plain is not tiled and plain is cached_model(str(tiny_folder))
    assert execution_of(plain) == ExecutionOptions() == execution_of(ToyBackend()) and execution_of(
        tiled
    ).requested == {"tiling": True}
    assert plain.identity == tiled.identity


def test_execution_options_are_not_part_of_the_recipe(tiny_folder: Path, tmp_path: Path) -> None:
    how = {"model": str(tiny_folder), "prompt": "a red apple", "steps": 1, "seed": 1}
    plain, tiled = (editkit.apply("img2img", SOURCE, tiling=tiling, **how) for tiling in (False, True))
    assert plain.recipe == tiled.recipe
    assert (
        editkit.replay(tiled.save(tmp_path / "x.png", recipe="full"), model=str(tiny_folder)).image.tobytes()
        == plain.image.tobytes()
    )


def test_an_inversion_is_kept_for_the_way_it_was_made(tiny_folder: Path) -> None:
    calls = [
        editkit.apply("prompt-edit", SOURCE, model=str(tiny_folder), tiling=tiling, **WORDS).report.network_calls
        for tiling in (False, False, True, True)
    ]
    assert calls == [4, 2, 4, 2]


# Refused combinations, before weights are read


@pytest.mark.parametrize("call", [editkit.load_model, lambda name, **how: editkit.apply("generate", model=name, **how)])
@pytest.mark.parametrize("name", ["offload", "group_offload"])
def test_offloading_on_the_cpu_is_refused(name: str, call: Callable[..., Any]) -> None:
    with pytest.raises(InvalidParameter, match=f"{name}=True is not allowed on the device cpu"):
        call("no/such model", device="cpu", **{name: True})


def test_one_way_of_offloading_excludes_the_other() -> None:
    with pytest.raises(InvalidParameter, match="group_offload=True is not allowed beside offload=True"):
        ExecutionOptions(offload=True, group_offload=True).check(torch.device("meta"))


@pytest.mark.parametrize("name", FIELDS)
def test_execution_options_of_a_loaded_model_are_refused(name: str) -> None:
    first = next(iter(ExecutionOptions(**with_option(name)).requested))
    with pytest.raises(InvalidParameter, match=f"{first}={VALUES[first]!r} goes with a model's name"):
        editkit.apply("generate", model=ToyBackend(), **with_option(name))


@pytest.mark.parametrize("name", FIELDS)
def test_a_family_without_execution_options_is_refused_by_name(name: str) -> None:
    family = BackendSpec(name="strange", summary="A family.", load=lambda: None)  # type: ignore[arg-type,return-value]
    family = dc.replace(family, execution_options=frozenset(with_option(name)) - {name})
    text = rf"{name}={VALUES[name]!r} needs .* the model 'x' of the family strange offers (none|compile)"
    with pytest.raises(MissingCapability, match=text):
        check_execution(family, "x", ExecutionOptions(**with_option(name)))


def test_names_of_attention_are_those_of_diffusers_that_load_no_code_from_the_hub() -> None:
    known = {one.value for one in AttentionBackendName}
    others = known - set(get_args(AttentionBackend))
    assert set(get_args(AttentionBackend)) < known
    assert {name for name in others if not name.endswith("_hub")} == {"_native_npu", "_native_xla"}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown attention": ({"attention": "flash_hub"}, r"attention='flash_hub' is not allowed: one of native, _native_"),
    "attention of GPUs": ({"attention": "sage"}, "attention='sage' is not allowed on the device cpu, which has native"),
    "unknown mode": ({"compile": True, "compile_mode": "fast"}, "compile_mode='fast' is not allowed: one of default, "),
    "mode alone": ({"compile_mode": "default"}, "compile_mode='default' has no use without compile=True"),
    "decoder alone": ({"compile_decoder": True}, "compile_decoder=True has no use without compile=True"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_values_of_no_use_are_refused_before_weights_are_read(case: str) -> None:
    options, text = REFUSED[case]
    with pytest.raises(InvalidParameter, match=f"^{text}"):
        editkit.load_model("no/such model", device="cpu", **options)


def test_a_model_of_pixels_has_no_autoencoder_to_tile(tmp_path: Path) -> None:
    with pytest.raises(MissingCapability, match=r"tiling=True needs .* of the family pixel-ddpm offers compile"):
        editkit.load_model(pixel_ddpm_folder(tmp_path), tiling=True)


@pytest.mark.slow
def test_compiling_without_a_compiler_is_refused_before_weights_are_read(tiny_folder: Path, tmp_path: Path) -> None:
    code = f"import editkit; editkit.load_model({str(tiny_folder)!r}, device='cpu', compile=True)"
    environment = {"PATH": "/nowhere", "CXX": "no-such-compiler", "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "InvalidParameter: compile=True cannot be used here for the device cpu (" in ran.stderr.splitlines()[-1]


# Effects


@pytest.mark.slow
def test_a_compiled_network_agrees_with_the_eager_network(tmp_path: Path) -> None:
    """Of the smallest family, since compiling takes most of a minute."""
    eager = editkit.load_model(dit_folder(tmp_path), device="cpu")
    try:
        compiled = editkit.load_model(tmp_path, device="cpu", compile=True)
    except InvalidParameter as error:
        pytest.skip(str(error))
    x, point = random_latents(1, shape=eager.latent_shape(16, 16)).float(), make_path(eager.schedule, 4, eager.grid)[1]
    with torch.no_grad():
        actual, expected = (model.denoise(x, point, eager.embed(["1"])) for model in (compiled, eager))
    assert_agree(actual, expected, 1e-4)


@pytest.mark.slow
def test_the_mode_and_the_decoder_reach_the_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With torch's tracer alone, since its code generator takes minutes."""
    compile_by, modes = torch.compile, []

    def trace(function: Any, *, mode: str) -> Any:
        modes.append(mode)
        return compile_by(function, backend="eager")

    model: Any = editkit.load_model(dit_folder(tmp_path), device="cpu")
    x, point = random_latents(1, shape=model.latent_shape(16, 16)).float(), make_path(model.schedule, 4, model.grid)[1]

    def results() -> list[Tensor]:
        with torch.no_grad():
            return [model.denoise(x, point, model.embed(["1"])), model.decode(x)]

    expected = results()
    monkeypatch.setattr(torch, "compile", trace)
    execution = ExecutionOptions(compile=True, compile_mode="reduce-overhead", compile_decoder=True)
    model.set_execution(execution, torch.device("cpu"))
    traced = [part for part in model.autoencoder.net.modules() if part._compiled_call_impl is not None]
    assert modes == ["reduce-overhead"] * 2 and traced == [model.autoencoder.net.decoder]
    for actual, plain in zip(results(), expected, strict=True):
        assert_agree(actual, plain, 1e-6)


DISPATCHED = {"flux": (flux_folder, True), "sd": (stable_diffusion_folder, False)}
"""Folders of networks, and whether diffusers dispatches their attention."""


@pytest.mark.parametrize("kind", DISPATCHED)
def test_a_backend_of_attention_changes_rounding_alone_and_its_own_network(kind: str, tmp_path: Path) -> None:
    make, dispatched = DISPATCHED[kind]
    plain, native, own = (
        editkit.load_model(make(tmp_path), device="cpu", attention=name) for name in (None, "native", "_native_math")
    )
    used: list[bool] = []

    def calls(model: Any) -> Tensor:
        x, condition = random_latents(1, shape=model.latent_shape(32, 32)).float(), model.embed(["a red apple"])
        with torch.no_grad(), record_kernels(used):
            return model.denoise(x, model.schedule.point(500.0), condition)  # type: ignore[no-any-return]

    expected = calls(plain)
    assert all(used) and torch.equal(calls(native), expected) and all(used)
    used.clear()
    assert_agree(calls(own), expected, 1e-5)
    assert used and not any(used), "another kernel than the one that computes by products was allowed"
    used.clear()
    assert torch.equal(calls(plain), expected) and all(used), "the choice reached another network"
    error, text = (InvalidParameter, "cannot be used here") if dispatched else (MissingCapability, "needs a network")
    with pytest.raises(error, match=f"^attention='sage' {text}"):
        select_attention(own.net, "sage", torch.device("cpu"))  # type: ignore[attr-defined]


def test_an_attention_that_a_backend_does_not_compute_is_refused_by_name(tmp_path: Path) -> None:
    """Chroma masks words, which the kernel takes only without a mask."""
    model = editkit.load_model(chroma_folder(tmp_path), device="cpu", attention="_native_flash")
    with pytest.raises(MissingCapability, match=r"attention='_native_flash' does not compute that of Chroma.*mask"):
        editkit.apply("img2img", SOURCE, model=model, prompt="a red apple", steps=1)


@contextlib.contextmanager
def record_kernels(used: list[bool]) -> Iterator[None]:
    """Record at each attention whether another kernel than that of products is enabled."""

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is F.scaled_dot_product_attention:
                used.append(torch.backends.cuda.flash_sdp_enabled())
            return func(*args, **(kwargs or {}))

    with Mode():
        yield


def test_controls_act_on_attention_by_kernels_of_torch_alone(tmp_path: Path) -> None:
    model: Any = editkit.load_model(flux_folder(tmp_path), device="cpu", attention="_native_math")
    call = {**WORDS, "model": model, "attach": ("prompt-to-prompt",), "cache": False}
    assert editkit.apply("prompt-edit", SOURCE, **call).report.warnings == ()
    model.execution = ExecutionOptions(attention="sage")
    with pytest.raises(MissingCapability, match=r"attention='sage' is computed where no control can act on it: load"):
        editkit.apply("prompt-edit", SOURCE, **call)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["offload", "group_offload"])
@pytest.mark.parametrize(
    "make",
    [stable_diffusion_folder, stable_diffusion_3_folder, pixart_folder, flux_folder, dit_folder, chroma_folder],
    ids=lambda make: make.__name__,
)
def test_offloaded_weights_give_the_same_results(make: Callable[[Path], Path], option: str, tmp_path: Path) -> None:
    """On the CPU, where to be sent to the device changes nothing but who is there."""
    eager, offloaded = (editkit.load_model(make(tmp_path)) for _ in range(2))
    offloaded.set_execution(ExecutionOptions(**{option: True}), torch.device("cpu"))  # type: ignore[attr-defined]
    prompt = "1" if make is dit_folder else "a red apple"
    expected, actual = (
        editkit.apply("img2img", SOURCE, model=model, prompt=prompt, steps=2, seed=1, resolution=64)
        for model in (eager, offloaded)
    )
    assert torch.equal(expected.latents, actual.latents) and expected.image.tobytes() == actual.image.tobytes()


class Part(nn.Module):
    """A part that records its device; when it is called, the others must be elsewhere."""

    def __init__(self, others: list[Part]) -> None:
        super().__init__()
        self.others, self.on_device, self.moves = others, False, 0

    def to(self, device: torch.device) -> Part:  # type: ignore[override]
        self.on_device, self.moves = device.type != "cpu", self.moves + 1
        return self

    def forward(self, x: Tensor, *, more: dict[str, Tensor]) -> Tensor:
        assert self.on_device and not any(other.on_device for other in self.others if other is not self)
        assert x.device.type == more["x"].device.type == "meta"
        return x


def test_one_part_at_a_time_is_on_the_device() -> None:
    parts: list[Part] = []
    parts += [Part(parts) for _ in range(3)]
    offload_sequentially(parts, torch.device("meta"))
    x = torch.ones(2)
    order = [0, 1, 2, 2, 2, 0, 2, 1]
    for number in order:
        parts[number](x, more={"x": x})
    changes = sum(one != other for one, other in itertools.pairwise(order))
    assert sum(part.moves for part in parts) == 1 + 2 * changes, "a part was moved that had no need to"


def test_weights_return_to_main_memory_without_a_copy() -> None:
    """The device holds no values: those of the weights are what main memory has kept."""
    one, other = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, affine=False, track_running_stats=False)), nn.Tanh()
    weight, values = one[0].weight, one[0].weight.detach().clone()
    place = weight.data_ptr()
    offload = offload_sequentially([one, other], torch.device("meta"))
    assert one(torch.ones(2, 2)).is_meta and one[0].weight.is_meta
    other(torch.ones(2))
    assert one[0].weight is weight and weight.data_ptr() == place and torch.equal(weight, values)
    one(torch.ones(2, 2))
    offload.release()
    assert offload.on_device is None and torch.equal(one[0].weight, values)


class Counted(ToyBackend):
    """A model that counts how often it frees its device."""

    freed = 0

    def free_device(self) -> None:
        self.freed += 1


def test_a_device_is_freed_when_the_last_edit_ends() -> None:
    model = Counted()
    editkit.apply("img2img", SOURCE, model=model, steps=1, seed=1)
    assert model.freed == 1
    with in_use(model):
        editkit.apply("img2img", SOURCE, model=model, steps=1, seed=1)
        assert model.freed == 1, "another edit uses it"
    assert model.freed == 2
    with pytest.raises(InvalidParameter):
        editkit.apply("img2img", SOURCE, model=model, strength=2.0)
    assert model.freed == 2, "the model was not used"


def test_an_edit_leaves_no_part_on_the_device(tiny_folder: Path) -> None:
    model: Any = editkit.load_model(tiny_folder)
    model.set_execution(ExecutionOptions(offload=True), torch.device("cpu"))
    with in_use(model):
        editkit.apply("img2img", SOURCE, model=model, steps=1, seed=1)
        assert model.offload.on_device is model.autoencoder.net
    assert model.offload.on_device is None


def test_tiling_needs_an_autoencoder_that_works_in_tiles(tmp_path: Path) -> None:
    model: Any = editkit.load_model(chroma_folder(tmp_path))
    del model.call.autoencoder.use_tiling
    with pytest.raises(MissingCapability, match=r"tiling=True needs an autoencoder .* has an AutoencoderKL"):
        model.set_execution(ExecutionOptions(tiling=True), torch.device("cpu"))


def test_only_large_images_are_tiled(tiny_folder: Path) -> None:
    plain, tiled = (editkit.load_model(tiny_folder, tiling=tiling).autoencoder for tiling in (False, True))  # type: ignore[attr-defined]
    small, large = (torch.rand(2, 3, *size) for size in ((64, 48), (16, 640)))
    with torch.no_grad():
        assert torch.allclose(tiled.encode(small), plain.encode(small), atol=1e-6)
        encoded = plain.encode(large)
        assert tiled.encode(large).shape == encoded.shape
        trip, tiled_trip = plain.decode(encoded), tiled.decode(encoded)
        assert tiled_trip.shape == large.shape
        assert not torch.equal(trip, tiled_trip)
        assert (trip - tiled_trip).square().mean().sqrt() < 0.1 * trip.std(), "tiles differ by more than at their seams"
