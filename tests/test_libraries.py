"""Libraries are silenced temporarily, and their exceptions become one short line."""

from __future__ import annotations

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
            assert logging.get_verbosity() == logging.ERROR
            assert not logging.is_progress_bar_enabled()
            raise RuntimeError
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled() == progress_bar
    finally:
        logging.set_verbosity(before[0])
        (logging.enable_progress_bar if before[1] else logging.disable_progress_bar)()


def test_a_reason_is_one_short_line() -> None:
    assert reason_of(ValueError("no\n  such\tshard")) == "ValueError: no such shard"
    assert reason_of(RuntimeError("x" * 900)) == f"RuntimeError: {'x' * 200}"
