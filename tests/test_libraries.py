"""Libraries are silenced temporarily, and their exceptions become one short line."""

from __future__ import annotations

from typing import Any

import pytest
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from editkit import quiet, reason_of


@pytest.mark.parametrize("logging", [diffusers_logging, transformers_logging], ids=["diffusers", "transformers"])
@pytest.mark.parametrize("shown", [True, False])
def test_a_library_is_quiet_for_a_while_and_then_as_before(logging: Any, shown: bool) -> None:
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    try:
        logging.set_verbosity_info()
        (logging.enable_progress_bar if shown else logging.disable_progress_bar)()
        with pytest.raises(RuntimeError), quiet():
            assert logging.get_verbosity() == logging.ERROR
            assert not logging.is_progress_bar_enabled()
            raise RuntimeError
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled() == shown
    finally:
        logging.set_verbosity(before[0])
        (logging.enable_progress_bar if before[1] else logging.disable_progress_bar)()


def test_a_reason_is_one_short_line() -> None:
    assert reason_of(ValueError("no\n  such\tshard")) == "ValueError: no such shard"
    assert reason_of(RuntimeError("x" * 900)) == f"RuntimeError: {'x' * 200}"
