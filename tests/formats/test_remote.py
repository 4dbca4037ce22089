"""Stores behind a URL: S3 as moto serves it on loopback, http as Python serves a folder. Nothing leaves the machine."""

from __future__ import annotations

import functools
import http.server
import logging
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from PIL import Image
from support.golden import GOLDEN
from support.remote_images import EXTENSION, NAMES, image, open_writer, spec_of

from pixelforest import cli
from pixelforest.box import Box
from pixelforest.engine.errors import ExportError, InputError
from pixelforest.engine.formats import output_format
from pixelforest.engine.formats.spec import ImageWriter
from pixelforest.engine.formats.support import ome_zarr_layout
from pixelforest.engine.inputs.images import open_image
from pixelforest.engine.inputs.lanes import InputOptions
from pixelforest.engine.storage import object_storage as remote
from pixelforest.engine.storage.object_storage import RemotePath

pytestmark = pytest.mark.slow

SECRET = "not-to-be-shown-anywhere"
UNFINISHED = ".pixelforest-unfinished"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    moto_server = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty bucket; the environment says where it is, as a user's would."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    boto3 = pytest.importorskip("boto3")
    found = boto3.resource("s3", endpoint_url=server, region_name="us-east-1").Bucket("results")
    found.create()
    found.objects.all().delete()
    return found


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ome_zarr_layout, "CHUNK_BYTES", 4000)
    monkeypatch.setattr(ome_zarr_layout, "SHARDED_ABOVE", 3)


def keys(bucket: Any) -> list[str]:
    """All but the sign of a write that is under way."""
    return sorted(item.key for item in bucket.objects.all() if not item.key.endswith(UNFINISHED))


def write(writer: ImageWriter, array: np.ndarray) -> None:
    for box in Box.whole(array.shape).split((1, 2, 30, 37, 2)):
        writer.write(box, array[box.slices()])


def fetch(bucket: Any, folder: Path) -> Path:
    """Everything in the bucket as files."""
    for item in bucket.objects.all():
        path = folder / item.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(item.get()["Body"].read())
    return folder


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_store_is_the_one_that_files_would_hold(
    name: str, version: str, bucket: Any, small_chunks: None, tmp_path: Path
) -> None:
    """Byte for byte, key for key; read back by zarr-python where there is Zarr in it."""
    array = image()
    writer = open_writer(name, array, version=version, drange=(0.0, 1.0), resolution={"x": 0.5})
    container = ["deep/out.n5/attributes.json"] if "n5" in name else []  # describes no image
    assert keys(bucket) == container
    write(writer, array)
    assert [k for k in keys(bucket) if k.endswith((".json", ".zarray", ".zattrs", ".zgroup"))] == container
    assert writer.finish() == []
    local = tmp_path / "local" / "deep" / f"out.{EXTENSION[name]}"
    spec = spec_of(array, version=version, drange=(0.0, 1.0), resolution={"x": 0.5})
    twin = output_format(name).open(local, "exported_data", spec)
    write(twin, array)
    twin.finish()
    fetched = fetch(bucket, tmp_path / "fetched")
    assert sorted(p.relative_to(fetched) for p in fetched.rglob("*") if p.is_file()) == sorted(
        p.relative_to(tmp_path / "local") for p in (tmp_path / "local").rglob("*") if p.is_file()
    )
    for path in [p for p in fetched.rglob("*") if p.is_file()]:
        expected = (tmp_path / "local" / path.relative_to(fetched)).read_bytes()
        assert path.read_bytes() == expected, path
    if "Zarr" in name:
        found = zarr.open_array(str(fetched / "deep" / "out.zarr" / "s0"), mode="r")[...]
        assert np.array_equal(found, array.transpose(0, 4, 1, 2, 3))


@pytest.mark.parametrize("name", NAMES)
def test_what_was_interrupted_is_gone_and_was_never_an_image(name: str, bucket: Any, small_chunks: None) -> None:
    bucket.put_object(Key="deep/out.txt", Body=b"mine")
    array = image()
    writer = open_writer(name, array)
    write(writer, array)
    deadline = time.monotonic() + 60
    while len(keys(bucket)) == 1:  # what was handed over is still on its way
        assert time.monotonic() < deadline, "nothing arrived in the store"
        time.sleep(0.01)
    writer.abort()
    assert keys(bucket) == ["deep/out.txt"]
    writer.abort()  # never raises


