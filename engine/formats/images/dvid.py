"""DVID: results sent to a data instance on a server, block by block during the computation.

    http://<host>[:port]/api/node/<uuid>/<instance>

The documented HTTP interface of DVID is used; it has only been tested with a stand-in server. Unlike in ilastik the
position of a cut-out region is kept. Voxels around it in the same blocks are read from the server and sent back.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, unquote, urlencode

import numpy as np

from ....box import Box
from ...errors import OUTPUT_FILES, ExportError, setting
from ...storage.chunks import ChunkAssembler
from ..spec import ImageSpec, ImageWriter, Limits, OutputFormat

__all__ = ["OUTPUTS"]

log = logging.getLogger("pixelforest.export")

_URL = re.compile(r"(?P<server>https?://[^/?#][^?#]*?)/api/node/(?P<uuid>[^/?#]+)/(?P<name>[^/?#]+)/?")
_AXES = "zyxc"
_DIMS = "0_1_2"  # all three, x first
_BLOCK = 32  # side of the blocks of an instance that is created here
_POST_BYTES = 1 << 21  # sent at once, as whole blocks
_TIMEOUT_S = 120.0
_BUSY_LIMIT_S = 600.0  # time limit for a busy server
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.25, 15.0
_MAX_BROKEN = 3  # failed connections per request

# type of the voxels sent -> type of an instance for them
_INSTANCES = {"uint8": "uint8blk", "uint64": "labelblk"}


class _Instance:
    """Data instance of a server, existing or not."""

    def __init__(self, url: str) -> None:
        match = _URL.fullmatch(url)
        if match is None:
            raise ExportError(
                f"the format dvid needs {OUTPUT_FILES}=http://<host>:<port>/api/node/<uuid>/<name>, not {url}"
            )
        if "@" in match["server"]:
            raise ExportError(f"cannot write {url}: user names and passwords in a URL are not used; leave them out")
        self.url, self.name = url, unquote(match["name"])
        self._server, self._uuid = match["server"], quote(unquote(match["uuid"]), safe="")

    def describe(self, what: str) -> dict[str, Any] | None:
        """Request its ``metadata`` or ``info``; None if there is no such instance. Raises ExportError."""
        answer = self._ask("GET", self._node(what), missing_is_none=True)
        if answer is None:
            return None
        try:
            return dict(json.loads(answer))
        except (ValueError, TypeError):
            raise ExportError(f"cannot write {self.url}: this does not look like a DVID server") from None

    def create(self, typename: str) -> None:
        settings = {"typename": typename, "dataname": self.name, "BlockSize": ",".join([str(_BLOCK)] * 3)}
        self._ask("POST", f"/api/repo/{self._uuid}/instance", body=json.dumps(settings).encode(), kind="json")

    def remove(self) -> None:
        self._ask("DELETE", f"/api/repo/{self._uuid}/{quote(self.name, safe='')}", {"imsure": "true"}, limit_s=0.0)

    def read(self, box: Box, dtype: np.dtype) -> np.ndarray:
        """Read the voxels (z, y, x) of whole blocks; 0 where nothing was ever written."""
        answer = self._ask("GET", self._raw(box), {"throttle": "on"}) or b""
        if len(answer) != box.size * dtype.itemsize:
            raise ExportError(f"cannot write {self.url}: the server sent {len(answer)} bytes for the blocks of {box}")
        return np.frombuffer(answer, dtype.newbyteorder("<")).reshape(box.shape).astype(dtype)

    def write(self, box: Box, voxels: np.ndarray) -> None:
        """Replace the voxels (z, y, x) of whole blocks."""
        body, query = voxels.astype(voxels.dtype.newbyteorder("<"), copy=False).tobytes(), {"throttle": "on"}
        if voxels.dtype == np.uint64:
            import imagecodecs

            body, query["compression"] = bytes(imagecodecs.lz4_encode(body)), "lz4"
        self._ask("POST", self._raw(box), query, body=body)

    def _node(self, what: str) -> str:
        return f"/api/node/{self._uuid}/{quote(self.name, safe='')}/{what}"

    def _raw(self, box: Box) -> str:
        size, offset = ("_".join(str(n) for n in reversed(sides)) for sides in (box.shape, box.start))
        return self._node(f"raw/{_DIMS}/{size}/{offset}")

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: bytes | None = None,
        kind: str = "octet-stream",
        missing_is_none: bool = False,
        limit_s: float | None = None,
    ) -> bytes | None:
        """Send a request, repeated as long as the server is busy. Raises ExportError."""
        from http.client import HTTPException
        from urllib.error import HTTPError, URLError
        from urllib.request import Request, urlopen

        parameters = urlencode({**(query or {}), "u": "pixelforest", "app": "pixelforest"})
        request = Request(f"{self._server}{path}?{parameters}", data=body, method=method)
        request.add_header("Content-Type", f"application/{kind}")
        deadline = time.monotonic() + (_BUSY_LIMIT_S if limit_s is None else limit_s)
        pause, broken = _FIRST_PAUSE_S, 0
        while True:
            try:
                with urlopen(request, timeout=_TIMEOUT_S) as answer:
                    return bytes(answer.read())
            except HTTPError as error:
                with error:
                    if error.code == 404 and missing_is_none:
                        return None
                    text = " ".join(error.read(300).decode("utf-8", "replace").split())
                if error.code != 503 or time.monotonic() >= deadline:
                    raise ExportError(
                        f"cannot write {self.url}: the server answered {error.code} {error.reason} to {method} {path}"
                        f"{f': {text}' if text else ''}"
                    ) from None
            except (OSError, HTTPException) as error:
                reason = error.reason if isinstance(error, URLError) else error
                broken += 1
                if not isinstance(reason, ConnectionResetError | BrokenPipeError) or broken >= _MAX_BROKEN:
                    raise ExportError(
                        f"cannot write {self.url}: no answer from {self._server} ({reason}); check the address in "
                        f"{OUTPUT_FILES}"
                    ) from error
            # random, so that many clients do not retry at the same time
            time.sleep((0.5 + os.urandom(1)[0] / 512) * pause)
            pause = min(2 * pause, _MAX_PAUSE_S)


class DvidWriter(ImageWriter):
    """Writer that sends voxels to the server as soon as whole blocks are complete.

    A server cannot replace an instance in one step, so an interrupted result is visible: an instance created for it is
    removed again, an existing one remains incomplete.
    """

    def __init__(self, url: str, internal_path: str, spec: ImageSpec) -> None:
        self._instance = _Instance(url)
        if spec.axes != _AXES or spec.shape[3] != 1:
            raise ExportError(f"cannot write {url}: DVID takes axes {_AXES} with one channel, not {spec.axes}")
        self._dtype = _stored_dtype(spec)
        self._start = spec.offset[:3]
        self._image = Box.whole(spec.shape[:3]).shift(self._start)
        self._is_finished = self._has_sent = False
        self._block = self._prepare()
        blocks = max(1, round((_POST_BYTES / (np.prod(self._block) * self._dtype.itemsize)) ** (1 / 3)))
        self._chunk = tuple(n * blocks for n in self._block)
        self._assembler = ChunkAssembler(self._image.shape, self._chunk, self._dtype, start=self._start)
        self.chunks = (*(min(n, size) for n, size in zip(self._chunk, spec.shape[:3], strict=True)), 1)

    def _prepare(self) -> tuple[int, ...]:
        """Create the instance, or check an existing one; returns its blocks' size along z, y and x."""
        self._is_new = _find_instance(self._instance, self._dtype) is None
        if self._is_new:
            self._instance.create(_INSTANCES[self._dtype.name])
            return (_BLOCK,) * 3
        extended = (self._instance.describe("info") or {}).get("Extended") or {}
        sizes = extended.get("BlockSize") or [_BLOCK] * 3
        if len(sizes) != 3 or not all(isinstance(n, int) and 0 < n <= 1024 for n in sizes):
            raise ExportError(f"cannot write {self._instance.url}: the server says its blocks have the size {sizes}")
        return tuple(reversed(sizes))

    def write(self, box: Box, data: np.ndarray) -> None:
        place = Box(box.start[:3], box.stop[:3]).shift(self._start)
        for corner, chunk in self._assembler.add(place, data[..., 0]):
            self._send(corner, chunk)

    def _send(self, corner: tuple[int, ...], chunk: np.ndarray) -> None:
        """Send the blocks of a chunk that overlap the image."""
        inside = Box(corner, tuple(a + n for a, n in zip(corner, self._chunk, strict=True))).intersect(self._image)
        blocks = Box(
            tuple(a // n * n for a, n in zip(inside.start, self._block, strict=True)),
            tuple(-(-b // n) * n for b, n in zip(inside.stop, self._block, strict=True)),
        )
        voxels = chunk[blocks.relative_to(corner).slices()]
        if blocks != inside and not self._is_new:
            voxels = self._instance.read(blocks, self._dtype)
            voxels[inside.relative_to(blocks.start).slices()] = chunk[inside.relative_to(corner).slices()]
        self._has_sent = True
        self._instance.write(blocks, voxels)

    def finish(self) -> list[Path]:
        if self._assembler.missing:
            raise ExportError(
                f"cannot complete {self._instance.url}: {self._assembler.missing} voxels were never written"
            )
        self._is_finished = True
        log.info("Wrote %s", self._instance.url)
        return []

    def abort(self) -> None:
        if self._is_finished:
            return
        self._is_finished = True
        if self._is_new:
            with suppress(Exception):
                self._instance.remove()
                return
        if self._is_new or self._has_sent:
            log.warning("%s: the result that is now in this instance is not complete", self._instance.url)


def check_url(url: str, internal_path: str, spec: ImageSpec) -> None:
    """Raise ExportError unless the server answers and an existing instance can take the result."""
    _find_instance(_Instance(url), _stored_dtype(spec))


def _stored_dtype(spec: ImageSpec) -> np.dtype:
    """Type of the stored voxels: uint32 becomes 64-bit labels, the only ones an instance can be created for."""
    return np.dtype(np.uint8 if spec.dtype == np.uint8 else np.uint64)


def _find_instance(instance: _Instance, dtype: np.dtype) -> Mapping[str, Any] | None:
    """Request the description of an existing instance; None if there is none.

    Raises ExportError if it is of another kind than the result needs."""
    metadata = instance.describe("metadata")
    if metadata is None:
        return None
    values = (metadata.get("Properties") or {}).get("Values") or []
    found = [str(v.get("DataType")) for v in values if isinstance(v, dict)]
    if found != [dtype.name]:
        held = " and ".join(found) or "no voxels"
        raise ExportError(
            f"cannot write {instance.url}: the instance there holds {held}, but the result is one channel of "
            f"{dtype}; choose another name or {setting('export_dtype')}"
        )
    return metadata


def _refuse_file(path: Path, internal_path: str, spec: ImageSpec) -> NoReturn:
    raise ExportError(f"the format dvid needs {OUTPUT_FILES}=http://<host>:<port>/api/node/<uuid>/<name>, not {path}")


OUTPUTS = (
    OutputFormat(
        "dvid",
        "",
        _refuse_file,
        Limits(frozenset({"uint8", "uint32", "uint64"}), max_dims=3, channels=frozenset({1})),
        "an instance on a DVID server: one channel of uint8, or labels of 64 bits",
        streams=True,
        fixed_axes=_AXES,
        open_url=DvidWriter,
        check_place=_refuse_file,
        check_url=check_url,
    ),
)
