"""Artifacts on disk, each under a seal.

    DIRECTORY/key                                     32 secret bytes, readable by the owner only
    DIRECTORY/modules/DIGEST.wasm                     the bytes of a module
    DIRECTORY/ENGINE-VERSION/DIGEST.cwasm             what the engine made of it, for workers to map
    DIRECTORY/ENGINE-VERSION/DIGEST.seal              its description, and a keyed digest over both
    DIRECTORY/ENGINE-VERSION/DIGEST.counted.cwasm     the same for the engine that counts memory itself, if wanted
    DIRECTORY/texts/DIGEST.seal                       WebAssembly text → digest of the module it stands for

Files appear whole, by renaming; several schedulers may share a directory. Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from wasmq.engines import engine_version
from wasmq.errors import ConfigError
from wasmq_worker.protocol import DESCRIPTION_REVISION, ENGINE_REVISION, Described

if TYPE_CHECKING:
    from wasmq.compiling import Artifact
    from wasmq.config import ModulesConfig

_KEY_SIZE = 32
_SEAL_SIZE = 32


class _Sealed(msgspec.Struct, array_like=True):
    seal: bytes
    size: int
    body: bytes


class Shelf:
    """The artifacts of one engine in one directory; a private one when the configured one cannot be written.

    `readers` is a group that must be able to read artifacts, where the workers are others than the scheduler.
    """

    def __init__(self, config: ModulesConfig, engine: str, readers: int | None = None) -> None:
        self._limit = config.cache_size
        self._readers = readers
        self._private: Path | None = None
        # Workers, which map the artifacts, have another current directory.
        self._root = Path(config.directory).absolute() if config.directory else default_directory()
        self._label = f"{engine}-{engine_version()}-r{ENGINE_REVISION}.{DESCRIPTION_REVISION}"
        self._key: bytes | None = None

    def find(self, key: str, *, counted: bool = False) -> tuple[Described, Path, int] | None:
        """Return the description, artifact and wasm size of a module by the digest of its bytes or text, or None.

        `counted` asks for the artifact that was compiled for the counted engine although the pool would do.
        """
        self.open()
        digest = self._text(key) or key
        name, kind = _names(digest, counted)
        artifact = self.artifacts / f"{name}.cwasm"
        try:
            sealed = msgspec.msgpack.decode((self.artifacts / f"{name}.seal").read_bytes(), type=_Sealed)
            code = artifact.read_bytes()
            wanted = self._seal(kind, digest, sealed.size, sealed.body, code)
            if not hmac.compare_digest(sealed.seal, wanted):
                return None
            described = msgspec.msgpack.decode(sealed.body, type=Described)
            os.utime(artifact)
            self._show(artifact)
        except (OSError, msgspec.DecodeError):
            return None
        return described, artifact, sealed.size

    def keep(self, made: Artifact, key: str | None, *, counted: bool = False) -> tuple[Described, Path, int]:
        """Put an artifact on the shelf, also under the digest of the text it came from, and return it as `find` does.

        Raises `OSError` when the disk is full.
        """
        self.open()
        # The digest decides which module a job runs: it is computed here, never taken from the compile process.
        digest = hashlib.sha256(made.wasm).hexdigest()
        described = msgspec.structs.replace(made.compiled.description, digest=digest)
        body = msgspec.msgpack.encode(described)
        size = len(made.wasm)
        _write(self._root / "modules" / f"{digest}.wasm", made.wasm)
        name, kind = _names(digest, counted)
        artifact = self.artifacts / f"{name}.cwasm"
        _write(artifact, made.code)
        self._show(artifact)
        seal = self._seal(kind, digest, size, body, made.code)
        _write(self.artifacts / f"{name}.seal", msgspec.msgpack.encode(_Sealed(seal, size, body)))
        if key is not None and key != digest:
            seal = self._seal(b"text", key, 0, digest.encode(), b"")
            _write(self._root / "texts" / f"{key}.seal", msgspec.msgpack.encode(_Sealed(seal, 0, digest.encode())))
        self._prune(keep=artifact)
        return described, artifact, size

    def wasm(self, digest: str) -> bytes | None:
        """Return a module's bytes, or None when they are gone or not what the digest says."""
        try:
            data = (self._root / "modules" / f"{digest}.wasm").read_bytes()
        except OSError:
            return None
        return data if hashlib.sha256(data).hexdigest() == digest else None

    def open_lasting(self) -> None:
        """Open the directory and take no other in its place. Raises `ConfigError` when it cannot be written."""
        try:
            self._key = self._prepare()
        except OSError as error:
            raise ConfigError(
                f"modules.directory: {self._root}: {error.strerror or error}; jobs that outlive the process need their "
                "modules kept"
            ) from None

    def close(self) -> None:
        """Remove a private directory."""
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)

    @property
    def directory(self) -> Path:
        """Where the modules are."""
        return self._root

    @property
    def artifacts(self) -> Path:
        """Where the artifacts are, and nothing that is not for workers to read."""
        return self._root / self._label

    def open(self) -> Path:
        """Make sure that there is a directory, and return that of the artifacts."""
        if self._key is None:
            try:
                self._key = self._prepare()
            except OSError:
                self._private = self._root = Path(tempfile.mkdtemp(prefix="wasmq-"))
                self._key = self._prepare()
        return self.artifacts

    def _prepare(self) -> bytes:
        for directory in (self._root, self._root / "modules", self._root / "texts", self.artifacts):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._show(self.artifacts)
        path = self._root / "key"
        for _ in range(2):
            try:
                key = path.read_bytes()
            except FileNotFoundError:
                _create(path, secrets.token_bytes(_KEY_SIZE))
                continue
            if len(key) == _KEY_SIZE and path.stat().st_uid == os.geteuid():
                return key
            break
        raise OSError(f"{path}: not a key of {_KEY_SIZE} bytes that belongs to this user")

    def _show(self, path: Path) -> None:
        """Let workers read an artifact, or find one in the directory, if they are others than the scheduler."""
        if self._readers is not None:
            os.chown(path, -1, self._readers)
            path.chmod(0o710 if path.is_dir() else 0o640)

    def _text(self, key: str) -> str | None:
        try:
            sealed = msgspec.msgpack.decode((self._root / "texts" / f"{key}.seal").read_bytes(), type=_Sealed)
        except (OSError, msgspec.DecodeError):
            return None
        wanted = self._seal(b"text", key, 0, sealed.body, b"")
        return sealed.body.decode() if hmac.compare_digest(sealed.seal, wanted) else None

    def _seal(self, kind: bytes, digest: str, size: int, body: bytes, code: bytes) -> bytes:
        state = hashlib.blake2b(digest_size=_SEAL_SIZE, key=self._key or b"", person=b"wasmq shelf 1")
        for part in (kind, self._label.encode(), digest.encode(), str(size).encode(), body, code):
            state.update(len(part).to_bytes(8, "little"))
            state.update(part)
        return state.digest()

    def _prune(self, keep: Path) -> None:
        """Remove the artifacts unused longest while all of them together are above the limit."""
        entries = []
        for path in self._root.glob("*/*.cwasm"):
            try:
                status = path.stat()
            except OSError:
                continue
            entries.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self._limit:
                return
            if path != keep:
                path.with_suffix(".seal").unlink(missing_ok=True)
                path.unlink(missing_ok=True)
                total -= size


def _names(digest: str, counted: bool) -> tuple[str, bytes]:
    """Return the stem of an artifact's files, and what its seal says that it is."""
    return (f"{digest}.counted", b"counted") if counted else (digest, b"artifact")


def default_directory() -> Path:
    """Return where modules are kept when nothing is configured."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "wasmq"


def _create(path: Path, data: bytes) -> None:
    """Make a file that must not be there yet; losing the race to another process is fine."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    temporary.write_bytes(data)
    temporary.chmod(0o600)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    finally:
        temporary.unlink()


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
