"""Laws of the inversion cache: a cached inversion equals a new one bit for bit, and damaged entries are never used."""

from __future__ import annotations

import dataclasses as dc
import errno
import json
import multiprocessing
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor

import editkit
from editkit import (
    Condition,
    Denoiser,
    DrawingParams,
    InversionRecord,
    Inverter,
    Noise,
    Prediction,
    RectifiedFlow,
    Session,
    invert_latents,
)
from editkit.cli import main
from editkit.editing.primitives import inversion_inputs
from editkit.inversion.cache import InversionCache
from editkit.inversion.cache_key import code_fingerprint, digest, to_cpu
from editkit.registry.registry import installed
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image, toy_session
from editkit.testing.tiny import stable_diffusion_folder

SOURCE = sample_image((20, 14))
WORDS = {"source": "a red apple", "target": "a green apple", "steps": 4, "seed": 3}
EDITS: dict[str, dict[str, Any]] = {
    "prompt-edit": WORDS,
    "instruct": {
        "instruction": "make it green",
        "source": "a red apple",
        "auto_mask": "difference",
        "steps": 4,
        "seed": 3,
    },
    "interpolate": {"steps": 4, "seed": 3, "frames": 3},
}
"""Every operation that inverts, and draws."""


class Noisy(Inverter):
    """An inverter that draws new noise for every latent and remembers the last noise."""

    def __init__(self, times: float = 1.0) -> None:
        self.times = times

    def invert(
        self, denoise: Denoiser, x0: Tensor, path: editkit.SamplingPath, noise: Noise | None = None
    ) -> Iterator[Tensor]:
        assert noise is not None
        for point in path[1:]:
            yield point.alpha * denoise(x0, point) + self.times * point.sigma * noise()


class Fitted(Noisy):
    """An inverter that records the guided estimate at the noisy end, and some noise."""

    def compute_extras(self, session: Session, climb: InversionRecord, condition: Condition) -> Mapping[str, Tensor]:
        guided = session.guided(condition, climb.trajectory.shape[1], climb.path)
        return {"said": guided(climb.trajectory[0], climb.path[0]).mT, "noise": session.noise()}


class Guided(Noisy):
    """An inverter that inverts with guidance."""

    guided = True


class Free(Noisy):
    """An inverter that calls no network."""

    def invert(
        self, denoise: Denoiser, x0: Tensor, path: editkit.SamplingPath, noise: Noise | None = None
    ) -> Iterator[Tensor]:
        return super().invert(lambda x, point: x, x0, path, noise)


