"""Cache of inversions on disk: the second edit of an image needs no inversion.

An entry is a safetensors file named by a hash of everything the inversion depends on, so that a stored record equals a
computed one bit for bit. The files hold images of their user; only the user can read them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..diffusion.paths import SamplingPath
from ..errors import EditkitError
from ..files.cache_folder import CACHE_VARIABLE, cache_folder, is_own, untrusted_reason
from ..files.writing import write_atomically
from ..report import Usage
from .cache_key import InversionInputs, digest, to_cpu
from .inversion_file import KEPT
from .record import InversionRecord

LIMIT = 2**30
"""Limit on the bytes of all entries together."""


OURS = re.compile(r"[0-9a-f]{64}\.safetensors|\.editkit-[0-9a-f]{16}\.tmp")
"""Names of entries and of temporary files of a killed process: nothing else is ever removed."""


ABANDONED = 3600.0
"""Age in seconds from which a temporary file counts as left behind."""


RANDOM = "random"
"""Name, in an entry, of the generator's state after an inversion that drew noise."""


class InversionCache:
    """Tensors by key, in files of one folder; the least recently used files are removed above ``limit`` bytes.

    Several processes may share a folder: an entry appears whole, and a missing or damaged file is no entry.
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder = folder
        self.limit = limit

    @classmethod
    def of_user(cls) -> InversionCache | None:
        """Return the cache in the user's cache folder; None for a user without a home."""
        folder = cache_folder()
        return None if folder is None else cls(folder / "inversions")

    def file(self, key: str) -> Path:
        """Return the file of an entry."""
        return self.folder / f"{key}.safetensors"

    def read(self, key: str) -> dict[str, Tensor] | None:
        """Return the tensors of an entry; None if it is missing, damaged, no regular file or of another user."""
        try:
            tensors = _tensors_in(self._own_bytes(self.file(key)), key)
        except OSError:
            return None
        if tensors is not None:
            with contextlib.suppress(OSError):  # a read-only disk still serves the entry
                os.utime(self.file(key))
        return tensors

    def _own_bytes(self, file: Path) -> bytes:
        """Return the bytes of a regular file that only this user writes to; raises OSError for any other."""
        # Without O_NONBLOCK opening a named pipe waits for a writer. Windows has neither flag.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(file, flags), "rb") as opened:
            status = os.fstat(opened.fileno())
            shared = status.st_mode & 0o022 and hasattr(os, "geteuid")
            if not stat.S_ISREG(status.st_mode) or shared or not is_own(status) or status.st_size > self.limit:
                raise PermissionError(errno.EPERM, "not a file of this user")
            return opened.read()

    def write(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Store tensors under a key, unless they alone exceed the limit; raises OSError or EditkitError."""
        from safetensors.torch import save

        header = {"key": key, "sha256": digest({"key": key}, tensors)}
        data = save(to_cpu(tensors), {"editkit": json.dumps(header)})
        if len(data) > self.limit:
            return
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except FileNotFoundError:
            self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700, exist_ok=True)
        self.make_room(len(data))
        write_atomically(self.file(key), data, private=True)

    def load_or_compute(
        self, inputs: InversionInputs, random: torch.Generator, usage: Usage, compute: Callable[[], InversionRecord]
    ) -> InversionRecord:
        """Return the stored record of an inversion, or compute and store it.

        A record that drew noise is stored for the state of ``random``, which is left as computing would leave it.
        ``usage`` counts what ``compute`` costs: a record that cost no network call is not stored.
        """
        key = inputs.key()
        if key is None or not self._is_trusted(usage):
            return compute()
        before, calls = random.get_state(), usage.calls
        plain, random_key = key, digest({"key": key}, {RANDOM: before})
        for one in (plain, random_key):
            tensors = self.read(one)
            if tensors is not None and is_complete(tensors, inputs.latents, inputs.path):
                random.set_state(tensors.pop(RANDOM, before))
                return record_from_tensors(tensors, inputs.latents, inputs.path)
        record = compute()
        if usage.calls == calls:
            return record
        tensors = {"trajectory": record.trajectory} | {
            f"{KEPT}{name}": tensor for name, tensor in record.extras.items()
        }
        after = random.get_state()
        if torch.equal(before, after):
            self.store(plain, tensors, usage)
        else:
            self.store(random_key, {**tensors, RANDOM: after}, usage)
        return record

    def store(self, key: str, tensors: Mapping[str, Tensor], usage: Usage) -> None:
        """Write an entry, or warn once and let the edit go on if that fails."""
        try:
            self.write(key, tensors)
        except (OSError, EditkitError) as error:
            reason = error.__cause__ if isinstance(error.__cause__, OSError) else error
            self._warn(usage, str(getattr(reason, "strerror", None) or reason))

    def _is_trusted(self, usage: Usage) -> bool:
        """Return whether only this user writes to the folder, and warn once if not."""
        reason = untrusted_reason(self.folder)
        if reason:
            self._warn(usage, reason)
        return reason is None

    def _warn(self, usage: Usage, reason: str) -> None:
        usage.warn(
            f"inversions cannot be kept in {self.folder} ({reason}): name another folder in {CACHE_VARIABLE}, or "
            "switch the cache off"
        )

    def make_room(self, size: int) -> None:
        """Remove the least recently used entries until ``size`` more bytes are within the limit."""
        found = []
        for file in filter(lambda file: OURS.fullmatch(file.name), self.folder.iterdir()):
            with contextlib.suppress(OSError):  # another process has removed it
                status = file.lstat()
                if file.suffix != ".tmp" or status.st_mtime < time.time() - ABANDONED:
                    found.append((status.st_mtime_ns, status.st_size, file))
        total = size
        for _, used, file in sorted(found, reverse=True):
            total += used
            if total > self.limit:
                with contextlib.suppress(OSError):
                    file.unlink()


def _tensors_in(data: bytes, key: str) -> dict[str, Tensor] | None:
    """Return the tensors in the bytes of an entry; None if it is damaged or of another key."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8:end])["__metadata__"]["editkit"])
        tensors = load(data)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError):
        return None
    return tensors if header == {"key": key, "sha256": digest({"key": key}, tensors)} else None


def is_complete(tensors: Mapping[str, Tensor], latents: Tensor, path: SamplingPath) -> bool:
    """Return whether tensors are a finite record of latents (S, C, h, w) on a path."""
    trajectory = tensors.get("trajectory")
    if trajectory is None or trajectory.shape != (len(path), *latents.shape):
        return False
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())


def record_from_tensors(tensors: Mapping[str, Tensor], latents: Tensor, path: SamplingPath) -> InversionRecord:
    """Return the tensors of an entry as a record on the device of ``latents``."""
    # Copied into memory that torch aligned, like a computed record: rounding may depend on the alignment.
    placed = {name: tensor.to(latents.device, copy=True) for name, tensor in tensors.items()}
    trajectory = placed.pop("trajectory")
    return InversionRecord(trajectory, path, {name.removeprefix(KEPT): tensor for name, tensor in placed.items()})
