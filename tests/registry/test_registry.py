"""The registry: a broken plugin is named and affects no other; third-party packages are first-class."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from editkit import (
    AnnotatorSpec,
    BackendSpec,
    EngineSpec,
    InverterSpec,
    ModelSpec,
    OperationSpec,
    Params,
    PluginFailure,
    SamplerSpec,
    UnknownName,
    hookimpl,
)
from editkit.errors import InvalidParameter
from editkit.registry.registry import PluginSource, Registry, discover, installed

SPECS = (OperationSpec, InverterSpec, SamplerSpec, BackendSpec, ModelSpec, AnnotatorSpec)


def source(name: str, module: str = "module") -> PluginSource:
    return PluginSource(name, module, f"dist-{name}", "1.0")


def operation(name: str = "blur", **fields: Any) -> OperationSpec:
    return OperationSpec(**{"name": name, "summary": "Blurs.", "load": lambda: None, **fields})


class Plugin:
    """A plugin that registers the given specs."""

    def __init__(self, *specs: Any) -> None:
        self.specs = specs

    @hookimpl
    def register_operations(self) -> Any:
        return list(self.specs)


def with_plugins(**plugins: object) -> Registry:
    registry = Registry()
    for name, plugin in plugins.items():
        registry.add(source(name), plugin)
    return registry


def reasons(registry: Registry) -> str:
    return "\n".join(map(str, registry.failures))


class TestIsolation:
    def test_a_good_plugin_is_listed_with_its_hooks_and_names(self) -> None:
        registry = with_plugins(good=Plugin(operation("blur"), operation("sharpen")))
        assert registry.failures == []
        assert registry.plugins[0].hooks == ("register_operations",)
        assert registry.plugins[0].names == {"operations": ("blur", "sharpen")}
        assert registry.spec("operations", "blur").summary == "Blurs."

    def test_a_second_owner_of_a_name_is_refused_and_both_are_named(self) -> None:
        registry = with_plugins(first=Plugin(operation()), second=Plugin(operation()))
        for word in ("DuplicateName", "blur", "dist-first", "dist-second"):
            assert word in reasons(registry)
        assert registry.owners["operations", "blur"].name == "first"
        assert len(registry.failures) == 1

    def test_one_name_may_serve_two_kinds(self) -> None:
        class Both(Plugin):
            @hookimpl
            def register_inverters(self) -> list[InverterSpec]:
                return [InverterSpec(name="blur", summary="Inverts.", load=lambda: lambda params: None)]  # type: ignore[arg-type, return-value]

        assert with_plugins(both=Both(operation())).failures == []

    def test_an_engine_is_built_with_its_options(self) -> None:
        class WithEngine:
            @hookimpl
            def register_engines(self) -> list[EngineSpec]:
                return [EngineSpec(name="row", summary="Runs.", load=lambda: lambda params: params, params=RowParams)]  # type: ignore[arg-type, return-value]

        class RowParams(Params):
            cpus: float = 1.0

        registry = with_plugins(engine=WithEngine())
        assert registry.failures == []
        assert registry.build("engines", "row:cpus=0.5").cpus == 0.5
        with pytest.raises(InvalidParameter, match="no parameter 'gpu'"):
            registry.build("engines", "row:gpu=1")

    @pytest.mark.parametrize("error", [RuntimeError("boom"), SystemExit(3), KeyboardInterrupt(), BaseException("x")])
    def test_a_hook_that_raises_harms_only_itself(self, error: BaseException) -> None:
        class Raising:
            @hookimpl
            def register_operations(self) -> list[OperationSpec]:
                raise error

            @hookimpl
            def register_samplers(self) -> list[SamplerSpec]:
                return [SamplerSpec(name="fast", summary="Fast.", load=lambda: None)]  # type: ignore[arg-type, return-value]

        registry = with_plugins(bad=Raising(), good=Plugin(operation()))
        assert type(error).__name__ in reasons(registry)
        assert "dist-bad" in reasons(registry)
        assert set(registry.specs["operations"]) == {"blur"}
        assert set(registry.specs["samplers"]) == {"fast"}

    @pytest.mark.parametrize(
        "returned",
        [
            None,
            5,
            ["blur"],
            [InverterSpec(name="blur", summary="Blurs.", load=lambda: None)],  # type: ignore[arg-type, return-value]
            [operation("Two Words")],
            [operation(summary="no sentence")],
            [operation(params=dict)],
        ],
    )
    def test_a_wrong_return_is_a_failure(self, returned: Any) -> None:
        class Wrong:
            @hookimpl
            def register_operations(self) -> Any:
                return returned

        registry = with_plugins(bad=Wrong(), good=Plugin(operation("sharpen")))
        assert len(registry.failures) == 1
        assert "register_operations" in reasons(registry)
        assert set(registry.specs["operations"]) == {"sharpen"}

    def test_specs_beside_a_wrong_one_are_kept(self) -> None:
        registry = with_plugins(bad=Plugin(operation("blur"), "sharpen", operation("blur"), operation("soften")))
        assert len(registry.failures) == 2
        assert registry.plugins[0].names == {"operations": ("blur", "soften")}

    def test_a_misspelt_hook_is_named_with_the_right_one(self) -> None:
        class Misspelt:
            @hookimpl
            def register_operation(self) -> list[OperationSpec]:
                return []

        registry = with_plugins(bad=Misspelt(), good=Plugin(operation()))
        assert "'register_operation'; did you mean 'register_operations'?" in reasons(registry)
        assert "blur" in registry.specs["operations"]

    def test_an_argument_the_hook_does_not_have_is_a_failure(self) -> None:
        class Greedy:
            @hookimpl
            def register_operations(self, config: Any) -> list[OperationSpec]:
                return []

        registry = with_plugins(bad=Greedy(), good=Plugin(operation()))
        assert "config" in reasons(registry)
        assert "blur" in registry.specs["operations"]


class TestLookUp:
    def test_an_unknown_name_names_the_closest_and_the_failures(self) -> None:
        registry = with_plugins(bad=Plugin("x"), good=Plugin(operation()))
        with pytest.raises(UnknownName, match=r"did you mean 'blur'.*dist-bad"):
            registry.spec("operations", "blurr")

    def test_options_after_a_colon_are_typed_and_checked(self) -> None:
        spec, params = installed().configure("samplers", "ddim:eta=0.5")
        assert (spec.name, params.model_dump()) == ("ddim", {"eta": 0.5})
        for call in ("ddim:eta=2.0", "ddim:etta=0.5", "ddim:eta=x"):
            with pytest.raises(InvalidParameter, match="ddim"):
                installed().configure("samplers", call)

    def test_an_implementation_that_cannot_be_imported_names_its_plugin(self) -> None:
        def load() -> Any:
            import no_such_module  # noqa: F401

        registry = with_plugins(bad=Plugin(operation(load=load)))
        with pytest.raises(PluginFailure, match=r"blur.*dist-bad.*no_such_module"):
            registry.load("operations", "blur")

    @pytest.mark.parametrize(
        ("kind", "spec", "message"),
        [
            ("models", ModelSpec(name="odd", summary="Odd.", load=lambda: 5), "load returned int, not the path"),
            ("samplers", SamplerSpec(name="odd", summary="Odd.", load=lambda: 5), "load returned int, not a function"),
        ],
    )
    def test_a_load_that_returns_something_else_names_its_plugin(self, kind: str, spec: Any, message: str) -> None:
        registry = Registry()
        registry.insert(PluginSource("own", "own", "own", "1"), kind, spec)
        with pytest.raises(PluginFailure, match=rf"^{kind[:-1]} 'odd' of plugin 'own' \(own, own 1\): {message}"):
            registry.load(kind, "odd")

    def test_names_may_be_any_collection_and_choices_are_checked(self) -> None:
        registry, source = Registry(), PluginSource("own", "own", "own", "1")
        operation: Any = OperationSpec
        registry.insert(source, "operations", operation(name="a", summary="A.", load=print, needs=["text"]))
        assert registry.spec("operations", "a").needs == frozenset({"text"})
        for wrong, message in (
            ({"needs": "text"}, "needs='text' must be a set"),
            ({"takes": "three"}, "takes='three'"),
        ):
            with pytest.raises(PluginFailure, match=message):
                registry.insert(source, "operations", operation(name="b", summary="B.", load=print, **wrong))

    def test_what_is_built_has_to_be_usable(self) -> None:
        registry, source = Registry(), PluginSource("own", "own", "own", "1")
        for kind, spec in (("samplers", SamplerSpec), ("inverters", InverterSpec), ("annotators", AnnotatorSpec)):
            registry.insert(source, kind, spec(name="odd", summary="Odd.", load=lambda: lambda params: None))
            with pytest.raises(PluginFailure, match=rf"^{kind[:-1]} 'odd' of plugin 'own' .* returned NoneType, not "):
                registry.build(kind, "odd")

    def test_the_folder_of_a_model_may_be_text(self) -> None:
        registry = Registry()
        spec = ModelSpec(name="own", summary="Own.", load=lambda: "folder")  # type: ignore[arg-type, return-value]
        registry.insert(PluginSource("own", "own", "own", "1"), "models", spec)
        assert registry.load("models", "own") == Path("folder")

    def test_every_kind_has_its_spec(self) -> None:
        for spec in SPECS:
            assert issubclass(spec.__dataclass_fields__["params"].default, Params)


class TestDiscovery:
    def entry_point(self, folder: Path, name: str, text: str) -> importlib.metadata.EntryPoint:
        (folder / f"module_{name}.py").write_text(text)
        return importlib.metadata.EntryPoint(name, f"module_{name}", "editkit")

    @pytest.mark.parametrize(
        "text",
        [
            "raise RuntimeError('boom')",
            "raise SystemExit(1)",
            "raise KeyboardInterrupt",
            "raise BaseException('end')",
            "import nowhere",
            "def (",
        ],
    )
    def test_a_plugin_that_cannot_be_imported_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        monkeypatch.syspath_prepend(tmp_path)
        name = f"bad{abs(hash(text))}"
        bad = self.entry_point(tmp_path, name, text)
        registry = discover([bad, *importlib.metadata.entry_points(group="editkit")])
        assert [failure.source.name for failure in registry.failures] == [name]
        assert "cannot be imported" in reasons(registry)
        assert set(registry.specs["operations"]) == set(installed().specs["operations"])

    def test_ctrl_c_during_an_import_is_no_failure_of_the_plugin(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(tmp_path)
        before = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            discover([self.entry_point(tmp_path, "slow", "import signal\nsignal.raise_signal(signal.SIGINT)")])
        assert signal.getsignal(signal.SIGINT) is before

    def test_own_plugins_come_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(tmp_path)
        text = (
            "from editkit import OperationSpec, hookimpl\n@hookimpl\ndef register_operations():\n"
            "    return [OperationSpec(name='img2img', summary='Other.', load=lambda: None)]\n"
        )
        thief = self.entry_point(tmp_path, "aaa", text)
        registry = discover([thief, *importlib.metadata.entry_points(group="editkit")])
        assert registry.owners["operations", "img2img"].distribution == "editkit"
        assert "DuplicateName" in reasons(registry)


TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def third_party_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three third-party distributions installed, one of them broken."""
    root = tmp_path_factory.mktemp("third-party")
    names = ("good", "broken", "control")
    copies = [shutil.copytree(TESTS / "third_party" / name, root / name) for name in names]
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", root / "site")
    command = [sys.executable, "-m", "pip", "install", *options, *copies]
    subprocess.run(command, check=True, capture_output=True)
    return root / "site"