KILLED = """
import os, sys, time
from pixelforest.engine.formats.support import ome_zarr_layout
ome_zarr_layout.CHUNK_BYTES, ome_zarr_layout.SHARDED_ABOVE = 4000, 3
from support import remote_images as suite
from pixelforest.box import Box
writer = suite.open_writer(sys.argv[1], suite.image())
array = suite.image()[:1]
for box in Box.whole(array.shape).split((1, 2, 30, 37, 2)):
    writer.write(box, array[box.slices()])
print("written", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("is_container_there", [False, True])
def test_what_a_killed_run_leaves_is_no_image_and_in_nobodys_way(
    name: str,
    is_container_there: bool,
    bucket: Any,
    small_chunks: None,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Killed amid writing: chunks without descriptions stay, and the same run with --overwrite clears them away."""
    array = image()
    folder = f"deep/out.{EXTENSION[name]}"
    others = ["deep/out.txt"]
    bucket.put_object(Key="deep/out.txt", Body=b"mine")
    if is_container_there:
        if "n5" not in name:
            pytest.skip("a Zarr store holds one image")
        chosen = output_format(name)
        assert chosen.open_url is not None
        first = chosen.open_url(f"s3://results/{folder}", "other", spec_of(array))
        write(first, array)
        first.finish()
        others += [k for k in keys(bucket) if k not in others]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, name], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "written\n"
            deadline = time.monotonic() + 60
            while len(keys(bucket)) <= len(others):  # what was handed over is still on its way
                assert time.monotonic() < deadline, "nothing arrived in the store"
                time.sleep(0.01)
        finally:
            process.kill()
    left = [k for k in keys(bucket) if k not in others]
    assert left
    root = f"{folder}/attributes.json" if "n5" in name else ""  # describes the container, no image
    assert not [k for k in left if k != root and k.endswith((".json", ".zarray", ".zattrs", ".zgroup"))]
    tail = "/exported_data" if "n5" in name else ""
    with pytest.raises(InputError):
        open_image(f"s3://results/{folder}{tail}", role_index=0, training=None, options=InputOptions())
    bucket.put_object(Key=f"{folder}{tail}/{'9/' * 5}9", Body=b"a chunk that the next run does not have")
    with pytest.raises(ExportError, match=r"another run is writing there, or was killed .* overwrite clears"):
        open_writer(name, array)
    writer = open_writer(name, array, may_replace=True)
    assert "what a run that was killed had left there is removed" in caplog.text
    assert set(others) <= set(keys(bucket))
    write(writer, array)
    writer.finish()
    assert not [item.key for item in bucket.objects.all() if item.key.endswith(UNFINISHED)]
    assert f"{folder}{tail}/{'9/' * 5}9" not in keys(bucket)
    assert set(others) <= set(keys(bucket))
    with pytest.raises(ExportError, match=r"it exists; overwrite replaces it"):
        open_writer(name, array)
    url = f"s3://results/{folder}{tail or '/s0'}"
    with open_image(url, role_index=0, training=None, options=InputOptions(project_dir=tmp_path)) as found:
        assert np.array_equal(found.read(Box.whole(found.shape)), array)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_whose_place_another_takes_says_so(name: str, bucket: Any, small_chunks: None) -> None:
    array = image()
    first = open_writer(name, array)
    write(first, array)
    with pytest.raises(ExportError, match="another run is writing there"):
        open_writer(name, array)
    second = open_writer(name, array, may_replace=True)
    with pytest.raises(ExportError, match="another run has begun to write there since"):
        first.finish()
    write(second, array)
    second.finish()
    first.abort()
    with pytest.raises(ExportError, match=r"it exists; overwrite replaces it"):
        open_writer(name, array)


