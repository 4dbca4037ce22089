"""A project declared widths, heaps, lanes, slices and blocks at will: 11 GB for a name, minutes for a few heaps."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import h5py
import numpy as np
import pytest

from pixelforest.cli import main
from pixelforest.engine.errors import ExportError, ProjectError
from pixelforest.engine.export.filenames import MAX_FIELD_WIDTH, MAX_TEMPLATE_LENGTH, fill_template, template_fields
from pixelforest.engine.project import ObjectProject, count_project_labels, open_project
from pixelforest.engine.project.annotations import MAX_LABELLED_SLICES, MAX_LANES
from pixelforest.engine.project.hdf5 import MAX_TEXTS
from pixelforest.engine.project.object_features import Blocks
from pixelforest.engine.project.text_heap import MAX_READ_FACTOR, TextHeap
from pixelforest.engine.workflows import read_kind
from pixelforest.engine.workflows.objects.blocks import check_blocks

LABELS = "PixelClassification/LabelSets"


def count_labels_of(path: Path) -> None:
    with open_project(path) as file:
        count_project_labels(file, read_kind(file))


# ------------------------------------------------------------------------------------------------------- placeholders


@pytest.mark.parametrize("spec", [">4000000000", "*^256", ".4000000000", "0300", ">" + "9" * 5000, ">٤٠٠٠"])
@pytest.mark.parametrize("name", ["nickname", "x_start"])
def test_a_width_that_no_name_can_have_is_refused(name: str, spec: str) -> None:
    with pytest.raises(ExportError, match=f"wider than the {MAX_FIELD_WIDTH}|more than {MAX_TEMPLATE_LENGTH}"):
        fill_template(f"{{{name}:{spec}}}", {"nickname": "a", "x_start": 3})


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("{nickname:>5}", "    a"),
        ("{x_start:06}", "000003"),
        ("{x_start:.3f}", "3.000"),
        ("{nickname:_<255}", "a" + "_" * 254),
    ],
)
def test_usual_widths_work(template: str, filled: str) -> None:
    assert fill_template(template, {"nickname": "a", "x_start": 3}) == filled


def test_a_template_longer_than_any_path_is_refused() -> None:
    with pytest.raises(ExportError, match="use a shorter one"):
        template_fields("{nickname:>255}" * MAX_TEMPLATE_LENGTH)


def test_a_stored_width_is_refused_in_a_line(
    copy_golden: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    case = copy_golden("px2d_gray")
    with h5py.File(case / "project.ilp", "r+") as file:
        group = file.require_group("Prediction Export")
        for name, value in (("StorageVersion", "0.1"), ("OutputFilenameFormat", "{nickname:>4000000000}")):
            group.pop(name, None)
            group[name] = value
    assert main(["--headless", f"--project={case / 'project.ilp'}", str(case / "raw.png")]) == 1
    assert "{nickname:>4000000000}" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------------------- heaps


class CountingFile:
    """A file in memory that counts the bytes that are read from it."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at, self.count = content, 0, 0

    def seek(self, at: int) -> None:
        self.at = at

    def read(self, size: int) -> bytes:
        found = self.content[self.at : self.at + size]
        self.count += len(found)
        return found


def nested_heaps(count: int) -> bytes:
    """Records of 32 bytes, each of whose contents is the header of a heap that reaches to the end."""
    total = 32 * count
    return b"".join(
        struct.pack("<HHIQ", 1, 0, 0, 16) + b"GCOL\x01\0\0\0" + struct.pack("<Q", total - (32 * k + 16))
        for k in range(count)
    )