@pytest.fixture
def run_with_packages(third_party_packages: Path) -> Callable[[str], str]:
    """Run Python code where third-party packages are installed, and return its output."""

    def run(code: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(third_party_packages)}
        process = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert process.returncode == 0, process.stderr
        return process.stdout

    return run


def command(*arguments: str) -> str:
    return f"import sys; sys.argv = ['editkit', *{list(arguments)!r}]\nfrom editkit.cli import main; main()"


class TestThirdParty:
    @pytest.mark.slow
    def test_plugins_lists_the_good_and_names_the_broken(self, run_with_packages: Callable[[str], str]) -> None:
        listed = json.loads(run_with_packages(command("plugins", "--json")))
        rows = {row["name"]: row for row in listed["plugins"]}
        assert rows["negative"]["distribution"] == "editkit-negative"
        assert rows["negative"]["version"] == "0.3.0"
        assert rows["negative"]["registered"] == {"operations": ["negative"], "inverters": ["recorded"]}
        failed = json.dumps(listed["failures"])
        for word in ("editkit-broken", "made for another editkit", "img2img", "register_inverter"):
            assert word in failed
        assert {"img2img", "samplers", "inverters"} <= set(rows)

    @pytest.mark.slow
    def test_help_offers_the_operation(self, run_with_packages: Callable[[str], str]) -> None:
        output = run_with_packages(command("--help"))
        assert "negative" in output
        assert "Turn an image into its negative." in output
        assert "img2img" in output
        assert "--strength" in run_with_packages(command("negative", "--help"))

    @pytest.mark.slow
    def test_a_third_party_plugin_edits_inverts_and_conforms(self, run_with_packages: Callable[[str], str]) -> None:
        code = """
import json
import editkit
from PIL import Image
from editkit.testing import ToyBackend, check

model, image = ToyBackend(), Image.new("RGB", (16, 16), (0, 100, 200))
result = editkit.apply("negative", image, model=model)
inversion = editkit.invert(image, model=model, prompt="a", method="recorded", steps=5)
report = editkit.reconstruct(inversion, model=model, guidance=7.5).report
same = {"source": "a", "target": "a", "inverter": "recorded", "steps": 5, "seed": 1}
edited = editkit.apply("prompt-edit", image, model=model, **same)
print(json.dumps({
    "pixel": result.image.getpixel((8, 8)),
    "bound": report.recon_psnr == report.vae_psnr,
    "same": edited.image.tobytes() == image.tobytes(),
    "checks": [done.outcome for done in check("negative")],
    "broken": [done.outcome for done in check("broken")],
}))
"""
        values = json.loads(run_with_packages(code))
        assert values["pixel"] == [255, 155, 55]
        assert values["bound"]
        assert values["same"]
        assert len(values["checks"]) > 20
        assert "failed" not in values["checks"]
        assert values["broken"] == ["failed"]

    @pytest.mark.slow
    def test_a_control_of_attention_conforms_in_forty_lines(self, run_with_packages: Callable[[str], str]) -> None:
        sources = (TESTS / "third_party" / "control").glob("*.py")
        assert sum(len(file.read_text().splitlines()) for file in sources) <= 40
        lines = run_with_packages(command("check", "values")).splitlines()
        checks = [line for line in lines if "control source-values" in line]
        assert len(checks) >= 10
        assert all(line.startswith("passed") for line in checks)
        assert lines[-1].endswith(" 0 failed, 0 skipped")


def test_a_plugin_that_prints_leaves_standard_output_to_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "editkit_loud.py").write_text("print('hello')\n")
    monkeypatch.syspath_prepend(tmp_path)
    discover([importlib.metadata.EntryPoint("loud", "editkit_loud", "editkit")])
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "hello\n")
