"""A wrong attribute axistags made an image unreadable, also with the --input_axes that overrules it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.zarr_stores import put_attributes, write_image

from pixelforest import cli
from pixelforest.engine.axes import axistags_json
from pixelforest.engine.errors import InputError
from pixelforest.engine.inputs.images import open_image
from pixelforest.engine.inputs.lanes import InputOptions

VOLUME = np.arange(7 * 8 * 9, dtype=np.uint8).reshape(7, 8, 9)
WRONG_TAGS = {
    "stale": axistags_json("yx"),
    "letters": "zyx",
    "empty": "",
    "another object": '{"axes": 3}',
    "unknown axis": json.dumps({"axes": [{"key": k} for k in "eyx"]}),
    "twice": json.dumps({"axes": [{"key": k} for k in "yyx"]}),
}


def save_hdf5(tags: str) -> str:
    with h5py.File("a.h5", "w") as file:
        file["data"] = VOLUME
        file["data"].attrs["axistags"] = tags
    return "a.h5/data"


def save_n5(tags: str) -> str:
    folder = Path("a.n5/data")
    folder.mkdir(parents=True)
    attributes = {
        "dimensions": list(VOLUME.shape[::-1]),
        "blockSize": list(VOLUME.shape[::-1]),
        "dataType": "uint8",
        "compression": {"type": "raw"},
        "axistags": tags,
    }
    (folder / "attributes.json").write_text(json.dumps(attributes), encoding="utf-8")
    return "a.n5/data"


def open_with(argument: str, *axes: str) -> tuple[str, tuple[int, ...]]:
    with open_image(argument, role_index=0, training=None, options=InputOptions(input_axes=axes or None)) as image:
        return image.axes, image.shape


@pytest.mark.parametrize("save", [save_hdf5, save_n5])
@pytest.mark.parametrize("tags", WRONG_TAGS.values(), ids=WRONG_TAGS)
def test_axistags_that_are_wrong_can_be_replaced(work_folder: Path, save: Callable[[str], str], tags: str) -> None:
    argument = save(tags)
    assert open_with(argument, "tyx") == ("tyx", (7, 1, 8, 9, 1))
    with pytest.raises(InputError, match=f"cannot read {argument}: its .*axistags.*input_axes") as caught:
        open_with(argument)
    assert len(str(caught.value)) < 400
    advised = re.search(r"as in input_axes=(\w+)$", str(caught.value))
    assert advised is not None
    assert open_with(argument, advised[1]) == ("zyx", (1, 7, 8, 9, 1))


def test_nested_axistags_of_n5(work_folder: Path) -> None:
    argument = save_n5("[" * 100_000)
    with pytest.raises(InputError, match=r"axistags.*input_axes"):
        open_with(argument)
    assert open_with(argument, "zyx") == ("zyx", (1, 7, 8, 9, 1))


@pytest.mark.parametrize(
    "axes",
    [
        [{"name": "e"}, {"name": "y"}, {"name": "x"}],
        [{"name": "depth"}, {"name": "y"}, {"name": "x"}],
        ["t", "c", "z", "y", "x"],
        [{"name": "y"}, {"name": "x"}],
        [],
        "zyx",
    ],
    ids=str,
)
def test_axes_of_ome_zarr(work_folder: Path, axes: object) -> None:
    write_image(Path("a.zarr"), VOLUME)
    put_attributes(Path("a.zarr"), multiscales=[{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}])
    assert open_with("a.zarr", "tyx") == ("tyx", (7, 1, 8, 9, 1))
    with pytest.raises(InputError, match=r"its axes are .*as in input_axes=zyx"):
        open_with("a.zarr")


def test_a_stack_of_such_files(work_folder: Path) -> None:
    for name in "ab":
        save_hdf5("zyx")
        Path("a.h5").rename(f"s_{name}.h5")
    with pytest.raises(InputError, match=r"cannot read s_\*\.h5: .*axistags.*input_axes"):
        open_with("s_*.h5")
    assert open_with("s_*.h5", "zyx") == ("zyx", (1, 14, 8, 9, 1))


def test_a_run(copy_golden: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Overruled by the option, a stale attribute changes no number."""
    folder = copy_golden("px3d")
    monkeypatch.chdir(folder)
    with h5py.File("raw.h5") as file:
        name = next(iter(file))
        voxels = file[name][:20]
    results = []
    for number, tags in enumerate((axistags_json("zyx"), "nonsense")):
        with h5py.File(f"{number}.h5", "w") as file:
            file["data"] = voxels
            file["data"].attrs["axistags"] = tags
        argv = ["--project=project.ilp", "--output_format=numpy", "--output_filename_format={nickname}.npy"]
        assert cli.main([*argv, "--input_axes=zyx", f"{number}.h5"]) == 0
        results.append(np.load(f"{number}.npy"))
    np.testing.assert_array_equal(*results)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("dataset", "value", "option"),
    [
        ("OutputFormat", b"tape", "--output_format=numpy"),
        ("ExportDtype", b"complex64", "--export_dtype=float32"),
        ("OutputAxisOrder", b"abc", "--output_axis_order=yxc"),
        ("OutputFilenameFormat", b"{nickname", "--output_filename_format=out"),
    ],
)
def test_stored_export_settings_that_an_option_overrules(
    copy_golden: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    dataset: str,
    value: bytes,
    option: str,
) -> None:
    folder = copy_golden("px2d_gray")
    monkeypatch.chdir(folder)
    with h5py.File("project.ilp", "r+") as file:
        group = file["Prediction Export"]
        if dataset in group:
            del group[dataset]
        group[dataset] = value
    argv = ["--project=project.ilp", "--dry_run", "raw.png"]
    assert cli.main(argv) == 1
    said = capsys.readouterr().err
    assert cli.main([*argv, option]) == 0, said
