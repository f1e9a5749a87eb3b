"""Findings of ``doctor``: the installation, the machine, the settings, and what does not work and why."""

from __future__ import annotations

import dataclasses as dc
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from ...errors import EditkitError
from ...files.cache_folder import CACHE_VARIABLE, cache_folder
from ...registry.registry import OWN_DISTRIBUTION, installed
from ..outputs.printing import size_text
from ..settings import (
    CONFIG_VARIABLE,
    all_settings,
    commands_of_all,
    config_faults,
    config_path,
    options_of,
    read_config,
    variable_problems,
)
from .setting_values import value_problems

EXTRAS = {
    "batch": "editkit batch",
    "dask": "the engine dask of editkit batch",
    "detectors": "further edges and depth by controlnet_aux, for control --kind",
    "gguf": "networks in GGUF files, for --transformer",
    "openvino": "networks run by OpenVINO on CPUs, for --accelerate",
    "ray": "the engine ray of editkit batch",
    "t5": "models whose text encoder is T5 and whose folder has no fast tokenizer: FLUX.1, Stable Diffusion 3, PixArt",
    "video": "MP4 videos as input and output",
    "web": "editkit web, the page in the browser",
}
"""Purpose of each optional extra."""

_FOR_DEVELOPERS = frozenset({"docs", "test", "train"})
_CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "f16c", "asimd", "bf16", "sve")
"""Flags of processors that make float32, float16 or bfloat16 faster."""
_VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "NO_COLOR")
"""Variables of libraries that change how editkit works; none of them is a secret."""
_SECONDS = 300
_NVIDIA_DRIVER = Path("/proc/driver/nvidia")
HUB = "https://huggingface.co"

_PROBE = """
import importlib, json
def report(name, function):
    try:
        print(json.dumps([name, function(), None]), flush=True)
    except BaseException as error:
        print(json.dumps([name, None, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"]), flush=True)
def devices():
    import torch
    names = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return [[one.name, one.total_memory, torch.cuda.mem_get_info(number)[0]] for number, one in enumerate(names)]
def cpu():
    import torch
    return [torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()]
report("torch", lambda: importlib.import_module("torch").__version__)
report("cpu", cpu)
report("devices", devices)
report("diffusers", lambda: importlib.import_module("diffusers").AutoencoderKL.__name__)
report("transformers", lambda: importlib.import_module("transformers").CLIPTextModel.__name__)
"""
"""Program that imports the heavy libraries, each of which may be broken, or end the process."""


@dc.dataclass(frozen=True)
class Finding:
    """One fact, and the problem that it is, if it is one."""

    name: str
    value: Any
    problem: str = ""


Check = Callable[[], Iterator[Finding]]


def checks_of(*, online: bool) -> dict[str, Check]:
    """Return the check of each section of the report; the hub is asked only if ``online``."""
    checks = {
        "versions": _versions,
        "machine": _machine,
        "libraries": _libraries,
        "models": _models,
        "caches": _caches,
        "plugins": _plugins,
        "extras": _extras,
        "settings": _settings,
    }
    return {**checks, "hub": _hub} if online else checks


def _versions() -> Iterator[Finding]:
    yield Finding("python", f"{platform.python_version()} at {sys.executable}")
    yield Finding("editkit", f"{importlib.metadata.version(OWN_DISTRIBUTION)} at {Path(__file__).parents[2]}")
    yield Finding("system", platform.platform())
    for requirement in importlib.metadata.requires(OWN_DISTRIBUTION) or []:
        if ";" not in requirement:
            yield _version_of(requirement)


def _version_of(requirement: str) -> Finding:
    """Return the installed version of a required package."""
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(wanted.name, None, f"not installed: pip install '{requirement}'")
    fits = wanted.specifier.contains(version, prereleases=True)
    return Finding(wanted.name, version, "" if fits else f"{wanted.specifier} is required: pip install '{requirement}'")


def _machine() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("cores", cores)
    info = Path("/proc/cpuinfo")
    if info.is_file():
        flags = set(
            re.findall(r"[a-z0-9_]+", " ".join(re.findall(r"(?m)^(?:flags|Features)\s*:(.*)$", info.read_text())[:1]))
        )
        yield Finding("cpu features", [flag for flag in _CPU_FEATURES if flag in flags])
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        page = os.sysconf("SC_PAGE_SIZE")
        total, unused = (size_text(page * os.sysconf(f"SC_{kind}_PAGES")) for kind in ("PHYS", "AVPHYS"))
        yield Finding("memory", f"{total}, {unused} of it unused")


def _libraries() -> Iterator[Finding]:
    """Import torch, diffusers and transformers in a process of its own."""
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=_SECONDS, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    for name, value, problem in found:
        if problem:
            yield Finding(name, None, problem)
        elif name == "devices":
            yield from _device_findings(value)
        elif name == "cpu":
            yield Finding("threads", value[0])
            yield Finding("cpu kernels", value[1])
        else:
            yield Finding(name, "can be imported")
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        yield Finding(
            "process", f"exit status {done.returncode}", f"importing the libraries ended the process: {reason}"
        )