def test_two_datasets_of_a_new_container_at_once(bucket: Any) -> None:
    array = image()
    chosen = output_format("n5")
    assert chosen.open_url is not None
    writers = [chosen.open_url("s3://results/out.n5", name, spec_of(array)) for name in ("first", "second", "third")]
    with pytest.raises(ExportError, match="another run is writing there"):
        chosen.check_url("s3://results/out.n5", "first/deeper", spec_of(array, may_replace=True))
    for writer in writers[:2]:
        write(writer, array)
        writer.finish()
    writers[2].abort()
    found = [k for k in keys(bucket) if k.endswith("attributes.json")]
    assert found == ["out.n5/attributes.json", "out.n5/first/attributes.json", "out.n5/second/attributes.json"]
    assert not [k for k in keys(bucket) if k.endswith(UNFINISHED) or "third" in k]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_there_is_replaced_only_if_it_may_be(name: str, bucket: Any) -> None:
    array = image()
    writer = open_writer(name, array)
    write(writer, array)
    writer.finish()
    before = keys(bucket)
    with pytest.raises(ExportError, match=r"it exists; overwrite replaces it"):
        open_writer(name, array)
    assert keys(bucket) == before
    smaller = np.ascontiguousarray(array[:, :2, :10, :10])
    writer = open_writer(name, smaller, may_replace=True)
    kept = [k for k in keys(bucket) if "exported_data" not in k]
    assert kept == ([k for k in before if "exported_data" not in k] if "n5" in name else [])
    write(writer, smaller)
    writer.finish()
    with pytest.raises(ExportError, match=r"it exists"):
        open_writer(name, array)


def test_other_datasets_of_a_remote_container_stay(bucket: Any) -> None:
    array = image()
    chosen = output_format("n5")
    assert chosen.open_url is not None
    for dataset in ("first", "group/second"):
        writer = chosen.open_url("s3://results/out.n5", dataset, spec_of(array))
        write(writer, array)
        writer.finish()
    writer = chosen.open_url("s3://results/out.n5", "third", spec_of(array))
    writer.abort()
    found = [k for k in keys(bucket) if k.endswith("attributes.json")]
    assert found == ["out.n5/attributes.json", "out.n5/first/attributes.json", "out.n5/group/second/attributes.json"]
    for dataset, complaint in (("first/deeper", "is a dataset, not a group"), ("group", "a group of that name")):
        with pytest.raises(ExportError, match=complaint):
            chosen.check_url("s3://results/out.n5", dataset, spec_of(array, may_replace=True))


