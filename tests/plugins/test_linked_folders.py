"""Folders of bundled models that link to shared files."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from editkit_emoji import linked_folders
from editkit_emoji.linked_folders import (
    CAPTIONS,
    INSTRUCTIONS,
    SHARED_PARTS,
    UPSCALER,
    instruct_folder,
    upscaler_folder,
)

from editkit import WeightsUnavailable


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDITKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files_in(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_instruct_folder_has_caption_files_and_its_own() -> None:
    assert files_in(instruct_folder()) == files_in(CAPTIONS) | files_in(INSTRUCTIONS)


def test_the_upscaler_folder_has_its_own_files_and_the_text_encoder() -> None:
    shared = {f"{part}/{name}": data for part in SHARED_PARTS for name, data in files_in(CAPTIONS / part).items()}
    assert files_in(upscaler_folder()) == shared | files_in(UPSCALER)


def test_a_damaged_folder_is_repaired(empty_cache: Path) -> None:
    folder = instruct_folder()
    complete = files_in(folder)
    (folder / "unet" / "config.json").unlink()
    assert instruct_folder() == folder
    assert files_in(folder) == complete


def test_many_threads_link_one_instruct_folder() -> None:
    with ThreadPoolExecutor(8) as pool:
        (folder,) = set(pool.map(lambda _: instruct_folder(), range(16)))
    assert files_in(folder) == files_in(CAPTIONS) | files_in(INSTRUCTIONS)
    assert not list(folder.rglob(".*"))


def test_a_user_without_a_cache_folder_of_his_own_has_a_temporary_one(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    empty_cache.mkdir()
    empty_cache.chmod(0o777)
    for cache in (empty_cache, tmp_path / "file", "~nobody-of-this-name/caches"):
        monkeypatch.setenv("EDITKIT_CACHE", str(cache))
        folder = upscaler_folder()
        assert tmp_path not in folder.parents and folder == upscaler_folder()
        assert files_in(folder).keys() >= files_in(UPSCALER).keys()
    assert not list(empty_cache.iterdir())


def test_without_any_folder_the_error_gives_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("EDITKIT_CACHE", str(tmp_path / "file"))
    linked_folders._temporary_folder.cache_clear()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(WeightsUnavailable, match=r"'emoji-instruct' needs a folder .*: set EDITKIT_CACHE to another"):
        instruct_folder()


def test_a_link_to_another_file_is_replaced(empty_cache: Path, tmp_path: Path) -> None:
    config = upscaler_folder() / "unet" / "config.json"
    right = config.read_bytes()
    (tmp_path / "other").write_text("{}")
    config.unlink()
    config.symlink_to(tmp_path / "other")
    assert (upscaler_folder() / "unet" / "config.json").read_bytes() == right
    assert (tmp_path / "other").read_text() == "{}"
