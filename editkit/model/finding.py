"""Find a model and the backend that serves it, without reading weights and without torch."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ..caching import Stamps, file_stamps
from ..errors import InvalidParameter, MissingCapability, WeightsUnavailable, did_you_mean
from ..files.paths import exists, is_file
from ..registry.registry import Registry, installed
from ..registry.specs import BackendSpec, ModelSpec
from .adapters import Adapter
from .execution import ExecutionOptions
from .files.folders import check_parts, identity_of, read_index
from .files.hub import BELOW, HUB_ID, find_folder
from .files.single_file import find_backend
from .options import LoadingOptions


def locate(
    registry: Registry,
    name: str | os.PathLike[str] | None,
    options: LoadingOptions = LoadingOptions(),  # noqa: B008 (it is frozen)
) -> tuple[str, Path]:
    """Return the name of a model and its folder or file; raises WeightsUnavailable if there is none.

    The name of a hub model includes the revision. Raises InvalidParameter for a revision of another model.
    """
    revision = options.revision
    text = default_model(registry) if name is None else os.fspath(name)
    if revision is not None and (text in registry.specs["models"] or Path(text).exists() or not HUB_ID.fullmatch(text)):
        raise InvalidParameter(f"revision={revision!r} has no use for {text!r}, which is no hub id: leave it out")
    spec: ModelSpec | None = registry.specs["models"].get(text)
    if spec is not None:
        folder = registry.load("models", text)
        if not folder.is_dir():
            raise WeightsUnavailable(
                f"the model {text!r} should be in {folder}, which is not there: reinstall its package"
            )
        return text, folder
    if is_file(text):
        return text, Path(text)
    if exists(text) or HUB_ID.fullmatch(text):
        folder = find_folder(text, "model", BELOW, revision, options.variant, options.replaced)
        return text if revision is None or "@" in text else f"{text}@{revision}", folder
    if address := re.fullmatch(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)(?:/.*)?", text):
        raise WeightsUnavailable(f"model {text!r} is an address: give its hub id {address[1]!r}")
    known = did_you_mean(text, registry.specs["models"])
    raise WeightsUnavailable(
        f"model {text!r} is neither a registered name ({known}) nor a folder, a file or a hub id 'org/name'"
    )


def default_model(registry: Registry, operation: str | None = None) -> str:
    """Return the name of the default model of an operation, else of all operations.

    Raises WeightsUnavailable if no plugin provides one.
    """
    for spec in sorted(registry.specs["models"].values(), key=lambda spec: operation not in spec.default_for):
        if spec.default or operation in spec.default_for:
            return str(spec.name)
    raise WeightsUnavailable("no model is given and no installed plugin brings a default one: pass model=FOLDER")


def find_identity(
    name: str | os.PathLike[str] | None = None,
    *,
    operation: str | None = None,
    adapters: Sequence[Adapter] = (),
    execution: ExecutionOptions = ExecutionOptions(),  # noqa: B008 (it is frozen)
    options: LoadingOptions = LoadingOptions(),  # noqa: B008 (it is frozen)
) -> tuple[str, str]:
    """Return the name of a model and a hash of its files, without loading it; None is the default of the operation.

    A hub model without a local copy is downloaded. Raises WeightsUnavailable if there is no such model or its files are
    incomplete, MissingCapability if models of its family do not support the adapters or an option, which the hash does
    not cover.
    """
    registry = installed()
    label, location = locate(registry, default_model(registry, operation) if name is None else name, options)
    family, _ = find_family(registry, location, options)
    check_support(family, label, adapters, execution, options)
    return label, identity_of(location)


def model_stamps(
    name: str,
    adapters: Sequence[str] = (),
    options: LoadingOptions = LoadingOptions(),  # noqa: B008 (it is frozen)
) -> Stamps:
    """Return the :func:`file_stamps` of the files that a model's name, its adapters and options mean at this moment."""
    places = () if name in installed().specs["models"] else (name,)
    files = (text for call in adapters for text in (call, call.rpartition(":")[0]))  # with and without a scale
    return file_stamps(*places, *files, *options.places)


def find_family(registry: Registry, location: Path, options: LoadingOptions) -> tuple[BackendSpec, dict[str, Path]]:
    """Return the backend that serves a folder or a checkpoint file, and the paths its loader takes."""
    _check_file_options(options, location)
    if location.is_file():
        return family_of_file(registry, location)
    return family_of(registry, location, options), {"folder": location}


