"""DVID: what is sent to a server, checked by one that runs here and is as strict as the interface says."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import imagecodecs
import numpy as np
import pytest

from pixelforest.box import Box
from pixelforest.engine.errors import ExportError, UsageError
from pixelforest.engine.formats import output_format
from pixelforest.engine.formats.images import dvid
from pixelforest.engine.formats.spec import ImageSpec, ImageWriter

UUID = "3f8c"
DTYPES = {"uint8blk": "uint8", "labelblk": "uint64", "uint16blk": "uint16"}


class Instance:
    """Blocks by their number along z, y, x; any position of space is allowed."""

    def __init__(self, typename: str, block: tuple[int, int, int]) -> None:
        self.typename, self.dtype, self.block = typename, np.dtype(DTYPES[typename]), block  # block: z, y, x
        self.blocks: dict[tuple[int, ...], np.ndarray] = {}

    def each_block(self, box: Box) -> Iterator[tuple[tuple[int, ...], Box]]:
        for piece in box.split(self.block):
            yield tuple(a // n for a, n in zip(piece.start, self.block, strict=True)), piece

    def read(self, box: Box) -> np.ndarray:
        """Any box, aligned or not."""
        start = tuple(a // n * n for a, n in zip(box.start, self.block, strict=True))
        stop = tuple(-(-b // n) * n for b, n in zip(box.stop, self.block, strict=True))
        around = Box(start, stop)
        voxels = np.zeros(around.shape, self.dtype)
        for number, piece in self.each_block(around):
            if number in self.blocks:
                voxels[piece.relative_to(start).slices()] = self.blocks[number]
        return voxels[box.relative_to(start).slices()]

    def write(self, box: Box, voxels: np.ndarray) -> None:
        for number, piece in self.each_block(box):
            self.blocks[number] = voxels[piece.relative_to(box.start).slices()].copy()


class Server(ThreadingHTTPServer):
    """Keeps voxels, refuses what a DVID server refuses, and is busy or drops a connection now and then."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.instances: dict[str, Instance] = {}
        self.requests: list[str] = []
        self.lock, self.chance = threading.Lock(), random.Random(4)
        self.busy = self.broken = 0.0  # how often
        self.answers: dict[str, tuple[int, bytes]] = {}  # by method and the end of the path

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api/node/{UUID}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_all(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts, server = urlsplit(self.path), self.server
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        with server.lock:
            server.requests.append(f"{self.command} {self.path}")
            chance = server.chance.random()
            for end, (status, text) in server.answers.items():
                if f"{self.command} {parts.path}".endswith(end):
                    return self.answer(status, text)
            if chance < server.broken:
                self.close_connection = True
                return None
            if query.get("throttle") == "on" and chance < server.broken + server.busy:
                return self.answer(503, b"busy")
            assert query["app"] == "pixelforest"
            assert query["u"]
            status, text = self.serve(parts.path, query, body)
        return self.answer(status, text)

    do_GET = do_POST = do_DELETE = handle_all  # noqa: N815

    def serve(self, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes]:
        instances = self.server.instances
        if self.command == "POST" and path == f"/api/repo/{UUID}/instance":
            settings = json.loads(body)
            if settings["dataname"] in instances or settings["typename"] not in DTYPES:
                return 400, b"cannot make that"
            x, y, z = (int(n) for n in settings["BlockSize"].split(","))
            instances[settings["dataname"]] = Instance(settings["typename"], (z, y, x))
            return 200, b"{}"
        removed = re.fullmatch(rf"/api/repo/{UUID}/([^/]+)", path)
        if self.command == "DELETE" and removed and query.get("imsure") == "true":
            return (200, b"") if instances.pop(unquote(removed[1]), None) else (400, b"")
        match = re.fullmatch(rf"/api/node/{UUID}/([^/]+)/(.+)", path)
        if match is None or unquote(match[1]) not in instances:
            return 404, b"not found"
        instance = instances[unquote(match[1])]
        if (self.command, match[2]) == ("GET", "metadata"):
            return 200, json.dumps({"Axes": [], "Properties": {"Values": [{"DataType": instance.dtype.name}]}}).encode()
        if (self.command, match[2]) == ("GET", "info"):
            return 200, json.dumps({"Extended": {"BlockSize": list(instance.block[::-1])}}).encode()
        raw = re.fullmatch(r"raw/0_1_2/(\d+)_(\d+)_(\d+)/(\d+)_(\d+)_(\d+)", match[2])
        return self.serve_voxels(instance, [int(n) for n in raw.groups()], query, body) if raw else (400, b"bad path")

    def serve_voxels(
        self, instance: Instance, numbers: list[int], query: dict[str, str], body: bytes
    ) -> tuple[int, bytes]:
        shape, start = tuple(numbers[2::-1]), tuple(numbers[:2:-1])
        box = Box(start, tuple(a + n for a, n in zip(start, shape, strict=True)))
        little_endian = instance.dtype.newbyteorder("<")
        if self.command == "GET":
            return 200, instance.read(box).astype(little_endian).tobytes()
        if any(a % n or b % n for a, b, n in zip(box.start, box.stop, instance.block, strict=True)):
            return 400, b"not block aligned"
        if self.headers["Content-Type"] != "application/octet-stream":
            return 400, b"content type"
        if (query.get("compression") == "lz4") != (instance.typename == "labelblk"):
            return 400, b"compression"
        size = box.size * instance.dtype.itemsize
        voxels = imagecodecs.lz4_decode(body, out=size) if "compression" in query else body
        if len(voxels) != size:
            return 400, b"wrong size"
        instance.write(box, np.frombuffer(voxels, little_endian).reshape(shape).astype(instance.dtype))
        return 200, b""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(dvid, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(dvid, "_MAX_PAUSE_S", 0.005)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def open_dvid(url: str, array: np.ndarray, offset: tuple[int, int, int] = (0, 0, 0)) -> ImageWriter:
    opened = output_format("dvid").open_url
    assert opened is not None
    return opened(url, "", ImageSpec((*array.shape, 1), array.dtype, "zyxc", (*offset, 0)))


def write(url: str, array: np.ndarray, offset: tuple[int, int, int] = (0, 0, 0), piece=(20, 33, 17)) -> None:
    writer = open_dvid(url, array, offset)
    boxes = list(Box.whole((*array.shape, 1)).split((*piece, 1)))
    random.Random(2).shuffle(boxes)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(writer.write, box, array[..., None][box.slices()]) for box in boxes]:
            done.result()
    assert writer.finish() == []
    writer.abort()  # changes nothing any more


def noise(dtype: str, shape: tuple[int, int, int] = (40, 70, 50)) -> np.ndarray:
    return np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def box_at(offset: tuple[int, ...], shape: tuple[int, ...]) -> Box:
    return Box.whole(shape).shift(offset)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("offset", [(0, 0, 0), (32, 64, 96), (5, 33, 100)], ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "uint32", "uint64"])
