"""S3 as moto serves it on loopback; nothing leaves the machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

BUCKET = "results"


@contextmanager
def serving() -> Iterator[str]:
    """Serve S3; yields the address."""
    server = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    try:
        yield "http://{}:{}".format(*running.get_host_and_port())
    finally:
        running.stop()


def empty_bucket(address: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return an empty bucket; the environment says where it is, as a user's would."""
    for name, value in (("ACCESS_KEY_ID", "someone"), ("SECRET_ACCESS_KEY", "x"), ("ENDPOINT_URL", address)):
        monkeypatch.setenv(f"AWS_{name}", value)
    boto3 = pytest.importorskip("boto3")
    bucket = boto3.resource("s3", endpoint_url=address, region_name="us-east-1").Bucket(BUCKET)
    bucket.create()
    bucket.objects.all().delete()
    return bucket


def stored(bucket: Any, folder: str) -> dict[str, bytes]:
    """Contents of all objects in a folder but records of what is done: key in it -> bytes."""
    found = {item.key.removeprefix(folder): item.get()["Body"].read() for item in bucket.objects.filter(Prefix=folder)}
    return {key: data for key, data in found.items() if not key.endswith("/.pixelforest-resume")}