def _device_findings(devices: list[tuple[str, int, int]]) -> Iterator[Finding]:
    """Yield the GPUs, by name, memory and free memory, and the defaults that follow from them."""
    gpus = [
        f"cuda:{number} {name}, {size_text(size)}, {size_text(free)} free"
        for number, (name, size, free) in enumerate(devices)
    ]
    unused = not gpus and _NVIDIA_DRIVER.exists() and os.environ.get("CUDA_VISIBLE_DEVICES", "0") not in ("", "-1")
    reason = "there is a driver of NVIDIA, and torch finds no GPU: install a build of torch for CUDA"
    yield Finding("GPUs", gpus, reason if unused else "")
    yield Finding("default device", "cuda" if gpus else "cpu")
    yield Finding("default dtype", "the half precision of the weights, else bfloat16" if gpus else "float32")


def _models() -> Iterator[Finding]:
    registry = installed()
    for name, spec in registry.specs["models"].items():
        default = " (default)" if spec.default else ""
        try:
            yield Finding(f"{name}{default}", str(registry.load("models", name)))
        except EditkitError as error:
            yield Finding(f"{name}{default}", None, str(error))


def _caches() -> Iterator[Finding]:
    own = cache_folder()
    if own is None:
        yield Finding("editkit", None, f"there is no home for a cache folder: set {CACHE_VARIABLE}")
    else:
        yield _folder_finding("editkit", own)
    from huggingface_hub.constants import HF_HUB_CACHE

    yield _folder_finding("huggingface hub", Path(HF_HUB_CACHE))


def _folder_finding(name: str, folder: Path) -> Finding:
    """Return size and free space of a folder, which need not exist."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    sizes = [file.lstat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    free = size_text(shutil.disk_usage(existing).free)
    problem = "" if os.access(existing, os.W_OK) else f"{existing} cannot be written to"
    return Finding(name, f"{folder}, {len(sizes)} files, {size_text(sum(sizes))}; {free} free", problem)


def _plugins() -> Iterator[Finding]:
    registry = installed()
    own = [plugin for plugin in registry.plugins if plugin.source.distribution == OWN_DISTRIBUTION]
    yield Finding("of editkit", len(own))
    for plugin in registry.plugins:
        if plugin not in own:
            yield Finding(plugin.source.name, f"{plugin.source.distribution} {plugin.source.version}")
    for failure in registry.failures:
        yield Finding(failure.source.name, failure.source.distribution, failure.reason)


def _extras() -> Iterator[Finding]:
    """Yield each optional extra with what it gives, and the packages that are missing for it."""
    metadata = importlib.metadata.metadata(OWN_DISTRIBUTION)
    requirements = importlib.metadata.requires(OWN_DISTRIBUTION) or []
    for extra in sorted(set(metadata.get_all("Provides-Extra") or ()) - _FOR_DEVELOPERS):
        missing = [name for name in _packages_of(extra, requirements) if not _is_installed(name)]
        state = f"not installed ({', '.join(missing)}): pip install 'editkit[{extra}]'" if missing else "installed"
        yield Finding(extra, f"{state}; for {EXTRAS.get(extra, 'a plugin')}")


def _packages_of(extra: str, requirements: list[str]) -> Iterator[str]:
    """Yield the packages of an extra, those of extras that it contains too."""
    from packaging.requirements import Requirement

    for one in map(Requirement, requirements):
        if one.marker is None or not one.marker.evaluate({"extra": extra}) or one.marker.evaluate({"extra": ""}):
            continue
        if one.name == OWN_DISTRIBUTION:
            for inner in one.extras:
                yield from _packages_of(inner, requirements)
        else:
            yield one.name


def _is_installed(name: str) -> bool:
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


def _settings() -> Iterator[Finding]:
    path = config_path()
    yield Finding("config file", f"{path}{'' if path and path.is_file() else ' (there is none)'}" if path else "none")
    config, commands = read_config(), commands_of_all(click.get_current_context())
    options = {name: set(options_of(command)) for name, command in commands.items()}
    for setting in all_settings(config):
        yield Finding(setting.origin, str(setting.value))
    for name in (CACHE_VARIABLE, CONFIG_VARIABLE, *_VARIABLES):
        if name in os.environ:
            yield Finding(name, os.environ[name])
    faults = (fault.message for fault in config_faults(config, options))
    for problem in (*faults, *variable_problems(options), *value_problems(config, commands)):
        yield Finding("error", None, problem)


def _hub() -> Iterator[Finding]:
    import urllib.request

    with urllib.request.urlopen(urllib.request.Request(HUB, method="HEAD"), timeout=10) as response:
        yield Finding(HUB, f"answers with status {response.status}")