def test_voxels_arrive_at_their_place(dtype: str, offset: tuple[int, int, int], server: Server) -> None:
    array = noise(dtype)
    write(server.url("name"), array, offset)
    stored = server.instances["name"]
    assert (stored.typename, stored.block) == ("uint8blk" if dtype == "uint8" else "labelblk", (32, 32, 32))
    assert np.array_equal(stored.read(box_at(offset, array.shape)), array)
    around = stored.read(box_at(offset, array.shape).grow(tuple(min(4, a) for a in offset)))
    assert around.astype(float).sum() == array.astype(float).sum()


def test_a_server_may_be_busy_and_connections_may_break(server: Server) -> None:
    server.busy, server.broken = 0.4, 0.02
    array = noise("uint8", (70, 140, 150))
    write(server.url("name"), array, (3, 0, 31))
    assert np.array_equal(server.instances["name"].read(box_at((3, 0, 31), array.shape)), array)


@pytest.mark.parametrize("block", [(32, 32, 32), (64, 64, 64), (16, 32, 64)], ids=str)
def test_what_lies_around_a_region_stays(block: tuple[int, int, int], server: Server) -> None:
    server.instances["a b"] = known = Instance("uint8blk", block)
    before = noise("uint8", (128, 128, 128))
    known.write(Box.whole(before.shape), before)
    server.busy = 0.3
    array = noise("uint8", (30, 40, 50))[::-1]
    write(server.url("a%20b"), array, (10, 50, 60))
    expected = before.copy()
    expected[10:40, 50:90, 60:110] = array
    assert np.array_equal(known.read(Box.whole(before.shape)), expected)


def test_only_blocks_of_the_image_are_sent(server: Server) -> None:
    write(server.url("name"), noise("uint8", (33, 20, 20)), (31, 200, 0))
    assert set(server.instances["name"].blocks) == {(0, 6, 0), (1, 6, 0)}


def test_blocks_are_sent_while_the_image_is_computed(server: Server) -> None:
    array = noise("uint64", (128, 64, 64))
    writer = open_dvid(server.url("name"), array)
    assert writer.chunks == (64, 64, 64, 1)
    writer.write(Box((0, 0, 0, 0), (64, 64, 64, 1)), array[:64, ..., None])
    assert np.array_equal(server.instances["name"].read(Box.whole((64, 64, 64))), array[:64])
    with pytest.raises(ExportError, match="262144 voxels were never written"):
        writer.finish()
    writer.abort()
    assert server.instances == {}


