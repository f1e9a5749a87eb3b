"""The conformance suite of controls of attention: every control passes, and each defect fails in its own check."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from editkit import AttentionControl, AttentionInputs, Backend, ControlSpec
from editkit.registry.registry import PluginSource, installed
from editkit.testing import AttentionControlTests, run_suite, suite_of, suites_of
from editkit.testing.control_suites import NETWORKS, tiny_model

pytestmark = pytest.mark.slow
NAMES = [name for name, spec in installed().specs["controls"].items() if AttentionControlTests.serves(spec)]

for _name in NAMES:
    _suite = suite_of("controls", _name)
    globals()[_suite.__name__] = _suite


def test_the_suite_is_that_of_controls_of_attention_on_two_kinds_of_networks() -> None:
    assert {"prompt-to-prompt", "plug-and-play", "mutual-attention", "consist-edit"} <= set(NAMES)
    for name in installed().specs["controls"]:
        assert [AttentionControlTests in suite.__mro__ for suite in suites_of(name, installed())] == [True] * (
            name in NAMES
        )
    kinds = [type(tiny_model(pipeline).net).__name__ for pipeline in NETWORKS.values()]
    assert kinds == ["UNet2DConditionModel", "FluxTransformer2DModel"]


class Idle(AttentionControl):
    def edit(self, inputs: AttentionInputs) -> Tensor:
        return inputs.unchanged()


class Mixing(AttentionControl):
    def edit(self, inputs: AttentionInputs) -> Tensor:
        value = inputs.value - inputs.value.mean(0, keepdim=True)
        return inputs.attend(inputs.query, inputs.key, value, inputs.bias)


class Unequal(AttentionControl):
    """Edited rows are changed whatever their prompt."""

    def edit(self, inputs: AttentionInputs) -> Tensor:
        edited = [self.sources[row.row] != row.row for row in self.rows(inputs)]
        return inputs.unchanged() * (1 + 0.1 * torch.tensor(edited).view(-1, 1, 1, 1))


class Drawing(Unequal):
    def edit(self, inputs: AttentionInputs) -> Tensor:
        return super().edit(inputs) * (1 + 0.1 * torch.rand(()))


class Leaving(Unequal):
    """A hook stays in the network, after an exception only if ``tidy``."""

    tidy = False

    @contextlib.contextmanager
    def attach(self, backend: Backend) -> Iterator[None]:
        net: Any = backend
        handle = net.net.register_forward_hook(lambda *_: None)
        with super().attach(backend):
            yield
        if self.tidy:
            handle.remove()


class Tidy(Leaving):
    tidy = True


@pytest.mark.parametrize(
    ("defect", "checks"),
    [
        (Idle, {"changes the edit": "failed"}),
        (Mixing, {"rows do not mix": "failed", "samples the source as without it": "failed"}),
        (Unequal, {"an edit to the source prompt returns the source": "failed"}),
        (Drawing, {"the same seed gives the same pixels": "failed"}),
        (Leaving, {"leaves nothing in the network": "failed"}),
        (
            Tidy,
            {"leaves nothing in the network": "passed", "leaves nothing in the network after an exception": "failed"},
        ),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else ", ".join(value),
)
def test_a_defect_fails_in_its_check(defect: type[AttentionControl], checks: Mapping[str, str]) -> None:
    spec = ControlSpec(
        name="defect",
        summary="A defect.",
        load=lambda: lambda params: lambda session, path: defect(),
        needs=frozenset({"attention"}),
    )
    methods = [f"test_{check.replace(' ', '_')}" for check in checks]
    only = {"name": "defect", "checks": classmethod(lambda cls: methods)}
    registry, suite = installed(), type("Suite", (AttentionControlTests,), only)
    registry.insert(PluginSource("test", "test", "test", "0"), "controls", spec)
    try:
        outcomes = {done.check.removeprefix("control defect: "): done.outcome for done in run_suite(suite)}
    finally:
        del registry.specs["controls"]["defect"]
        tiny_model.cache_clear()
    assert outcomes == checks
