"""A project from elsewhere could write `.bashrc`, follow links, fill hidden folders and contact servers."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from support.stored_settings import store, store_table

from pixelforest import cli
from pixelforest.engine.errors import ExportError
from pixelforest.engine.export.stored_places import StoredPlace
from pixelforest.engine.formats import output_formats, table_formats

CopyGolden = Callable[[str], Path]
needs_links = pytest.mark.skipif(os.name == "nt", reason="links need a permission on Windows")


@pytest.fixture
def pixels(copy_golden: CopyGolden, work_folder: Path) -> Path:
    return copy_golden("px2d_gray")


@pytest.fixture
def objects(copy_golden: CopyGolden, work_folder: Path) -> Path:
    return copy_golden("obj2d_seg")


def run(folder: Path, *options: str) -> int:
    argv = [f"--project={folder / 'project.ilp'}", *options, "--raw_data", str(folder / "raw.png")]
    if (folder / "seg.png").exists():
        argv += ["--segmentation_image", str(folder / "seg.png")]
    return cli.main(argv)


def explain(folder: Path, *options: str) -> int:
    return run(folder, "--dry_run", *options)


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------------------------------------- tables


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("file_type", "stored", "written"),
    [
        ("csv", "x.sh", "x.sh.csv"),
        ("csv", ".bashrc", ".bashrc.csv"),
        ("h5", "x.sh", "x.sh.h5"),
        ("h5", ".bashrc", ".bashrc.h5"),
        ("csv", "x.h5", "x.h5.csv"),
        ("csv", "{nickname}.csv", "raw_table.csv"),
        ("csv", "x.csv{nickname:.0}", "x.csv.csv"),
    ],
)
def test_a_table_has_the_extension_of_its_format(objects: Path, file_type: str, stored: str, written: str) -> None:
    store_table(objects / "project.ilp", stored, file_type=file_type)
    assert run(objects, "--table_only") == 0
    assert files_of(Path.cwd()) - {f"obj2d_seg/{name}" for name in files_of(objects)} == {written}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("file_type", ["csv", "h5"])
def test_a_stored_table_replaces_tables_only(objects: Path, file_type: str, capsys: pytest.CaptureFixture[str]) -> None:
    store_table(objects / "project.ilp", "t.h5" if file_type == "h5" else "t.csv", file_type=file_type)
    target = Path("t.h5" if file_type == "h5" else "t_table.csv")
    target.write_text("my own numbers\n")
    assert explain(objects, "--table_only") == 1
    assert run(objects, "--table_only") == 1
    assert "--table_filename" in capsys.readouterr().err
    assert target.read_text() == "my own numbers\n"
    target.unlink()
    assert run(objects, "--table_only") == 0
    assert run(objects, "--table_only") == 0  # over its own result


@pytest.mark.slow
@needs_links
def test_a_stored_table_follows_no_link_and_enters_no_hidden_folder(
    objects: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere := Path("elsewhere")).mkdir()
    Path("linked").symlink_to(elsewhere)
    for stored in ("linked/t.csv", ".config/t.csv", "a/.ssh/t.csv", "../folder/.x/t.csv"):
        store_table(objects / "project.ilp", stored)
        assert explain(objects, "--table_only") == 1
        assert run(objects, "--table_only") == 1
        assert "--table_filename" in capsys.readouterr().err
    assert not any(elsewhere.iterdir())
    assert run(objects, "--table_filename=linked/t.csv") == 0  # the user's own word
    assert (elsewhere / "t.csv").is_file()


def test_a_table_is_never_sent_to_a_server(objects: Path) -> None:
    store_table(objects / "project.ilp", "s3://bucket/t.csv")
    assert run(objects, "--table_only", "--allow-project-urls") == 1
    assert not Path("s3:").exists()


# ------------------------------------------------------------------------------------------------------------- images


def test_no_format_takes_a_strange_file_for_its_result(tmp_path: Path) -> None:
    strange = tmp_path / "file"
    strange.write_text("my own work")
    to_files = [each for each in output_formats().values() if each.name != "dvid"]
    assert len(to_files) > 30
    assert [each.name for each in to_files if each.is_result(strange, "exported_data")] == []


@pytest.mark.parametrize("table", [pytest.param(each, id=each.name) for each in table_formats()])
def test_no_table_format_takes_a_strange_file_for_its_result(table, tmp_path: Path) -> None:
    strange = tmp_path / "file"
    strange.write_text("my own work")
    assert not table.is_result(strange, "")
    assert not table.is_result(tmp_path, "")


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "name", ["hdf5", "n5", "numpy", "tiff", "multipage tiff", "png", "jpg", "bmp", "gif", "ppm", "ras", "xv"]
)
def test_a_result_is_replaced_by_the_next_run(pixels: Path, name: str) -> None:
    store(pixels / "project.ilp", OutputFilenameFormat="out/{nickname}", OutputFormat=name)
    options = ["--export_source=Simple Segmentation"] + (["--export_dtype=uint8"] if name != "hdf5" else [])
    assert run(pixels, *options) == 0
    assert run(pixels, *options) == 0


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["png", "compressed hdf5", "numpy", "tiff", "n5", "png sequence"])
def test_a_stored_path_replaces_no_strange_file(pixels: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    slices = "_{slice_index:01}" if name.endswith("sequence") else ""
    store(pixels / "project.ilp", OutputFilenameFormat="out/mine" + slices, OutputFormat=name)
    target = pixels / "out" / f"mine{'_0' if slices else ''}.{output_formats()[name].extension}"
    target.parent.mkdir()
    target.write_text("my own work")
    options = ["--export_dtype=uint8", "--output_axis_order=cyx"] if slices else ["--export_source=Simple Segmentation"]
    assert explain(pixels, *options) == 1
    assert run(pixels, *options) == 1
    assert target.read_text() == "my own work"
    assert target.name in capsys.readouterr().err


@needs_links
def test_a_stored_path_follows_no_link(pixels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (elsewhere := Path("elsewhere")).mkdir()
    (pixels / "out").symlink_to(elsewhere.resolve())
    (pixels / "file.h5").symlink_to(elsewhere.resolve() / "target.h5")
    for template in ("out/{nickname}", "{dataset_dir}/out/deep/{nickname}", "file", str(pixels / "out" / "x")):
        store(pixels / "project.ilp", OutputFilenameFormat=template)
        assert explain(pixels) == 1
        assert run(pixels) == 1
        assert "--output_filename_format" in capsys.readouterr().err
    assert not any(elsewhere.iterdir())
    assert run(pixels, f"--output_filename_format={pixels}/out/{{nickname}}") == 0  # the user's own word
    assert files_of(elsewhere) == {"raw.h5"}


@needs_links
def test_links_on_the_users_own_way_are_no_obstacle(pixels: Path) -> None:
    Path("way").symlink_to(pixels)
    store(pixels / "project.ilp", OutputFilenameFormat="{dataset_dir}/out/{nickname}")
    assert run(Path.cwd() / "way") == 0
    assert (pixels / "out" / "raw.h5").is_file()


@needs_links
def test_the_usual_template_that_every_project_stores_is_not_restricted(pixels: Path) -> None:
    (elsewhere := Path("elsewhere")).mkdir()
    (pixels / "raw_Probabilities.h5").symlink_to(elsewhere.resolve() / "kept.h5")
    assert run(pixels) == 0
    assert files_of(elsewhere) == {"kept.h5"}


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "template",
    [
        ".hidden/{nickname}",
        "{dataset_dir}/.git/hooks/{nickname}",
        "{nickname:.<1.0}git/{nickname}",
        "../../.ssh/{nickname}",
    ],
)
def test_a_stored_path_enters_no_hidden_folder(pixels: Path, template: str) -> None:
    store(pixels / "project.ilp", OutputFilenameFormat=template)
    before = files_of(pixels.parent)
    assert explain(pixels) == 1
    assert run(pixels) == 1
    assert files_of(pixels.parent) == before


def test_what_lies_in_a_hidden_folder_itself_is_served(pixels: Path) -> None:
    hidden = pixels.rename(pixels.parent / ".cache")
    store(hidden / "project.ilp", OutputFilenameFormat="out/{nickname}")
    assert run(hidden) == 0
    assert (hidden / "out" / "raw.h5").is_file()


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["n5", "compressed n5"])
def test_a_stored_dataset_makes_no_hidden_folder(pixels: Path, name: str) -> None:
    store(pixels / "project.ilp", OutputFormat=name, OutputInternalPath=".git/hooks")
    assert run(pixels) == 1
    assert run(pixels, "--output_internal_path=.a/b") == 0


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dataset", ["../x", "a/../../x", "a\\b", "a\x1b[31m", "/"])
def test_a_stored_dataset_is_a_name(pixels: Path, dataset: str, capsys: pytest.CaptureFixture[str]) -> None:
    store(pixels / "project.ilp", OutputInternalPath=dataset)
    assert run(pixels) == 1
    assert "--output_internal_path" in capsys.readouterr().err


def test_a_dataset_without_axes_is_not_a_result(pixels: Path) -> None:
    import h5py

    store(pixels / "project.ilp", OutputFilenameFormat="work.h5", OutputInternalPath="measured")
    with h5py.File(pixels / "work.h5", "w") as file:
        file["measured"] = [1, 2, 3]
    assert run(pixels) == 1
    with h5py.File(pixels / "work.h5") as file:
        assert file["measured"][:].tolist() == [1, 2, 3]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", ["absolute", "dots", "fill"])
def test_leaving_the_folder_is_obeyed_with_one_warning(
    pixels: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    template = {
        "absolute": f"{Path.cwd()}/out/{{nickname}}",
        "dots": "{dataset_dir}/../out/{nickname}",
        "fill": f"{{nickname:/<1.0}}{str(Path.cwd())[1:]}/out/{{nickname}}",
    }[kind]
    store(pixels / "project.ilp", OutputFilenameFormat=template)
    (pixels / "second.png").write_bytes((pixels / "raw.png").read_bytes())
    options = ["--export_source=Probabilities,Simple Segmentation"]
    assert run(pixels, *options, "--raw_data", str(pixels / "second.png")) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "--output_filename_format" in line]
    assert len(warnings) == 1
    assert f"'{template}'" in warnings[0]
    assert len(files_of(Path("out"))) == 4


def test_a_folder_of_the_project_needs_no_warning(pixels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(pixels / "project.ilp", OutputFilenameFormat="out/{nickname}")
    assert run(pixels) == 0
    assert capsys.readouterr().err == ""


# ------------------------------------------------------------------------------------------------------------ servers


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A server that knows nothing, and the list of what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api/node/1/x", asked
        server.shutdown()
        thread.join()


SEGMENTATION = ("--export_source=Simple Segmentation", "--export_dtype=uint8")


def test_servers_that_a_project_names_need_the_users_word(
    pixels: Path, server: tuple[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    url, asked = server
    store(pixels / "project.ilp", OutputFilenameFormat=url, OutputFormat="dvid")
    assert run(pixels, *SEGMENTATION) == 1
    assert explain(pixels, *SEGMENTATION) == 1
    error = capsys.readouterr().err
    assert "--allow_project_urls" in error
    assert "--output_filename_format" in error
    assert explain(pixels, *SEGMENTATION, "--allow-project-urls") == 0
    assert not asked
    assert run(pixels, *SEGMENTATION, "--allow-project-urls") == 1  # the server knows nothing
    assert asked
    asked.clear()
    assert explain(pixels, *SEGMENTATION, f"--output_filename_format={url}") in (0, 1)
    assert asked


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["n5", "multi-scale OME-Zarr"])
@pytest.mark.parametrize("template", ["s3://bucket/{nickname}", "gs://bucket/x", "s3:{nickname:/<2.0}bucket/x"])
def test_no_bucket_of_a_project_is_used(
    pixels: Path, template: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store(pixels / "project.ilp", OutputFilenameFormat=template, OutputFormat=name)
    assert explain(pixels) == 1
    assert run(pixels) == 1
    assert "--allow_project_urls" in capsys.readouterr().err


def test_shares_of_windows_are_servers() -> None:
    place = StoredPlace(r"\\server\share\x", "output path", "--output_filename_format")
    with pytest.raises(ExportError, match="names a server"):
        place.check_template(is_windows=True)