def family_of(registry: Registry, folder: Path, options: LoadingOptions) -> BackendSpec:
    """Return the backend that serves a diffusers folder; raises WeightsUnavailable if it is incomplete or unsafe."""
    index = read_index(folder)
    spec = family_of_class(registry, index["_class_name"], f"model {folder}")
    unneeded = set() if options.vae is None else {"vae"}
    check_parts(
        folder,
        index,
        spec.parts - unneeded,
        package=package_of(registry, spec),
        variant=options.variant,
        replaced=options.replaced,
    )
    return spec


def package_of(registry: Registry, family: BackendSpec) -> str:
    """Return the package of the plugin that registers a family; none for a family of last resort, which loads any."""
    owner = None if family.last_resort else registry.owners.get(("backends", family.name))
    return "" if owner is None else owner.module.partition(".")[0]


def family_of_class(registry: Registry, kind: str, called: str) -> BackendSpec:
    """Return the backend that serves a class of pipelines; raises WeightsUnavailable if none does.

    The message begins with ``called``.
    """
    specs: list[BackendSpec] = sorted(registry.specs["backends"].values(), key=lambda spec: spec.last_resort)
    for spec in specs:
        if kind in spec.pipelines or spec.last_resort:
            return spec
    served = sorted({kind for spec in specs for kind in spec.pipelines})
    raise WeightsUnavailable(f"{called} is a {kind}, which no installed backend serves; served: {', '.join(served)}")


def family_of_file(registry: Registry, file: Path) -> tuple[BackendSpec, dict[str, Path]]:
    """Return the backend that serves a checkpoint file, and the paths its loader takes."""
    family, folder = find_backend(registry, file)
    index = read_index(folder)
    if index.get("_class_name") not in family.pipelines:
        raise WeightsUnavailable(
            f"model {str(file)!r} is of the family {family.name}, and the configuration in {folder} that of a "
            f"{index.get('_class_name')}: put the right one into {str(file.with_suffix(''))!r}"
        )
    check_parts(folder, index, family.parts, package=package_of(registry, family), weights=False)
    return family, {"folder": folder, "weights": file}


def check_support(
    family: BackendSpec,
    label: str,
    adapters: Sequence[Adapter],
    execution: ExecutionOptions,
    options: LoadingOptions,
) -> None:
    """Raise MissingCapability if models of a family do not support the adapters or an option."""
    _check_adapters(family, label, adapters)
    check_execution(family, label, execution)
    _check_options(family, label, options)


def _check_adapters(family: BackendSpec, label: str, adapters: Sequence[Adapter]) -> None:
    """Raise MissingCapability if models of the family take no adapters."""
    if adapters and "adapters" not in family.provides:
        provided = ", ".join(sorted(family.provides)) or "nothing beyond images"
        raise MissingCapability(
            f"the adapter {adapters[0]} needs a model that takes adapters; the model {label!r} of the family "
            f"{family.name} provides {provided}"
        )


def check_execution(family: BackendSpec, label: str, execution: ExecutionOptions) -> None:
    """Raise MissingCapability if models of the family do not support an execution option."""
    missing = [name for name in execution.requested if name not in family.execution_options]
    if missing:
        supported = ", ".join(sorted(family.execution_options)) or "none of them"
        raise MissingCapability(
            f"{missing[0]}={execution.requested[missing[0]]!r} needs a model that supports it; the model {label!r} of "
            f"the family {family.name} offers {supported}: leave it out"
        )


def _check_file_options(options: LoadingOptions, location: Path) -> None:
    """Raise InvalidParameter for an option that has no use for a checkpoint file."""
    for option in ("variant", "transformer", "quantise"):
        if option in options.requested and location.is_file():
            raise InvalidParameter(
                f"{option}={options.requested[option]!r} has no use for a checkpoint file: leave it out, or give a "
                "folder as the model"
            )


def _check_options(family: BackendSpec, label: str, options: LoadingOptions) -> None:
    """Raise MissingCapability if models of the family do not support an option."""
    missing = [name for name in options.requested if name != "revision" and name not in family.loading_options]
    if missing:
        supported = ", ".join(sorted(family.loading_options)) or "none of them"
        raise MissingCapability(
            f"{missing[0]} needs a model that supports it; the model {label!r} of the family {family.name} offers "
            f"{supported}: leave it out"
        )