class Holding(Noisy):
    """An inverter with an attribute that is no plain value."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.ones(3)


class Uses(Noisy):
    """An inverter that runs code of other packages."""

    def __init__(self, one: Callable[..., Any]) -> None:
        super().__init__()
        self.one = one

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def code_dependencies(self) -> tuple[Callable[..., Any]]:
        return (self.one,)


@pytest.fixture
def cache(tmp_path: Path) -> InversionCache:
    return InversionCache(tmp_path / "inversions")


def edited(image: Any = SOURCE, **params: Any) -> editkit.Result:
    result: editkit.Result = editkit.apply("prompt-edit", image, model=ToyBackend(), **WORDS | params)
    return result


def entries() -> list[Path]:
    return sorted(Path(os.environ["EDITKIT_CACHE"], "inversions").glob("*"))


def same(one: editkit.Result, other: editkit.Result) -> bool:
    """Whether two results have the same pixels, and the same latents behind them, bit for bit."""
    assert one.latents is not None and other.latents is not None
    return one.image.tobytes() == other.image.tobytes() and torch.equal(one.latents, other.latents)


# Saved network calls


@pytest.mark.parametrize(("guidance", "rows"), [(1.0, 1), (7.5, 2)])
@pytest.mark.parametrize("kind", ["toy", "tiny"])
def test_the_second_edit_of_an_image_runs_no_inversion(
    kind: str, guidance: float, rows: int, tiny_model: editkit.Backend
) -> None:
    """At default settings but for the size of the image: 25 samples are the inversion's.

    Of its source the replay asks about the noisiest latents alone: all others were seen on the way up.
    """
    model = ToyBackend() if kind == "toy" else tiny_model
    first, second = (
        editkit.apply(
            "prompt-edit", SOURCE, model=model, source="red", target=target, resolution=16, guidance=guidance
        ).report
        for target in ("green", "blue")
    )
    assert (first.network_calls, first.network_samples) == (50, 25 + 26 * rows)
    assert (second.network_calls, second.network_samples) == (25, 26 * rows)
    assert second.network_samples <= 0.7 * first.network_samples
    again = editkit.invert(SOURCE, model=model, prompt="red", steps=25, resolution=16)
    assert again.report is not None and again.report.network_calls == 0
    assert not first.warnings and not second.warnings


def test_a_cached_inversion_in_a_file_is_the_one_that_was_made(tmp_path: Path) -> None:
    created, actual = (editkit.invert(SOURCE, model=ToyBackend(), prompt="red", steps=4) for _ in range(2))
    assert torch.equal(created.trajectory, actual.trajectory)
    loaded = editkit.Inversion.load(actual.save(tmp_path / "x.safetensors"))
    assert torch.equal(loaded.trajectory, created.trajectory)
    assert editkit.reconstruct(loaded, model=ToyBackend()).report.recon_psnr is not None


# A cached inversion equals a new one


@pytest.mark.slow
@pytest.mark.parametrize("operation", EDITS)
@pytest.mark.parametrize("kind", ["toy", "tiny"])
def test_an_edit_is_the_same_with_a_cold_a_warm_and_no_cache(
    kind: str, operation: str, tiny_model: editkit.Backend
) -> None:
    """The sampler draws noise after the inversion has, so that a generator left in another state would show."""
    model = ToyBackend() if kind == "toy" else tiny_model
    source = (SOURCE, sample_image((20, 14), seed=1)) if operation == "interpolate" else SOURCE
    for inverter in editkit.inverters() if kind == "toy" else ("pinned", "ddim-corrected"):
        spec = editkit.inverters()[inverter]
        if model.prediction not in spec.predictions:
            continue
        params = EDITS[operation] | {"inverter": inverter, "resolution": 16, "steps": 3}
        params |= {} if spec.replaces_sampler else {"sampler": "ddpm"}
        none, cold, warm = (
            editkit.apply(operation, source, model=model, cache=cache, **params) for cache in (False, True, True)
        )
        assert same(none, cold) and same(none, warm), inverter
        assert cold.report.network_calls == none.report.network_calls, inverter
        assert (warm.report.network_calls < cold.report.network_calls) == (spec.calls_per_step != "0"), inverter
        assert (warm.report.vae_psnr, warm.report.recon_psnr) == (none.report.vae_psnr, none.report.recon_psnr)


@pytest.mark.parametrize("inverter", [Noisy(), Fitted(), Guided()])
def test_noise_and_extras_of_an_inverter_are_cached(inverter: Inverter, cache: InversionCache) -> None:
    def run(seed: int) -> tuple[InversionRecord, Tensor, int]:
        session = session_with(cache, guidance=3.0)
        session.random.manual_seed(seed)
        climb = invert_latents(session, inverter, session.latents, session.inversion_path(4), session.embed("red"))
        return climb, session.noise(), session.usage.calls

    (created, after, calls), (actual, after_found, none) = run(1), run(1)
    assert calls > none == 0
    assert torch.equal(created.trajectory, actual.trajectory) and created.path == actual.path
    assert created.extras.keys() == actual.extras.keys()
    assert all(torch.equal(created.extras[name], actual.extras[name]) for name in created.extras)
    assert torch.equal(after, after_found), "the generator was left in another state"
    other, _, calls_of_other = run(2)
    assert calls_of_other == calls and not torch.equal(other.trajectory, created.trajectory)
    assert run(1)[2] == run(2)[2] == 0, "one seed's entry replaced another's"


# Keys


class OtherToy(ToyBackend):
    """A model that differs by its class alone, with a configurable prediction type."""

    prediction: Prediction = "sample"  # type: ignore[assignment]


def toy(kind: type[ToyBackend] = ToyBackend, **changed: Any) -> ToyBackend:
    model = kind(native_size=8)
    for name, value in changed.items():
        setattr(model, name, value)
    return model


def session_with(cache: InversionCache | None, model: ToyBackend | None = None, **params: Any) -> Session:
    return dc.replace(toy_session(model or toy(), DrawingParams.parse("toy", params)), cache=cache)


def key(
    inverter: Inverter, change: Callable[[dict[str, Any]], None] = lambda values: None, **params: Any
) -> str | None:
    """The key of an inversion with one input changed."""
    model = params.pop("model", None)
    session = session_with(None, model, **params)
    values = {
        "session": session,
        "inverter": inverter,
        "latents": session.latents,
        "path": session.inversion_path(4),
        "condition": session.embed("red"),
    }
    change(values)
    return inversion_inputs(**values).key()


def nudged(tensor: Tensor) -> Tensor:
    """The nearest other tensor: one number is moved to its neighbour."""
    moved = tensor.clone()
    moved.view(-1)[-1] = torch.nextafter(moved.view(-1)[-1], torch.tensor(2.0, dtype=tensor.dtype))
    return moved


CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "latents": lambda values: values.update(latents=nudged(values["latents"])),
    "precision": lambda values: values.update(latents=values["latents"].float()),
    "pixels": lambda values: values.update(
        session=dc.replace(values["session"], pixels=nudged(values["session"].pixels))
    ),
    "canvas": lambda values: values.update(
        session=dc.replace(values["session"], canvas=dc.replace(values["session"].canvas, size=(9, 8)))
    ),
    "steps": lambda values: values.update(path=values["session"].inversion_path(5)),
    "point": lambda values: values.update(
        path=(*values["path"][:-1], values["path"][-1]._replace(sigma=values["path"][-1].sigma * (1 + 2**-52)))
    ),
    "prompt": lambda values: values.update(condition=values["session"].embed("blue")),
    "condition": lambda values: values.update(condition={"text": nudged(values["condition"]["text"])}),
    "name of a condition": lambda values: values.update(condition={"words": values["condition"]["text"]}),
    "inverter": lambda values: values.update(inverter=Fitted()),
    "option": lambda values: values.update(inverter=Noisy(1.0 + 2**-52)),
}
MODELS = {
    "identity": toy(identity="another"),
    "class": toy(OtherToy),
    "prediction": toy(OtherToy, prediction="epsilon"),
    "schedule": toy(schedule=RectifiedFlow()),
    "dtype": toy(dtype=torch.float32),
}


def test_every_input_of_an_inversion_changes_the_key() -> None:
    base = key(Noisy())
    assert base == key(Noisy()) is not None
    keys = {name: key(Noisy(), change) for name, change in CHANGES.items()}
    keys |= {name: key(Noisy(), model=model) for name, model in MODELS.items()}
    assert None not in keys.values()
    assert len({base, *keys.values()}) == 1 + len(keys), keys


def test_the_key_depends_on_the_code_that_an_inverter_uses() -> None:
    assert key(Uses(Noisy)) is not None, "code of its own package adds nothing"
    assert key(Uses(Path)) not in (key(Uses(Noisy)), None), "code of another package counts"
    assert key(Uses(lambda: None)) is None, "what cannot be told is not kept"
    for inverter in installed().specs["inverters"]:
        used = installed().build("inverters", inverter).code_dependencies()
        assert (code_fingerprint(*used) or {}).keys() >= ({"editkit_samplers"} if inverter == "dpmpp" else set()), (
            inverter
        )


def test_the_way_this_machine_rounds_changes_the_key() -> None:
    base, threads = key(Noisy()), torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert key(Noisy()) != base
    finally:
        torch.set_num_threads(threads)
    with torch.backends.cudnn.flags(allow_tf32=not torch.backends.cudnn.allow_tf32):
        assert key(Noisy()) != base
    assert key(Noisy()) == base


@pytest.mark.parametrize("inverter", [Fitted(), Guided()])
def test_the_drawing_s_parameters_count_where_an_inverter_is_guided_by_them(inverter: Inverter) -> None:
    drawings = [
        {"guidance": 2.0},
        {"guidance_rescale": 0.5},
        {"guidance_start": 0.5},
        {"guidance_end": 0.5},
        {"negative_prompt": "blue"},
        {"sampler": "heun"},
    ]
    assert {key(Noisy(), **drawing) for drawing in drawings} == {key(Noisy())}
    assert len({key(inverter), *(key(inverter, **drawing) for drawing in drawings)}) == 1 + len(drawings)
    assert key(inverter, seed=5) == key(inverter, seed=6), "the generator itself says what is drawn"
    assert key(inverter, attach=("some",)) is None


def test_an_inverter_that_cannot_be_hashed_is_not_cached(cache: InversionCache) -> None:
    class Local(Noisy):
        pass

    for inverter in (Holding(), Local()):
        assert key(inverter) is None
        session = session_with(cache)
        invert_latents(session, inverter, session.latents, session.inversion_path(2), session.embed("red"))
        assert session.usage.calls == 2 and not session.usage.warnings
    assert not cache.folder.exists()


def test_an_inversion_without_network_calls_is_not_cached(cache: InversionCache) -> None:
    session = session_with(cache)
    invert_latents(session, Free(), session.latents, session.inversion_path(2), session.embed("red"))
    assert not cache.folder.exists()


@pytest.mark.slow
def test_a_key_is_the_same_in_every_process() -> None:
    edited()
    code = (
        "import editkit; from editkit.testing.suite import sample_image; "
        "print(editkit.apply('prompt-edit', sample_image((20, 14)), model=editkit.testing.ToyBackend(), "
        "source='a red apple', target='a blue apple', steps=4).report.network_calls)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["4"]


MISSES: dict[str, dict[str, Any]] = {
    "steps": {"steps": 5},
    "spacing": {"spacing": "linspace"},
    "source": {"source": "a red pear"},
    "resolution": {"resolution": 20},
    "inverter": {"inverter": "ddim"},
}
HITS: dict[str, dict[str, Any]] = {
    "target": {"target": "a blue pear"},
    "seed": {"seed": 4},
    "guidance": {"guidance": 7.5},
    "negative prompt": {"negative_prompt": "grey", "guidance": 2.0},
    "sampler": {"sampler": "dpmpp-2m"},
    "mask": {"mask": Image.new("L", SOURCE.size, 128)},
}


def test_only_an_input_of_the_inversion_causes_a_new_one() -> None:
    edited()
    for params in HITS.values():
        assert edited(**params).report.network_calls == 4, params
    for params in MISSES.values():
        steps = params.get("steps", 4)
        assert edited(**params).report.network_calls == 2 * steps, params
    other = SOURCE.copy()
    other.putpixel((19, 13), tuple(level ^ 1 for level in SOURCE.getpixel((19, 13))))
    for image in (other, SOURCE.crop((0, 0, 19, 14)), SOURCE.transpose(Image.Transpose.FLIP_LEFT_RIGHT)):
        assert edited(image).report.network_calls == 8
    edited(inverter="fixed-point:iterations=1,tolerance=1e-300")
    more = edited(inverter="fixed-point:iterations=2,tolerance=1e-300").report.network_calls
    assert more == edited(inverter="fixed-point:iterations=2,tolerance=1e-300", cache=False).report.network_calls
    assert len(entries()) == 1 + len(MISSES) + 3 + 2


# Damage


def an_entry(cache: InversionCache, **tensors: Tensor) -> tuple[str, dict[str, Tensor]]:
    held = {"trajectory": torch.randn(3, 1, 1, 2, 2), "kept.x": torch.ones(2, dtype=torch.bfloat16), **tensors}
    name = digest({"key": "some"}, held)
    cache.write(name, held)
    return name, held


def test_an_entry_with_any_bit_flipped_or_any_end_cut_off_is_none(cache: InversionCache) -> None:
    name, held = an_entry(cache)
    file = cache.file(name)
    good = file.read_bytes()
    actual = cache.read(name)
    assert actual is not None and digest({}, actual) == digest({}, held)
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << place % 8
        file.write_bytes(bad)
        assert cache.read(name) is None, (place, good[place : place + 1])
    for length in range(len(good)):
        file.write_bytes(good[:length])
        assert cache.read(name) is None, length
    file.write_bytes(good + b"\0")
    assert cache.read(name) is None
    file.write_bytes(good)
    assert cache.read(name) is not None


def test_an_entry_under_another_name_or_of_another_kind_is_none(cache: InversionCache) -> None:
    from safetensors.torch import save

    name, held = an_entry(cache)
    other = name[::-1]
    cache.file(other).write_bytes(cache.file(name).read_bytes())
    assert cache.read(other) is None
    right = {"key": name, "sha256": digest({"key": name}, held)}
    for message in ({**right, "schema": 2}, {"key": name}, [], None, "text"):
        cache.file(name).write_bytes(save(to_cpu(held), {"editkit": json.dumps(message)}))
        assert cache.read(name) is None, message
    cache.file(name).write_bytes(save(to_cpu(held)))
    assert cache.read(name) is None
    cache.file(name).write_bytes(save(to_cpu(held), {"editkit": json.dumps(right)}))
    assert cache.read(name) is not None


def test_a_damaged_entry_is_computed_again_and_replaced() -> None:
    expected = edited()
    (file,) = entries()
    good = file.read_bytes()
    user = InversionCache.of_user()
    assert user is not None
    tensors = user.read(file.stem)
    assert tensors is not None
    trajectory = tensors["trajectory"]
    nan = trajectory.clone()
    nan.view(-1)[7] = float("nan")
    for wrong in ({"trajectory": nan}, {"trajectory": trajectory[1:]}, {}):
        user.write(file.stem, wrong | {"kept.more": torch.ones(1)})
        created = edited()
        assert same(created, expected) and created.report.network_calls == 8, wrong
        assert same(edited(), expected) and edited().report.network_calls == 4
        assert file.read_bytes() == good
    for data in (b"", b"no tensors", good[:-1], good[:-1] + bytes([good[-1] ^ 1]), b"\xff" * 64):
        file.write_bytes(data)
        created = edited()
        assert same(created, expected) and created.report.network_calls == 8 and not created.report.warnings
        assert file.read_bytes() == good
    file.unlink()
    file.mkdir()
    created = edited()
    assert same(created, expected) and len(created.report.warnings) == 1


# Room


def test_the_least_recently_used_go_where_the_limit_is_reached(cache: InversionCache) -> None:
    names = [an_entry(cache, number=torch.tensor([number]))[0] for number in range(4)]
    size = cache.file(names[0]).stat().st_size
    for age, name in enumerate(reversed(names)):
        os.utime(cache.file(name), (1000 - age, 1000 - age))
    own, left = cache.folder / "apple.safetensors", cache.folder / ".editkit-0123456789abcdef.tmp"
    for file in (own, left):
        file.write_bytes(b"x" * size)
        os.utime(file, (1, 1))
    small = InversionCache(cache.folder, 3 * size)
    assert small.read(names[0]) is not None
    new, _ = an_entry(small, number=torch.tensor([9]))
    assert {file.stem for file in cache.folder.glob("?" * 64 + ".safetensors")} == {names[0], names[3], new}
    assert own.exists(), "a file of the user's was removed"
    assert not left.exists(), "what a killed process left behind stays for ever"


def test_an_entry_over_the_limit_is_not_kept_and_removes_no_other(cache: InversionCache) -> None:
    name, _ = an_entry(cache)
    size = cache.file(name).stat().st_size
    large, _ = an_entry(InversionCache(cache.folder, 2 * size), more=torch.zeros(size))
    assert cache.read(large) is None and cache.read(name) is not None


def hammer(folder: Path, limit: int, seed: int) -> None:
    """Write, read, damage and remove the same few entries as others do; each entry read must equal the one written."""
    small = InversionCache(folder, limit)
    for turn in range(60):
        number = (turn * 7 + seed) % 6
        held = {"trajectory": torch.full((1000,), float(number))}
        name = digest({"number": number}, {})
        small.write(name, held)
        actual = small.read(name)
        assert actual is None or torch.equal(actual["trajectory"], held["trajectory"])
        if turn % 5 == seed:
            (folder / f"{name}.safetensors").unlink(missing_ok=True)
        if turn % 5 == seed + 1:
            small.file(digest({"number": 0}, {})).write_bytes(b"damaged")


def test_processes_that_write_and_remove_the_same_entries_do_not_harm_each_other(cache: InversionCache) -> None:
    an_entry(cache, trajectory=torch.zeros(1000))
    size = next(cache.folder.iterdir()).stat().st_size
    processes = [
        multiprocessing.get_context("fork").Process(target=hammer, args=(cache.folder, 4 * size, seed))
        for seed in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    # Each may have made room for one entry before another process had written its own.
    assert sum(file.stat().st_size for file in cache.folder.iterdir()) <= (4 + 2) * size


# Where it lies


def test_entries_are_readable_by_their_owner_alone() -> None:
    before = os.umask(0)
    try:
        edited()
    finally:
        os.umask(before)
    (file,) = entries()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.write_bytes(b"damaged")
    file.chmod(0o644)
    edited()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_cache_lies_in_the_user_s_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def folder() -> Path | None:
        actual = InversionCache.of_user()
        return actual and actual.folder

    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder() == Path(os.environ["EDITKIT_CACHE"], "inversions")
    monkeypatch.setenv("EDITKIT_CACHE", "~/mine")
    assert folder() == tmp_path / "mine" / "inversions"
    for unset in ("", None):
        monkeypatch.delenv("EDITKIT_CACHE") if unset is None else monkeypatch.setenv("EDITKIT_CACHE", unset)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert folder() == tmp_path / "xdg" / "editkit" / "inversions"
        for elsewhere in ("", "relative"):
            monkeypatch.setenv("XDG_CACHE_HOME", elsewhere)
            assert folder() == tmp_path / ".cache" / "editkit" / "inversions"


def test_an_unwritable_cache_folder_causes_one_warning_and_no_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = edited(cache=False)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("EDITKIT_CACHE", str(tmp_path / "file"))
    created = edited()
    assert same(created, expected) and created.report.network_calls == 8
    (message,) = created.report.warnings
    assert message.startswith(f"inversions cannot be kept in {tmp_path / 'file' / 'inversions'} (Not a directory): ")
    session = session_with(InversionCache.of_user())
    for prompt in ("red", "blue"):
        invert_latents(session, Noisy(), session.latents, session.inversion_path(2), session.embed(prompt))
    assert session.usage.warnings == [message]
    twice = editkit.Pipeline([("prompt-edit", WORDS)] * 2)(SOURCE, model=ToyBackend())
    assert twice.report.warnings == (message,)
    monkeypatch.setenv("EDITKIT_CACHE", "~nobody-of-this-name/caches")
    assert same(edited(), expected) and not edited().report.warnings


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_a_full_or_failing_disk_does_not_change_an_edit(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as failing:
        failing.setattr("editkit.files.writing.os.fsync", fail)
        created = edited()
    assert same(created, edited(cache=False))
    assert len(created.report.warnings) == 1 and os.strerror(number) in created.report.warnings[0]
    assert not entries()
    edited()
    with monkeypatch.context() as failing:  # an entry that was kept is used though its time of use cannot be set
        failing.setattr("editkit.inversion.cache.os.utime", fail)
        assert edited().report.network_calls == 4


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
@pytest.mark.parametrize("which", ["folder", "parent"])
def test_a_folder_that_others_may_write_to_is_not_used(mode: int, which: str) -> None:
    expected = edited()
    (file,) = entries()
    folder = file.parent if which == "folder" else file.parent.parent
    folder.chmod(mode)
    if which == "parent" and mode == 0o770:  # a group's folder, in which nobody else writes to this one
        assert edited().report.warnings == ()
        return
    created = edited()
    assert same(created, expected) and created.report.network_calls == 8 and entries() == [file]
    assert [f"others may write to {folder}" in warning for warning in created.report.warnings] == [True]
    folder.chmod(0o1777 if which == "parent" else 0o755)
    assert edited().report.network_calls == 4 and not edited().report.warnings


def test_a_link_in_place_of_an_entry_is_neither_read_nor_followed(tmp_path: Path) -> None:
    expected = edited()
    (file,) = entries()
    data = file.read_bytes()
    for content in (data, b"the user's own"):
        (tmp_path / "elsewhere").write_bytes(content)
        file.unlink()
        file.symlink_to(tmp_path / "elsewhere")
        created = edited()
        assert same(created, expected) and created.report.network_calls == 8
        assert (tmp_path / "elsewhere").read_bytes() == content
        assert not file.is_symlink() and file.read_bytes() == data


def test_a_pipe_or_a_file_of_others_is_no_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = edited()
    (file,) = entries()
    file.chmod(0o666)
    assert edited().report.network_calls == 8
    file.unlink()
    os.mkfifo(file)
    created = edited()
    assert same(created, expected) and created.report.network_calls == 8 and file.is_file()
    monkeypatch.setattr("editkit.inversion.cache.is_own", lambda status: False)
    assert edited().report.network_calls == 8


# Switching it off


def test_a_disabled_cache_is_neither_read_nor_written() -> None:
    for _ in range(2):
        assert edited(cache=False).report.network_calls == 8
    editkit.invert(SOURCE, model=ToyBackend(), steps=4, cache=False)
    editkit.Pipeline([("prompt-edit", WORDS)])(SOURCE, model=ToyBackend(), cache=False)
    result = edited(cache=False)
    again = editkit.replay(result.encoded(".png", recipe="full"), model=ToyBackend(), cache=False)
    assert again.report.network_calls == 8
    assert not entries()
    edited()
    (file,) = entries()
    before = file.stat().st_mtime_ns
    assert edited(cache=False).report.network_calls == 8
    assert file.stat().st_mtime_ns == before
    again = editkit.replay(result.encoded(".png", recipe="full"), model=ToyBackend())
    assert again.report.network_calls == 4 and same(again, result)


@pytest.mark.slow
def test_the_command_line_has_a_switch_on_all_that_inverts(tmp_path: Path) -> None:
    folder = stable_diffusion_folder(tmp_path / "tiny")
    SOURCE.save(tmp_path / "in.png")
    (tmp_path / "steps.yaml").write_text("steps: [{prompt-edit: {source: red, target: blue, steps: 1, seed: 1}}]")
    shared = ["-m", str(folder), "--json", "-o", str(tmp_path / "out.png")]
    small = ["--source", "red", "--target", "blue", "--steps", "1", "--seed", "1"]
    again = ["replay", str(tmp_path / "out.png"), "--source", str(tmp_path / "in.png")]
    commands = [
        ["prompt-edit", str(tmp_path / "in.png"), *small, *shared],
        ["run", str(tmp_path / "steps.yaml"), str(tmp_path / "in.png"), *shared],
        [
            *again,
            "-m",
            str(folder),
            "--json",
            "-o",
            str(tmp_path / "again.png"),
        ],
    ]

    def calls(words: list[str], *switch: str) -> int:
        ran = CliRunner().invoke(main, [*words, *switch])
        assert ran.exit_code == 0, ran.output
        return int(json.loads(ran.stdout)["network_calls"])

    for words in commands:
        assert calls(words, "--no-cache") == 2
    assert not entries()
    assert [calls(words) for words in (commands[0], *commands)] == [2, 1, 1, 1]
    assert [calls(words, "--no-cache") for words in commands] == [2, 2, 2]


def test_commands_that_do_not_invert_have_no_cache_switch() -> None:
    with_it = {"prompt-edit", "uni-edit", "instruct", "interpolate", "invert", "run", "replay"}
    for name in (*editkit.operations(), "run", "replay"):
        message = CliRunner().invoke(main, [name, "--help"]).stdout
        assert ("--no-cache" in message) == (name in with_it), name
