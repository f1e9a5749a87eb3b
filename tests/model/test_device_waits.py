"""Law of a device: the host does not wait for it in the steps of an edit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import editkit

LIMIT = 30
"""Most waits of an edit, of any number of steps."""


@pytest.mark.slow
def test_no_operation_waits_for_the_device_in_each_step() -> None:
    tests = Path(__file__).parents[1]
    # The counting device is one of the whole process, in which other libraries would look for a GPU.
    run = subprocess.run(
        [sys.executable, "-m", "devices.count_waits"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    waits = json.loads(run.stdout)
    assert set(waits) == set(editkit.operations())
    assert all(max(counts) <= LIMIT for counts in waits.values()), waits
    # Twice as many steps wait no more often: prompts that were embedded before wait less.
    assert all(more <= few for few, more in waits.values()), waits