def test_an_interrupted_result_leaves_no_new_instance(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    writer = open_dvid(server.url("name"), noise("uint8"))
    assert "name" in server.instances
    writer.abort()
    writer.abort()
    assert server.instances == {}
    assert not caplog.records


def test_an_interrupted_result_in_an_old_instance_is_announced(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.instances["name"] = Instance("uint8blk", (32, 32, 32))
    array = noise("uint8", (128, 128, 128))
    open_dvid(server.url("name"), array).abort()
    assert not caplog.records
    writer = open_dvid(server.url("name"), array)
    writer.write(Box.whole((128, 128, 128, 1)), array[..., None])
    writer.abort()
    assert "name" in server.instances
    assert "the result that is now in this instance is not complete" in caplog.text


@pytest.mark.parametrize(("typename", "found"), [("labelblk", "uint64"), ("uint16blk", "uint16")])
def test_an_instance_of_another_type_is_refused(typename: str, found: str, server: Server) -> None:
    server.instances["name"] = Instance(typename, (32, 32, 32))
    with pytest.raises(ExportError, match=f"holds {found}, but the result is one channel of uint8"):
        open_dvid(server.url("name"), noise("uint8"))


@pytest.mark.parametrize(
    "url",
    [
        "http://host/api/node/abc",
        "http://host/node/abc/name",
        "ftp://host/api/node/abc/name",
        "http:///api/node/abc/name",
        "http://host/api/node/abc/name?x=1",
        "http://host/api/node/abc/a/b",
    ],
)
def test_addresses_that_are_not_dvids(url: str) -> None:
    with pytest.raises(ExportError, match="needs output_filename_format=http"):
        open_dvid(url, noise("uint8"))


def test_files_are_refused(tmp_path) -> None:
    with pytest.raises(ExportError, match="needs output_filename_format=http"):
        output_format("dvid").open(tmp_path / "a", "", ImageSpec((1, 1, 1, 1), np.dtype("uint8"), "zyxc", (0,) * 4))


def test_axes_and_channels() -> None:
    opened = output_format("dvid").open_url
    assert opened is not None
    for shape, axes in (((1, 2, 3, 2), "zyxc"), ((1, 2, 3, 1), "xyzc"), ((2, 3, 1), "yxc")):
        with pytest.raises(ExportError, match="DVID takes axes zyxc with one channel"):
            opened("http://host/api/node/a/b", "", ImageSpec(shape, np.dtype("uint8"), axes, (0,) * len(shape)))


def test_a_server_that_is_not_there(server: Server) -> None:
    with pytest.raises(ExportError, match=r"no answer from http://127\.0\.0\.1:1 \(.*\); check the address"):
        open_dvid("http://127.0.0.1:1/api/node/abc/name", noise("uint8"))


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"GET /api/node/3f8c/name/metadata": (500, b"out of\norder")}, r"answered 500 .* to GET .*: out of order"),
        ({"GET /api/node/3f8c/name/metadata": (200, b"<html>")}, "does not look like a DVID server"),
        ({"GET /api/node/3f8c/name/metadata": (200, b"[1]")}, "does not look like a DVID server"),
        ({"GET /api/node/3f8c/name/metadata": (200, b"{}")}, "holds no voxels"),
        ({"POST /api/repo/3f8c/instance": (403, b"")}, "answered 403"),
    ],
    ids=["error", "no JSON", "a list", "no types", "may not"],
)
def test_servers_that_answer_something_else(
    answers: dict[str, tuple[int, bytes]], message: str, server: Server
) -> None:
    server.answers = answers
    with pytest.raises(ExportError, match=message):
        open_dvid(server.url("name"), noise("uint8"))


@pytest.mark.parametrize("sizes", [[32, 32], [0, 32, 32], ["a", 1, 2], [1 << 20] * 3], ids=str)
def test_impossible_blocks_are_refused(sizes: list, server: Server) -> None:
    server.instances["name"] = Instance("uint8blk", (32, 32, 32))
    server.answers = {"/info": (200, json.dumps({"Extended": {"BlockSize": sizes}}).encode())}
    with pytest.raises(ExportError, match="blocks have the size"):
        open_dvid(server.url("name"), noise("uint8"))


def test_a_failed_block_is_an_error(server: Server) -> None:
    writer = open_dvid(server.url("name"), noise("uint8", (8, 8, 8)))
    server.answers = {"raw/0_1_2/32_32_32/0_0_0": (400, b"no room")}
    with pytest.raises(ExportError, match=r"answered 400 .*no room"):
        writer.write(Box.whole((8, 8, 8, 1)), np.zeros((8, 8, 8, 1), np.uint8))


@pytest.mark.slow
def test_a_server_that_stays_busy(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dvid, "_BUSY_LIMIT_S", 2.0)
    writer = open_dvid(server.url("name"), noise("uint8", (8, 8, 8)))
    server.busy = 1.0
    with pytest.raises(ExportError, match="answered 503"):
        writer.write(Box.whole((8, 8, 8, 1)), np.zeros((8, 8, 8, 1), np.uint8))
    assert len([r for r in server.requests if "/raw/" in r]) > 3


def test_blockwise_hdf5_is_refused_with_what_to_use_instead() -> None:
    with pytest.raises(UsageError, match=r"'blockwise hdf5' is not written .* compressed hdf5, n5"):
        output_format("blockwise hdf5")