@pytest.mark.parametrize("name", NAMES)
def test_other_things_are_never_removed(name: str, bucket: Any) -> None:
    bucket.put_object(Key=f"deep/out.{EXTENSION[name]}/thesis.tex", Body=b"mine")
    with pytest.raises(ExportError, match=r"is not (a Zarr store|an N5 container)"):
        open_writer(name, image(), may_replace=True)
    assert len(keys(bucket)) == 1


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("s3://nobodys-bucket/a", "no such bucket|404|answered"),
        ("http://127.0.0.1:1/a", "http is for reading"),
        ("https://example.org/a", "http is for reading"),
        ("s3://results", "name a folder"),
        (f"s3://someone:{SECRET}@results/a", "keys come from the environment"),
        (f"s3://results/a?key={SECRET}", "keys come from the environment"),
        ("s3://results/../a", "lead elsewhere"),
        ("ftp://results/a", "are known"),
    ],
)
def test_places_that_cannot_be(url: str, complaint: str, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    remote._context.cache_clear()
    for name in ("single-scale OME-Zarr", "n5"):
        chosen = output_format(name)
        assert chosen.open_url is not None
        place = f"{url}.{EXTENSION[name]}" if url.endswith("/a") else url
        with pytest.raises(ExportError, match=complaint) as caught:
            chosen.open_url(place, "data", spec_of(image()))
        assert "\n" not in str(caught.value)
        assert SECRET not in str(caught.value)


def test_no_answer_and_no_keys_end_in_one_line(server: str, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ExportError, match="no answer from the server") as caught:
        open_writer("n5", image())
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert remote.explain(ValueError(f'PERMISSION_DENIED: Error: "x" <AWSAccessKeyId>{SECRET}</AWSAccessKeyId>')) == (
        "the server refuses it without other keys; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or "
        "GOOGLE_APPLICATION_CREDENTIALS, or check what these may do"
    )


def test_paths_behind_a_url() -> None:
    path = RemotePath("s3://bucket/a/b.zarr/")
    assert str(path) == "s3://bucket/a/b.zarr"
    assert (path.name, path.suffix) == ("b.zarr", ".zarr")
    assert [str(p) for p in path.parents] == ["s3://bucket/a"]
    assert (path / "s0").relative_to(path).as_posix() == "s0"
    assert path / "s0" == RemotePath("s3://bucket/a/b.zarr/s0")
    with pytest.raises(InputError, match="are known"):
        RemotePath("file:///a")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A folder behind http, for reading."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            """With the ranges that shards are read by, which Python's own handler lacks."""
            path = Path(self.translate_path(self.path))
            if not path.is_file():
                self.send_error(404)
                return
            content = path.read_bytes()
            first, last, status = 0, len(content) - 1, 200
            wanted = self.headers.get("Range")
            if wanted:
                start, _, stop = wanted.removeprefix("bytes=").partition("-")
                first = int(start) if start else max(0, len(content) - int(stop))
                last, status = min(last, int(stop)) if start and stop else last, 206
            self.send_response(status)
            if wanted:
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            self.send_header("Content-Length", str(last + 1 - first))
            self.end_headers()
            self.wfile.write(content[first : last + 1])

        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", tmp_path
        running.shutdown()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_what_was_written_is_read_from_s3_and_from_http(
    name: str, version: str, bucket: Any, web: tuple[str, Path], small_chunks: None
) -> None:
    array = image()
    writer = open_writer(name, array, version=version, resolution={"x": 0.5})
    write(writer, array)
    writer.finish()
    address, folder = web
    fetch(bucket, folder)
    tail = "/exported_data" if "n5" in name else "/s0"
    for root in ("s3://results", address):
        url = f"{root}/deep/out.{EXTENSION[name]}{tail}"
        with open_image(url, role_index=0, training=None, options=InputOptions(project_dir=folder)) as found:
            assert found.dataset_dir == folder
            assert found.nickname == tail.strip("/")
            assert found.resolution["x"] == 0.5
            assert found.shape == array.shape
            box = Box((1, 1, 7, 20, 0), (2, 5, 39, 60, 2))
            assert np.array_equal(found.read(box), array[box.slices()])


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("/nothing.zarr", "no OME-Zarr image in it"),
        ("/nothing.n5/data", "there is no dataset 'data'"),
        ("/nothing.n5", "a server lists no datasets"),
        ("/picture.png", "no OME-Zarr image in it"),
        ("/out.zarr/s7", "there is no scale 's7'"),
    ],
)
def test_a_remote_store_that_is_not_there(url: str, complaint: str, web: tuple[str, Path]) -> None:
    address, folder = web
    (folder / "picture.png").write_bytes(b"x")
    array = image()
    local = output_format("single-scale OME-Zarr").open(folder / "out.zarr", "", spec_of(array))
    write(local, array)
    local.finish()
    with pytest.raises(InputError, match=complaint) as caught:
        open_image(f"{address}{url}", role_index=0, training=None, options=InputOptions())
    assert "\n" not in str(caught.value)


def test_a_run_from_a_url_to_a_url(
    bucket: Any, web: tuple[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = web
    monkeypatch.chdir(folder)
    shutil.copy(GOLDEN / "px2d_rgb" / "project.ilp", "project.ilp")
    with Image.open(GOLDEN / "px2d_rgb" / "raw.png") as picture:
        pixels = np.asarray(picture)[np.newaxis, np.newaxis]
    source = output_format("single-scale OME-Zarr").open(folder / "a b.zarr", "", spec_of(pixels))
    source.write(Box.whole(pixels.shape), pixels)
    source.finish()
    argv = ["--project=project.ilp", "--output_format=single-scale OME-Zarr", "--ome_zarr_version=0.5"]
    argv += ["--ignore_training_axistags"]
    argv += ["--output_filename_format=s3://results/{nickname}_{result_type}", f"{address}/a b.zarr"]
    assert cli.main(argv) == 0
    assert "out.zarr/" not in capsys.readouterr().err
    assert cli.main(argv) == 1
    error = capsys.readouterr().err
    assert "--overwrite replaces it" in error
    assert SECRET not in error
    assert cli.main([*argv, "--overwrite"]) == 0
    store = fetch(bucket, folder / "fetched") / "a_b_Probabilities.zarr"
    with h5py.File(GOLDEN / "px2d_rgb" / "expected" / "probabilities.h5") as file:
        expected = file["exported_data"][()]
    found = zarr.open_array(str(store / "s0"), mode="r")[...]
    assert np.array_equal(np.moveaxis(found[0, :, 0], 0, -1), expected)
    argv[1] = "--output_format=hdf5"
    assert cli.main(argv) == 1
    assert "formats that are written to a URL" in capsys.readouterr().err
