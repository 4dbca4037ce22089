"""Folders behind a URL, through tensorstore: s3://bucket/path, gs://bucket/path, and http(s)://host/path to read.

Provides the part of pathlib that the formats use. The source of credentials is decided here; they are neither taken
from a URL nor shown. An object store has no renaming, so the metadata that make chunks a complete image are written
last.
"""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ..errors import OUTPUT_FILES, ExportError, InputError, as_marked, setting

if TYPE_CHECKING:
    import tensorstore

__all__ = ["RemotePath", "RemoteTarget", "is_url", "remote_errors"]

log = logging.getLogger("pixelforest.export")

_SCHEMES = ("s3", "gs", "http", "https")
_REGION = "us-east-1"  # for servers without one
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # a single letter is a drive
_SERVER = r"[A-Za-z0-9_.:\[\]-]+"


def is_url(text: str) -> bool:
    """Return True if an input, an output or a template is a URL and not a path."""
    return _URL.match(text) is not None


class RemotePath:
    """Folder or file behind a URL. No request is sent before something is read.

    Raises InputError for invalid URLs.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES:
            known = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
            raise InputError(f"cannot open {_harmless(url)}: of URLs, {known} are known")
        if "@" in parts.netloc or parts.query or parts.fragment or not re.fullmatch(_SERVER, parts.netloc):
            raise InputError(
                f"cannot open {_harmless(url)}: write {parts.scheme}://<host or bucket>/<path>; keys come from the "
                "environment and not from a URL"
            )
        path = unquote(parts.path) if parts.scheme.startswith("http") else parts.path
        names = [name for name in path.split("/") if name]
        if any(name in (".", "..") or "\\" in name or "\x00" in name for name in names):
            raise InputError(f"cannot open {_harmless(url)}: its path has parts that lead elsewhere")
        self.scheme, self.server, self._names = parts.scheme, parts.netloc, tuple(names)

    def __str__(self) -> str:
        return "/".join((f"{self.scheme}://{self.server}", *self._names))

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self}/{name}")

    def joinpath(self, *names: str) -> RemotePath:
        return RemotePath("/".join((str(self), *names)))

    @property
    def name(self) -> str:
        return self._names[-1] if self._names else self.server

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    @property
    def parents(self) -> tuple[RemotePath, ...]:
        """Parent folders, the nearest first."""
        start = f"{self.scheme}://{self.server}"
        return tuple(RemotePath("/".join((start, *self._names[:i]))) for i in range(len(self._names) - 1, 0, -1))

    def relative_to(self, folder: RemotePath) -> Path:
        return Path(*self._names).relative_to(Path(*folder._names))

    def is_file(self) -> bool:
        """Return True if an object of exactly this name can be read. Raises InputError if the server cannot tell."""
        with suppress(FileNotFoundError):
            self.open()
            return True
        return False

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Open the object for reading. Raises FileNotFoundError, InputError."""
        assert mode == "rb"
        with remote_errors(self):
            found = _open_store(_spec(self, self._names[:-1])).read(self.name).result()
        if found.state != "value":
            raise FileNotFoundError(str(self))
        return io.BytesIO(found.value)

    def store(self) -> dict[str, Any]:
        """Return the folder as tensorstore's ``kvstore`` specification. Raises InputError."""
        return _spec(self, self._names)


def _spec(folder: RemotePath, names: tuple[str, ...]) -> dict[str, Any]:
    """Return a folder of the same server as tensorstore's ``kvstore`` specification."""
    path = "".join(f"{name}/" for name in names)
    if folder.scheme == "gs":
        return {"driver": "gcs", "bucket": folder.server, "path": path}
    if folder.scheme != "s3":
        return {"driver": "http", "base_url": f"{folder.scheme}://{folder.server}", "path": f"/{path}"}
    spec: dict[str, Any] = {"driver": "s3", "bucket": folder.server, "path": path, "aws_credentials": _credentials()}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if endpoint:
        spec |= {"endpoint": endpoint.rstrip("/"), "aws_region": region or _REGION}
    elif region:
        spec["aws_region"] = region
    return spec


