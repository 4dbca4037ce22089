"""The folder that bioformats2raw writes was refused as plain Zarr: its images are the groups 0, 1, …"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from support.zarr_stores import put_attributes, write_image

from pixelforest.box import Box
from pixelforest.engine.errors import InputError
from pixelforest.engine.formats.images.ome_zarr import OmeZarrReader

VOLUME = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)


def put_group(root: Path, version: int, **attributes: object) -> None:
    """Write the metadata of a group without images."""
    root.mkdir(parents=True, exist_ok=True)
    if version == 2:
        put_attributes(root, **attributes)
    else:
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5", **attributes}}}
        (root / "zarr.json").write_text(json.dumps(group), encoding="utf-8")


def read(path: Path) -> np.ndarray:
    with OmeZarrReader(path, "") as reader:
        return reader.read(Box.whole(reader.info.shape))


def advised_path(message: str) -> str:
    """The first path that a message tells to name."""
    found = re.search(r"name one of its images: (\S+?)(,|$)", message)
    assert found is not None, message
    return found[1]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("is_listed", [False, True], ids=["numbered", "listed in OME"])
def test_the_only_image_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, version: int, is_listed: bool
) -> None:
    caplog.set_level("INFO", "pixelforest.inputs")
    root = tmp_path / "sample.ome.zarr"
    put_group(root, version, **{"bioformats2raw.layout": 3})
    put_group(root / "OME", version, **({"series": ["field"]} if is_listed else {}))
    name = "field" if is_listed else "0"
    write_image(root / name, VOLUME, version=version)
    np.testing.assert_array_equal(read(root), VOLUME)
    assert f"{root}: its only image, {name}, is read" in caplog.messages
    np.testing.assert_array_equal(read(root / name), VOLUME)
    np.testing.assert_array_equal(read(root / name / "0"), VOLUME)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("version", [2, 3])
def test_several_images_are_listed_and_can_be_named(tmp_path: Path, version: int) -> None:
    root = tmp_path / "sample.ome.zarr"
    put_group(root, version, **{"bioformats2raw.layout": 3})
    for number in range(11):
        write_image(root / str(number), VOLUME + number, version=version)
    with pytest.raises(InputError, match=r"it holds several images.*/4 and 6 more$") as caught:
        read(root)
    np.testing.assert_array_equal(read(Path(advised_path(str(caught.value)))), VOLUME)
    np.testing.assert_array_equal(read(root / "10"), VOLUME + 10)


def test_an_image_that_is_not_there(tmp_path: Path) -> None:
    root = tmp_path / "sample.ome.zarr"
    put_group(root, 2, **{"bioformats2raw.layout": 3})
    write_image(root / "0", VOLUME)
    with pytest.raises(InputError, match="there is no image '5' in ") as caught:
        read(root / "5")
    np.testing.assert_array_equal(read(Path(advised_path(str(caught.value)))), VOLUME)


def test_a_group_that_says_nothing(tmp_path: Path) -> None:
    put_group(tmp_path / "a.zarr", 2)
    write_image(tmp_path / "a.zarr" / "raw", VOLUME)
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), VOLUME)
    write_image(tmp_path / "a.zarr" / "deconvolved", VOLUME + 1)
    with pytest.raises(InputError, match="several images") as caught:
        read(tmp_path / "a.zarr")
    np.testing.assert_array_equal(read(Path(advised_path(str(caught.value)))), VOLUME)


@pytest.mark.parametrize(
    ("attributes", "place"),
    [
        ({"plate": {"wells": [{"path": "A/1"}]}}, "A/1/0"),
        ({"well": {"images": [{"path": "0"}]}}, "0"),
        ({"labels": ["cells"]}, "cells"),
    ],
    ids=["plate", "well", "labels"],
)
def test_other_collections_name_an_image_that_can_be_read(
    tmp_path: Path, attributes: dict[str, object], place: str
) -> None:
    root = tmp_path / "a.zarr"
    put_group(root, 2, **attributes)
    write_image(root / place, VOLUME)
    with pytest.raises(InputError, match="not an image") as caught:
        read(root)
    np.testing.assert_array_equal(read(Path(advised_path(str(caught.value)))), VOLUME)


@pytest.mark.parametrize("attributes", [{"plate": {"wells": []}}, {"labels": []}])
def test_empty_collections_give_no_advice(tmp_path: Path, attributes: dict[str, object]) -> None:
    put_group(tmp_path / "a.zarr", 2, **attributes)
    with pytest.raises(InputError, match=r"without images$"):
        read(tmp_path / "a.zarr")


def test_links_and_hostile_names_lead_nowhere(tmp_path: Path) -> None:
    write_image(tmp_path / "secret", VOLUME)
    root = tmp_path / "a.zarr"
    put_group(root, 2, **{"bioformats2raw.layout": 3})
    put_group(root / "OME", 2, series=["../secret", 7, "", "/etc", "link"])
    (root / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="there is no OME-Zarr image in it"):
        read(root)


def test_an_image_without_its_metadata_is_a_plain_array(tmp_path: Path) -> None:
    root = tmp_path / "a.zarr"
    write_image(root, VOLUME)
    (root / ".zattrs").unlink()
    with OmeZarrReader(root, "") as reader:
        assert not reader.info.own_axes
    np.testing.assert_array_equal(read(root), VOLUME)
    (root / "0" / ".zarray").unlink()
    with pytest.raises(InputError, match="save it as OME-Zarr, HDF5 or npy"):
        read(root)
