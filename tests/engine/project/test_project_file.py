"""Opening project files and taking values from them: what is refused, and that it ends in one clear line."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest

from pixelforest.engine.errors import ProjectError, ProjectNotFound
from pixelforest.engine.project import open_project
from pixelforest.engine.project.hdf5 import ProjectFile
from pixelforest.engine.workflows import describe_project, read_project

MakeProject = Callable[..., Path]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[h5py.File]:
    with h5py.File(tmp_path / "values.h5", "w") as made:
        yield made


def reopened(file: h5py.File) -> ProjectFile:
    path = Path(file.filename)
    file.close()
    return open_project(path)


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(ProjectError) as caught:
        read()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 600
    return text


# -- opening ----------------------------------------------------------------------------------------------------


def test_a_missing_project_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProjectNotFound, match=r"nowhere\.ilp' does not exist"):
        read_project(tmp_path / "nowhere.ilp")
    with pytest.raises(FileNotFoundError):
        read_project(tmp_path / "nowhere.ilp")


def test_a_folder_is_no_project(tmp_path: Path) -> None:
    assert "is a folder" in refusal(lambda: read_project(tmp_path))


@pytest.mark.parametrize("content", [b"", b"x", b"PK\x03\x04" * 1000, b"\x89HDF\r\n\x1a\n", b"\0" * 4096])
def test_other_files_are_no_projects(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.ilp"
    path.write_bytes(content)
    assert "other.ilp" in refusal(lambda: read_project(path))


def test_an_unreadable_file_says_so(tmp_path: Path, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = make_project()
    monkeypatch.setattr(h5py, "File", denied)
    assert "permission denied" in refusal(lambda: read_project(path))


def test_hdf5_that_is_no_project(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["data"] = np.zeros((4, 4))
    assert "not an ilastik project" in refusal(lambda: read_project(tmp_path / "data.h5"))


def test_a_truncated_project_is_refused_at_any_length(make_project: MakeProject, tmp_path: Path) -> None:
    whole = make_project().read_bytes()
    cut = tmp_path / "cut.ilp"
    for length in sorted({*range(0, len(whole), len(whole) // 100), *range(0, 600, 7), len(whole) - 1}):
        cut.write_bytes(whole[:length])
        assert "cut.ilp" in refusal(lambda: read_project(cut))


@pytest.mark.slow
@pytest.mark.parametrize("filling", [0x00, 0xFF], ids=["zeros", "ones"])
def test_a_project_with_a_hole_is_read_or_refused(make_project: MakeProject, tmp_path: Path, filling: int) -> None:
    """A copy that broke off and was padded, or bad blocks: any answer but an escape is fine."""
    whole = make_project().read_bytes()
    broken = tmp_path / "broken.ilp"
    refused = 0
    for start in range(0, len(whole), len(whole) // 60):
        broken.write_bytes(whole[:start] + bytes([filling]) * 256 + whole[start + 256 :])
        try:
            read_project(broken)
        except ProjectError:
            refused += 1
        describe_all(broken)
    assert refused > 5


def describe_all(path: Path) -> None:
    with contextlib.suppress(ProjectError):
        describe_project(path)


def test_a_project_that_another_program_has_open_for_writing_is_read(make_project: MakeProject) -> None:
    path = make_project()
    code = (
        "import h5py, sys; f = h5py.File(sys.argv[1], 'r+', locking=True); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        if sys.platform == "linux":
            with pytest.raises(BlockingIOError):
                h5py.File(path, "r", locking=True)
        assert read_project(path).classifier.tree_count == 5
        writer.communicate("")


def test_reading_neither_changes_nor_locks_the_file(make_project: MakeProject) -> None:
    path = make_project()
    before = path.read_bytes()
    code = "import h5py, sys; h5py.File(sys.argv[1], 'r+', locking=True).close()"
    with open_project(path) as project:
        subprocess.run([sys.executable, "-c", code, str(path)], check=True)
        assert project.text("workflowName") == "Pixel Classification"
    with h5py.File(path, "r"):
        assert read_project(path).workflow == "Pixel Classification"
    path.replace(path.with_name("moved.ilp"))
    assert path.with_name("moved.ilp").read_bytes() == before


# -- values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["variable", "bytes", "fixed", "void"])
def test_texts_of_any_type_read_the_same(file: h5py.File, builders: ModuleType, style: str) -> None:
    builders.put_text(file, "text", "zwölf σ=1.0" if style != "bytes" else "twelve", style)
    with reopened(file) as project:
        assert project.text("text") == ("zwölf σ=1.0" if style != "bytes" else "twelve")


def test_texts_in_pieces_are_read(file: h5py.File) -> None:
    names = [f"Größe {i}" for i in range(150)]
    file.create_dataset("names", data=names, dtype=h5py.string_dtype(), chunks=(40,), compression="gzip")
    with reopened(file) as project:
        assert project.texts("names") == tuple(names)


def test_texts_behind_a_user_block_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "block.h5", "w", userblock_size=1024) as made:
        made["text"], made["number"] = "here", 5
        made["text"].attrs["more"] = "there"
    with open_project(tmp_path / "block.h5") as project:
        assert project.text("text") == "here"
        assert project.integer("number") == 5
        assert project.attribute_text("text", "more") == "there"


@pytest.mark.sampled(1)
@pytest.mark.parametrize("filling", [0x00, 0xFF], ids=["zeros", "ones"])
def test_a_damaged_heap_of_texts_is_refused(file: h5py.File, filling: int) -> None:
    """HDF5 itself never comes back from some of these."""
    file["text"] = "x" * 100
    file["text"].attrs["more"] = "y" * 100
    path = Path(file.filename)
    file.close()
    content = path.read_bytes()
    heap = content.index(b"GCOL")
    for start in range(heap + 1, heap + 400, 3):
        path.write_bytes(content[:start] + bytes([filling]) * 64 + content[start + 64 :])
        for read in (lambda p: p.text("text"), lambda p: p.attribute_text("text", "more")):
            with open_project(path) as project, contextlib.suppress(ProjectError):
                assert set(read(project) or "") <= set("xy\N{REPLACEMENT CHARACTER}")


@pytest.mark.parametrize("style", ["variable", "fixed"])
def test_lists_of_texts_read_the_same(file: h5py.File, builders: ModuleType, style: str) -> None:
    names = [f"Größe {i}" for i in range(150)]
    builders.put_texts(file, "names", names, style)
    with reopened(file) as project:
        assert project.texts("names") == tuple(names)


def test_a_list_marked_empty_is_empty(file: h5py.File) -> None:
    file["names"] = ["dummy"]
    file["names"].attrs["isEmpty"] = True
    file["numbers"] = np.array([7])
    file["numbers"].attrs["isEmpty"] = np.bool_(True)
    with reopened(file) as project:
        assert project.texts("names") == ()
        values = project.array("numbers", "integers")
        assert values is not None
        assert values.size == 0


def test_undecodable_text_is_read_with_marks(file: h5py.File) -> None:
    file["fixed"] = np.bytes_(b"caf\xe9")
    file.create_dataset("variable", data=b"caf\xe9", dtype=h5py.string_dtype("ascii"))
    with reopened(file) as project:
        assert project.text("fixed") == project.text("variable") == "caf\N{REPLACEMENT CHARACTER}"


def test_what_is_not_there_is_none(file: h5py.File) -> None:
    file["a/b"] = 1
    with reopened(file) as project:
        assert project.text("x") is None
        assert project.texts("a/b/c/d") is None
        assert project.array("a/x", "numbers") is None
        assert project.number("x") is project.integer("x") is None
        assert project.attribute_text("a/b", "x") is project.attribute_number("a", "x") is None
        assert project.groups("x") == project.datasets("a/b") == ()
        assert not project.has("a/x")


@pytest.mark.parametrize("order", ["<", ">"])
def test_arrays_come_in_native_byte_order(file: h5py.File, order: str) -> None:
    file["values"] = np.array([1, -2, 300000], f"{order}i4")
    with reopened(file) as project:
        values = project.array("values", "integers")
        assert values is not None
        assert values.dtype == np.dtype("i4")
        assert values.dtype.isnative
        assert values.tolist() == [1, -2, 300000]


def narrow_type() -> h5py.h5t.TypeIntegerID:
    """Integers of 12 bits that begin at the third bit of two bytes."""
    kind = h5py.h5t.STD_I16LE.copy()
    kind.set_precision(12)
    kind.set_offset(3)
    return kind


@pytest.mark.parametrize(
    "kind",
    [
        *(getattr(h5py.h5t, name) for name in ("STD_I32LE", "STD_U32LE", "STD_I64LE", "STD_U8LE", "IEEE_F64LE")),
        *(getattr(h5py.h5t, name) for name in ("STD_I32BE", "IEEE_F64BE", "IEEE_F32LE", "IEEE_F16BE", "STD_U64LE")),
        narrow_type(),
    ],
    ids=lambda kind: f"{kind.dtype}-{kind.get_precision()}",
)
def test_values_of_every_stored_type_are_those_that_hdf5_reads(tmp_path: Path, kind: h5py.h5t.TypeID) -> None:
    expected = {}
    with h5py.File(tmp_path / "block.h5", "w", userblock_size=512) as file:
        for layout, shape in itertools.product((h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT), ((), (7,), (2, 3))):
            creation, name = h5py.h5p.create(h5py.h5p.DATASET_CREATE), f"{layout} {shape}"
            creation.set_layout(layout)
            space = h5py.h5s.create_simple(shape) if shape else h5py.h5s.create(h5py.h5s.SCALAR)
            dataset = h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, creation))
            dataset[...] = values = np.arange(1, 1 + np.prod(shape, dtype=int)).reshape(shape)
            assert np.array_equal(dataset[()], values)
            expected[name] = values
    with open_project(tmp_path / "block.h5") as project:
        for name, values in expected.items():
            found = project.array(name, "numbers")
            assert found is not None
            assert np.array_equal(found, values)
            assert found.shape == values.shape
            assert found.dtype.isnative
            assert found.flags.writeable


def test_values_beyond_the_end_of_the_file_are_refused(file: h5py.File) -> None:
    """HDF5 looks at the end of a file when it opens it, not when the file becomes shorter afterwards."""
    file["first"], file["last"] = np.arange(9), np.arange(10_000)
    with reopened(file) as project:
        os.truncate(project.path, project.size_bytes - 8)
        assert "the file has become shorter" in refusal(lambda: project.array("last", "integers"))
        project.size_bytes -= 8
        assert "are beyond the end of the file" in refusal(lambda: project.array("last", "integers"))
        assert project.array("first", "integers") is not None


def test_numbers_keep_their_kind(file: h5py.File) -> None:
    file["whole"], file["real"], file["listed"] = 255, 255.0, np.array([3.0])
    with reopened(file) as project:
        assert isinstance(project.number("whole"), int)
        assert isinstance(project.number("real"), float)
        assert project.integer("listed") == 3


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("text", lambda p: p.array("value", "numbers")),
        ("text", lambda p: p.number("value")),
        (np.array([1.5]), lambda p: p.array("value", "integers")),
        (np.array([1.5, 2]), lambda p: p.number("value")),
        (np.array([np.nan]), lambda p: p.integer("value")),
        (np.array([np.inf]), lambda p: p.integer("value")),
        (2.5, lambda p: p.integer("value")),
        (3, lambda p: p.text("value")),
        (np.zeros(2, [("a", "i4"), ("b", "f4")]), lambda p: p.array("value", "numbers")),
        (np.zeros(2, [("a", "i4"), ("b", "f4")]), lambda p: p.texts("value")),
        (["a", "b"], lambda p: p.text("value")),
        ([["a"], ["b"]], lambda p: p.texts("value")),
    ],
)
def test_values_of_another_type_are_refused(
    file: h5py.File, value: object, read: Callable[[ProjectFile], object]
) -> None:
    file["value"] = value
    with reopened(file) as project:
        assert "values.h5', value: holds" in refusal(lambda: read(project))


def test_a_group_where_a_value_belongs_is_refused(file: h5py.File) -> None:
    file.create_group("value")
    with reopened(file) as project:
        assert "is not a dataset" in refusal(lambda: project.text("value"))


def test_a_dataset_without_extent_is_empty(file: h5py.File) -> None:
    file["value"] = h5py.Empty("f8")
    file["text"] = h5py.Empty(h5py.string_dtype())
    with reopened(file) as project:
        assert project.number("value") is None
        assert project.texts("text") == ()
        assert "holds 0 values" in refusal(lambda: project.text("text"))


def test_damaged_attributes_are_refused(file: h5py.File) -> None:
    file["value"] = 1
    file["value"].attrs["text"] = 5
    file["value"].attrs["number"] = "five"
    kind = h5py.h5t.py_create(h5py.vlen_dtype(np.int32), logical=True)
    h5py.h5a.create(file["value"].id, b"lists", kind, h5py.h5s.create(h5py.h5s.SCALAR))
    with reopened(file) as project:
        assert "attribute text" in refusal(lambda: project.attribute_text("value", "text"))
        assert "attribute number" in refusal(lambda: project.attribute_number("value", "number"))
        assert "attribute lists" in refusal(lambda: project.attribute_text("value", "lists"))


# -- links and storage elsewhere --------------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "secret.h5", "w") as other:
        other["value"] = np.arange(4.0)
    return tmp_path / "secret.h5"


def test_links_to_other_files_are_not_followed(file: h5py.File, secret: Path) -> None:
    file["value"] = h5py.ExternalLink(secret.name, "/value")
    file["group/inner"] = h5py.ExternalLink(secret.name, "/")
    file["round"] = h5py.SoftLink("/group/inner/value")
    with reopened(file) as project:
        for path in ("value", "group/inner/value", "round"):
            assert "link to another file" in refusal(lambda path=path: project.array(path, "numbers"))
        assert "link to another file" in refusal(lambda: project.groups("group"))


def test_soft_links_inside_the_file_are_followed(file: h5py.File) -> None:
    file["group/value"] = 5
    file["absolute"] = h5py.SoftLink("/group")
    file["group/relative"] = h5py.SoftLink("value")
    file["dangling"] = h5py.SoftLink("/nothing")
    with reopened(file) as project:
        assert project.integer("absolute/value") == project.integer("group/relative") == 5
        assert project.integer("dangling") is None


def test_a_circle_of_links_is_refused(file: h5py.File) -> None:
    file["a"], file["b"] = h5py.SoftLink("/b/x"), h5py.SoftLink("/a")
    with reopened(file) as project:
        assert "circle" in refusal(lambda: project.integer("a"))


def test_a_group_inside_itself_is_no_trap(file: h5py.File) -> None:
    group = file.create_group("group")
    group["again"] = group
    with reopened(file) as project:
        assert project.groups("group/again/again") == ("again",)


def test_virtual_datasets_are_refused(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource(secret.name, "value", (4,))
    file.create_virtual_dataset("value", layout)
    with reopened(file) as project:
        assert "from another file" in refusal(lambda: project.array("value", "numbers"))


def test_external_storage_is_refused(file: h5py.File, tmp_path: Path) -> None:
    (tmp_path / "raw.bin").write_bytes(bytes(32))
    file.create_dataset("value", (4,), "f8", external=[(str(tmp_path / "raw.bin"), 0, 32)])
    with reopened(file) as project:
        assert "from another file" in refusal(lambda: project.array("value", "numbers"))


# -- sizes ------------------------------------------------------------------------------------------------------


def test_declared_sizes_beyond_the_file_are_refused_before_memory_is_asked_for(file: h5py.File) -> None:
    file.create_dataset("never_written", (1 << 40,), "f8")
    file.create_dataset("sparse", (1 << 40,), "f8", chunks=(1024,))[:1024] = 1
    file.create_dataset("bomb", data=np.zeros(1 << 22), compression="gzip", compression_opts=9)
    file.create_dataset("texts", (1 << 40,), h5py.string_dtype(), chunks=(1024,))[:3] = "x"
    with reopened(file) as project:
        for path in ("never_written", "sparse", "bomb"):
            assert "declares" in refusal(lambda path=path: project.array(path, "numbers"))
        assert "declares" in refusal(lambda: project.texts("texts"))


def test_many_names_for_one_large_text_are_refused(file: h5py.File) -> None:
    """Variable strings may share what they point to; together they must not exceed what the file can hold."""
    file.create_dataset("big", data="x" * 300_000, dtype=h5py.string_dtype())
    file["pointers"] = np.zeros((5000, 16), np.uint8)
    path = Path(file.filename)
    raw_big, raw_pointers = file["big"].id.get_offset(), file["pointers"].id.get_offset()
    file.create_dataset("texts", data=["y"] * 5000, dtype=h5py.string_dtype())
    raw_texts = file["texts"].id.get_offset()
    assert raw_pointers is not None
    file.close()
    content = bytearray(path.read_bytes())
    content[raw_texts : raw_texts + 16 * 5000] = bytes(content[raw_big : raw_big + 16]) * 5000
    path.write_bytes(content)
    with open_project(path) as project:
        assert "far more than a file" in refusal(lambda: project.texts("texts"))


def test_repacked_values_are_read(file: h5py.File) -> None:
    values = np.tile(np.array([0.0, 1.0]), 5000)
    file.create_dataset("value", data=values, compression="gzip", shuffle=True, chunks=(100,))
    with reopened(file) as project:
        assert np.array_equal(project.array("value", "numbers"), values)


def test_more_than_makes_sense_is_refused(file: h5py.File) -> None:
    file["value"] = np.zeros(1000)
    with reopened(file) as project:
        assert "at most 100" in refusal(lambda: project.array("value", "numbers", max_bytes=100))