def _credentials() -> dict[str, str]:
    """Choose the source of credentials; absent ones are left out, since the library would log them."""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return {"type": "environment"}
    if os.environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") or os.environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        return {"type": "ecs"}
    home = Path.home() / ".aws"
    named = [os.environ.get(name) for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE")]
    files = [*(Path(text) for text in named if text), home / "credentials", home / "config"]
    if any(file.is_file() for file in files):
        return {"type": "default" if os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE") else "profile"}
    return {"type": "anonymous"}


@cache
def _context() -> tensorstore.Context:
    import tensorstore

    retries = {"max_retries": 6, "initial_delay": "0.2s", "max_delay": "8s"}
    names = ("s3_request_retries", "gcs_request_retries", "http_request_retries")
    return tensorstore.Context(dict.fromkeys(names, retries))


def _open_store(spec: dict[str, Any]) -> tensorstore.KvStore:
    import tensorstore

    store: tensorstore.KvStore = tensorstore.KvStore.open(spec, context=_context()).result()
    return store


@contextmanager
def remote_errors(what: object) -> Iterator[None]:
    """Turn tensorstore's exceptions about a server into an InputError in one line, without credentials."""
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise InputError(f"cannot open {what}: {explain(error)}") from None


def explain(error: BaseException) -> str:
    """Describe the server's answer in one line, with advice, without any part of the request."""
    text = " ".join(str(error).split())
    code = re.search(r"HTTP response code: (\d+)", text)
    if re.search(r"PERMISSION_DENIED|UNAUTHENTICATED|code: 40[13]|AccessDenied|credentials", text):
        return (
            "the server refuses it without other keys; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or "
            "GOOGLE_APPLICATION_CREDENTIALS, or check what these may do"
        )
    if "NoSuchBucket" in text:
        return "there is no such bucket"
    if re.search(r"UNAVAILABLE|connect|resolve host|timed? ?out|DEADLINE", text, re.IGNORECASE):
        return "no answer from the server; check the address, and AWS_ENDPOINT_URL if it is set"
    return f"the server answered {code[1]}" if code else re.sub(r" \[.*$", "", re.sub(r"^[A-Z_]{4,}: ", "", text))[:200]


def _harmless(url: str) -> str:
    """Remove everything from a URL that may be a credential."""
    return re.sub(r"[?#].*$", "", re.sub(r"://[^/@]*@", "://", url))


_UNFINISHED = ".pixelforest-unfinished"  # next to unfinished data, and remains if the process is killed


class RemoteTarget:
    """Folder behind a URL that is being written. Chunks go to their final place, their metadata afterwards.

    Until ``commit`` nothing there is a valid image; ``discard`` removes everything written. Unfinished data, also of a
    killed process, are marked by a key of their own, which names the owner.

    run  name of a run whose processes all own what they write, which is kept until ``commit``; "": one process does
    """

    def __init__(self, folder: RemotePath, *, run: str = "") -> None:
        if folder.scheme in ("http", "https"):
            raise ExportError(f"cannot write {folder}: http is for reading; write to s3:// or gs://, or to a folder")
        if not folder._names:
            raise ExportError(f"cannot write {folder}: name a folder in the bucket")
        self.folder = folder
        self._later: dict[str, bytes] = {}
        self._begun: str | None = None
        self._token, self._is_kept = (run or os.urandom(8).hex()).encode(), bool(run)
        self._is_done = False
        with self.errors():
            self._store = _open_store(folder.store())

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn tensorstore's exceptions into an ExportError about the target."""
        try:
            yield
        except ExportError:
            raise
        except (ValueError, RuntimeError, OSError, InputError) as error:
            if isinstance(error, InputError):
                raise ExportError(error.render(as_marked)) from None
            raise ExportError(f"cannot write {self.folder}: {explain(error)}") from None

    def read(self, key: str) -> bytes | None:
        """Read the value of a key of the folder; None if there is none. Raises ExportError."""
        with self.errors():
            found = self._store.read(key).result()
            return bytes(found.value) if found.state == "value" else None

    def keys(self, prefix: str = "", *, suffix: str = "") -> list[str]:
        """List all keys that begin and end so. Raises ExportError."""
        with self.errors():
            found = sorted(bytes(key).decode(errors="replace") for key in self._store.list(_range(prefix)).result())
        return [key for key in found if key.endswith(suffix)]

    def values(self, prefix: str = "", *, suffix: str = "") -> Iterator[tuple[str, bytes]]:
        """Yield all keys that begin and end so, with their values. Raises ExportError."""
        for key in self.keys(prefix, suffix=suffix):
            content = self.read(key)
            if content is not None:
                yield key, content

    def holds(self, prefix: str = "") -> bool:
        """Return True if there is anything below ``prefix``. Raises ExportError."""
        with self.errors():
            return bool(self._store.list(_range(prefix)).result())

    def remove(self, prefix: str = "") -> None:
        """Remove everything below ``prefix``. Raises ExportError."""
        with self.errors():
            self._store.delete_range(_range(prefix)).result()

    def check_free(self, what: str, *, prefix: str = "", may_replace: bool) -> None:
        """Raise ExportError if another run is writing below ``prefix``, or was killed, unless it may be replaced."""
        if not may_replace and self.is_unfinished(prefix):
            raise ExportError(
                f"cannot write {what}: another run is writing there, or was killed before it was done; if none is, "
                f"{setting('overwrite')} clears away what it left"
            )

    def is_unfinished(self, prefix: str = "") -> bool:
        """Return True if a write below ``prefix`` was neither completed nor removed. Raises ExportError."""
        return self.read(prefix + _UNFINISHED) is not None

    def is_begun(self, prefix: str = "") -> bool:
        """Return True if the owner of this target is writing below ``prefix``. Raises ExportError."""
        return self.read(prefix + _UNFINISHED) == self._token

    def check_unused(self, prefix: str = "") -> None:
        """Raise ExportError if there is anything below ``prefix`` that the owner of this target has not written."""
        # Another process of the run may begin at this moment, by its mark.
        if not self.is_begun(prefix) and self.holds(prefix) and not self.is_begun(prefix):
            raise ExportError(
                f"cannot write {self.folder}/{prefix}: something exists there, which runs that can be continued do not "
                f"replace behind a URL; remove it before, or choose another place with {OUTPUT_FILES}"
            )

    def begin(self, *first: str, prefix: str = "") -> None:
        """Mark the place as being written and clear it, certain keys first. Raises ExportError.

        A run that is kept clears nothing: its processes begin at any time.
        """
        if self._is_kept:
            self.check_unused(prefix)
            self._begun = prefix + _UNFINISHED
            self.put(self._begun, self._token)
            return
        if self.is_unfinished(prefix):
            log.warning("%s: what a run that was killed had left there is removed", self.folder)
        import tensorstore

        mark, place = prefix + _UNFINISHED, _range(prefix)
        around = [
            tensorstore.KvStore.KeyRange(inclusive_min=place.inclusive_min, exclusive_max=mark),
            tensorstore.KvStore.KeyRange(inclusive_min=mark + "\0", exclusive_max=place.exclusive_max),
        ]
        with self.errors():
            # The mark comes first and stays: if this process is killed from here on, the data are marked as unfinished.
            self._store.write(mark, self._token).result()
            self._begun = mark
            for key in first:
                self._store.write(key, None).result()
            for part in around:
                self._store.delete_range(part).result()

    def _is_ours(self) -> bool:
        """Return False if another run has taken the place since."""
        return self._begun is None or self.read(self._begun) == self._token

    def _check_ours(self) -> None:
        """Raise ExportError if another run has taken the place since."""
        with self.errors():
            if not self._is_ours():
                raise ExportError(
                    f"cannot complete {self.folder}: another run has begun to write there since; "
                    "what is there now is its result, and may lack parts"
                )

    def put(self, key: str, content: bytes) -> None:
        """Write a value at once. Raises ExportError."""
        with self.errors():
            self._store.write(key, content).result()

    def holds_only(self, key: str) -> bool:
        """Return True if the folder contains nothing else. Raises ExportError."""
        with self.errors():
            return [bytes(found) for found in self._store.list().result()] == [key.encode()]

    def check_keys(self, keys: Iterable[str]) -> None:
        """Raise ExportError unless all of these keys exist."""
        wanted = set(keys)
        if not wanted:
            return
        self._check_ours()
        shared = os.path.commonprefix([min(wanted), max(wanted)]).rpartition("/")[0]  # noqa: RUF071  # cut at a slash
        with self.errors():
            found = self._store.list(_range(f"{shared}/" if shared else "")).result()
            wanted.difference_update(bytes(key).decode(errors="surrogateescape") for key in found)
        if wanted:
            raise ExportError(
                f"cannot complete {self.folder}: {len(wanted)} of the objects that were written, such as "
                f"{min(wanted)}, are gone; somebody has removed them since"
            )

    def put_later(self, key: str, content: bytes) -> None:
        """Write a value in ``commit``: deeper keys first."""
        self._later[key] = content

    def commit(self) -> None:
        """Complete the folder. Raises ExportError."""
        with self.errors():
            self._check_ours()
            for key in sorted(self._later, key=lambda k: (-k.count("/"), k)):
                self._store.write(key, self._later[key]).result()
            self._is_done = True
            if self._begun is not None:
                self._store.write(self._begun, None).result()
        log.info("Wrote %s", self.folder)

    def discard(self, prefix: str = "") -> None:
        """Remove everything written below ``prefix``, unless it is complete or kept. Never raises."""
        if not (self._is_done or self._is_kept):
            self._is_done = True
            with suppress(Exception):
                if self._is_ours():
                    self.remove(prefix)
                return
            log.warning("%s: what was begun there could not be removed; it is not complete", self.folder)


def _range(prefix: str) -> Any:
    import tensorstore

    if not prefix:
        return tensorstore.KvStore.KeyRange()
    return tensorstore.KvStore.KeyRange(inclusive_min=prefix, exclusive_max=prefix[:-1] + chr(ord(prefix[-1]) + 1))