def heap_of(*texts: bytes) -> bytes:
    records = b""
    for number, text in enumerate(texts, 1):
        records += struct.pack("<HHIQ", number, 0, 0, len(text)) + text.ljust(-(-len(text) // 8) * 8, b"\0")
    return b"GCOL\x01\0\0\0" + struct.pack("<Q", 16 + len(records)) + records


def text_heap(content: bytes) -> tuple[TextHeap, CountingFile]:
    stream = CountingFile(content)
    return TextHeap(cast(BinaryIO, stream), len(content), 0), stream


@pytest.mark.parametrize("count", [1 << 6, 1 << 10, 1 << 14])
def test_heaps_inside_each_other_are_refused_in_linear_time(count: int) -> None:
    heap, stream = text_heap(nested_heaps(count))
    with pytest.raises(ValueError, match="overlaps others"):
        heap.check_all()
    assert stream.count <= (MAX_READ_FACTOR + 2) * len(stream.content)


def test_pointers_into_heaps_inside_each_other_are_refused_in_linear_time() -> None:
    count = 1 << 10
    heaps = nested_heaps(count)
    pointers = b"".join(struct.pack("<IQI", 16, 32 * k + 16, 1) for k in range(count - 1))
    heap, stream = text_heap(heaps + pointers)
    with pytest.raises(ValueError, match="overlaps others"):
        heap.read_pointers(len(heaps), count - 1)
    assert stream.count <= (MAX_READ_FACTOR + 2) * len(stream.content)


def test_a_heap_is_read_once_however_often_it_is_pointed_at() -> None:
    content = b"\0" * 8 + heap_of(b"first", b"the second")
    pointers = struct.pack("<IQI", 5, 8, 1) + struct.pack("<IQI", 10, 8, 2)
    heap, stream = text_heap(content + pointers)
    heap.check_all()
    for _ in range(50):
        stream.count = 0
        assert heap.read_pointers(len(content), 2) == [b"first", b"the second"]
    assert stream.count == len(pointers)


@pytest.mark.slow
def test_a_heap_with_more_records_than_hdf5_can_number_is_refused() -> None:
    heap, _ = text_heap(heap_of(*[b""] * ((1 << 16) - 1)))
    heap.check_all()
    records = struct.pack("<HHIQ", 1, 0, 0, 0) * ((1 << 16) + 1)
    heap, _ = text_heap(b"GCOL\x01\0\0\0" + struct.pack("<Q", 16 + len(records)) + records)
    with pytest.raises(ValueError, match="damaged"):
        heap.check_all()


# ------------------------------------------------------------------------------------------------- texts, lanes, slices


def test_a_list_of_millions_of_texts_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "p.ilp", "w") as file:
        file.create_dataset("names", shape=(MAX_TEXTS + 1,), dtype="S1", chunks=(1 << 16,), compression="gzip")
        file["names"][:1] = b"a"
    with open_project(tmp_path / "p.ilp") as project, pytest.raises(ProjectError, match="names: declares 262145 texts"):
        project.texts("names")


def add_block(case: Path, name: str, values: Any, slices: str, **filters: Any) -> None:
    with h5py.File(case / "project.ilp", "r+") as file:
        block = file.create_dataset(f"{LABELS}/{name}/block9999", data=values, **filters)
        block.attrs["blockSlice"] = slices


@pytest.mark.parametrize("number", [MAX_LANES, 999_999, 123_456_789])
def test_labels_of_an_image_beyond_any_project_are_refused(copy_golden: Callable[[str], Path], number: int) -> None:
    case = copy_golden("px2d_gray")
    add_block(case, f"labels{number}", np.ones((1, 1, 1), np.uint8), "[0:1,0:1,0:1]")
    with pytest.raises(ProjectError, match=f"{LABELS}/labels{number}: belongs to image {number}"):
        count_labels_of(case / "project.ilp")


def test_labels_in_more_slices_than_any_image_has_are_refused(copy_golden: Callable[[str], Path]) -> None:
    case = copy_golden("px3d")
    count = MAX_LABELLED_SLICES + 1
    add_block(case, "labels000", np.ones((count, 1, 1, 1), np.uint8), f"[0:{count},0:1,0:1,0:1]", compression="gzip")
    with pytest.raises(ProjectError, match=f"block9999: is labelled in more than {MAX_LABELLED_SLICES} z slices"):
        count_labels_of(case / "project.ilp")


def test_slices_are_listed_one_by_one_only_if_an_image_can_have_so_many(
    copy_golden: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    case = copy_golden("px3d")
    with h5py.File(case / "project.ilp", "r+") as file:
        file["Input Data/infos/lane0000/Raw Data/shape"][...] = 1 << 40
    assert main(["--headless", f"--project={case / 'project.ilp'}", "--print_labels_by_slice"]) == 0
    assert 1 < len(capsys.readouterr().out.splitlines()) < 200


# ------------------------------------------------------------------------------------------------------------- blocks


def project_with(shape: tuple[int, int, int], halo: tuple[int, int, int]) -> ObjectProject:
    return cast(ObjectProject, SimpleNamespace(path=Path("p.ilp"), blocks=Blocks(shape, halo)))


@pytest.mark.parametrize(
    ("block", "halo", "frame"),
    [
        ((512, 2, 2), (64, 64, 64), (1, 200, 240)),
        ((512, 2, 2), (0, 0, 0), (1, 200, 240)),
        ((1, 1, 1), (0, 0, 0), (64, 64, 64)),
        ((2, 2, 2), (1 << 40, 0, 0), (1 << 12, 1 << 12, 1 << 12)),
    ],
)
def test_tiny_blocks_are_refused(
    block: tuple[int, int, int], halo: tuple[int, int, int], frame: tuple[int, int, int]
) -> None:
    with pytest.raises(ProjectError, match=r"p.ilp', Blockwise Object Classification/BlockShape3dDict: cuts .* blocks"):
        check_blocks(project_with(block, halo), frame)


@pytest.mark.parametrize(
    ("block", "halo", "frame"),
    [
        ((512, 512, 512), (64, 64, 64), (1 << 14, 1 << 14, 1 << 14)),
        ((64, 64, 64), (64, 64, 64), (1000, 1000, 1000)),
        ((512, 16, 16), (64, 64, 64), (1, 4000, 4000)),
        ((2, 2, 2), (64, 64, 64), (1, 20, 20)),
    ],
)
def test_usual_blocks_and_few_blocks_are_kept(
    block: tuple[int, int, int], halo: tuple[int, int, int], frame: tuple[int, int, int]
) -> None:
    check_blocks(project_with(block, halo), frame)


@pytest.mark.slow
def test_tiny_blocks_matter_only_where_results_are_blockwise(
    copy_golden: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = copy_golden("obj2d_seg")
    with h5py.File(case / "project.ilp", "r+") as file:
        for axis in "xy":
            file[f"Blockwise Object Classification/BlockShape3dDict/{axis}"][()] = 2
    words = [f"--project={case / 'project.ilp'}", f"--raw_data={case / 'raw.png'}"]
    words += [f"--segmentation_image={case / 'seg.png'}", f"--output_filename_format={tmp_path}/{{result_type}}.h5"]
    assert main(["explain", *words, "--export_source=Object Predictions"]) == 0
    capsys.readouterr()
    for command in (["explain"], ["--headless"]):
        assert main([*command, *words, "--export_source=Blockwise Object Predictions"]) == 1
        shown = capsys.readouterr()
        assert "BlockShape3dDict" in shown.out + shown.err
