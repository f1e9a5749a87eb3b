"""Every registered operation passes the suite of operations, and every plugin package that of packages."""

from __future__ import annotations

import editkit
from editkit.registry.registry import installed
from editkit.testing import plugin_suite, suite_of

for _name in editkit.operations():
    _suite = suite_of("operations", _name)
    globals()[_suite.__name__] = _suite

for _plugin in installed().plugins:
    _suite = plugin_suite(_plugin)
    globals()[f"{_suite.__name__}Package"] = _suite


def test_all_installed_plugins_load() -> None:
    assert [str(failure) for failure in installed().failures] == []
