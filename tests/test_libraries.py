"""Libraries are silenced temporarily, and their exceptions become one short line."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from editkit import quiet, reason_of


@pytest.mark.parametrize("logging", [diffusers_logging, transformers_logging], ids=["diffusers", "transformers"])
@pytest.mark.parametrize("progress_bar", [True, False])
def test_quiet_silences_a_library_and_restores_its_settings(logging: Any, progress_bar: bool) -> None:
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    try:
        logging.set_verbosity_info()
        (logging.enable_progress_bar if progress_bar else logging.disable_progress_bar)()
        with pytest.raises(RuntimeError), quiet():
            assert logging.get_verbosity() == logging.CRITICAL
            assert not logging.is_progress_bar_enabled()
            raise RuntimeError
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled() == progress_bar
    finally:
        logging.set_verbosity(before[0])
        (logging.enable_progress_bar if before[1] else logging.disable_progress_bar)()


@pytest.mark.filterwarnings("error::FutureWarning")
def test_quiet_silences_deprecations_of_the_libraries_alone() -> None:
    def warn(module: str) -> None:
        warnings.warn_explicit("old name", FutureWarning, "file.py", 1, module=module)

    with quiet():
        warn("diffusers.models.embeddings")
        with pytest.raises(FutureWarning):
            warn("numpy.core")
    with pytest.raises(FutureWarning):
        warn("diffusers.models.embeddings")


def test_a_reason_is_one_short_line() -> None:
    assert reason_of(ValueError("no\n  such\tshard")) == "ValueError: no such shard"
    assert reason_of(RuntimeError("x" * 900)) == f"RuntimeError: {'x' * 200}"


LOAD = """
import sys
sys.path.insert(0, sys.argv[1])
import editkit
print(editkit.load_model(sys.argv[2]).schedule.train_steps)
from diffusers import utils
from transformers import utils as more
print(utils.is_torchvision_available(), more.is_torchvision_available(), "torchvision" in sys.modules)
"""


@pytest.mark.slow
def test_a_torchvision_of_another_torch_breaks_no_model(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision/__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    (tmp_path / "torchvision-1.0.dist-info").mkdir()
    (tmp_path / "torchvision-1.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: torchvision\nVersion: 1.0\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path), str(tiny_folder)], capture_output=True, text=True, check=False
    )
    assert (run.stdout.split("\n"), run.stderr) == (["1000", "False False False", ""], "")
