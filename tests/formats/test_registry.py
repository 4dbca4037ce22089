"""Formats are described by their own files, and found without importing all of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pixelforest.engine import formats

INPUTS = [pytest.param(each, id=each.name) for each in formats.input_formats()]
IMPORTED = """
import sys
from pixelforest.engine.formats import output_format
output_format(sys.argv[1])
print(*sorted(name.rpartition(".")[2] for name in sys.modules if ".formats.images." in name))
"""


def test_containers_are_those_of_the_formats() -> None:
    tiff = formats.find_input_format("tif")
    assert tiff is not None
    others = {"h5", "hdf5", "ilp", "n5", "npz", "ozx", "zip", "czi", "lif", "nd2"}
    assert formats.own_container_extensions() == others | set(tiff.extensions)


@pytest.mark.parametrize("chosen", INPUTS)
def test_containers_are_read_and_list_their_images(chosen: formats.InputFormat) -> None:
    assert set(chosen.container_extensions) <= set(chosen.extensions)
    assert chosen.list_images is not None or not chosen.container_extensions


def test_one_format_opens_urls_without_a_known_extension() -> None:
    (chosen,) = [each for each in formats.input_formats() if each.opens_any_url]
    for extension in ("", "zarr", "png", "unknown"):
        assert formats.find_remote_format(extension) is chosen
    assert formats.find_remote_format("n5").name == "n5"


def test_an_output_format_is_in_a_file_that_mentions_it() -> None:
    """Else all files in front of its own would be imported first."""
    for name in formats.output_formats():
        likely = [each for each in formats._names("images") if formats._mentions(each, name)]
        found = [each for each in likely if name in {f.name for f in formats._module("images", each).OUTPUTS}]
        assert len(found) == 1, name
        assert len(likely) <= 2, name


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("name", "imported"),
    [("hdf5", "hdf5"), ("compressed n5", "n5"), ("single-scale OME-Zarr", "ome_zarr"), ("dvid", "dvid")],
)
def test_one_name_imports_one_format(name: str, imported: str) -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTED, name], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == imported
