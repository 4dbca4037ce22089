"""Programs that call ilastik, and what they send: each command line as that program builds it, to run_ilastik.sh.

A test writes the temporary files that the program writes (dataset, axes, type), starts the script as a process of its
own with the program's environment, and reads the result back the way the program does. docs/clients.md says the same
in a table. The sources that were read are named at each test; nothing of them is copied.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image
from support.golden import GOLDEN, REPOSITORY

from pixelforest import cli

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell script")

SCRIPT = REPOSITORY / "scripts" / "run_ilastik.sh"
# Where the script finds pixelforest; ilastik's own script lies beside what it starts.
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
TYPE_FLAGS = {"c": 1, "x": 2, "y": 2, "z": 2, "t": 8}


def run(argv: Sequence[str | Path], **environment: str) -> subprocess.CompletedProcess[str]:
    """Start the script with these arguments; it has to end with 0."""
    command = [str(SCRIPT), *map(str, argv)]
    done = subprocess.run(command, capture_output=True, text=True, env={**ENVIRONMENT, **environment}, check=False)
    assert done.returncode == 0, done.stderr
    return done


def run_in_shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The same for programs that leave it to a shell to take the command apart."""
    env = {**ENVIRONMENT, **environment}
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return done


def write_hdf5(path: Path, name: str, array: np.ndarray, *, axes: str | None = None, **storage: Any) -> Path:
    """A file with one dataset; ``axes``: with axistags that hold no more than letters and kinds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(name, data=array, **storage)
        if axes is not None:
            dataset.attrs["axistags"] = json.dumps({"axes": [{"key": a, "typeFlags": TYPE_FLAGS[a]} for a in axes]})
    return path


def read_hdf5(path: Path, name: str = "exported_data") -> np.ndarray:
    with h5py.File(path, "r") as file:
        array: np.ndarray = file[name][()]
        return array


def axistags_of(path: Path) -> str:
    with h5py.File(path, "r") as file:
        return "".join(a["key"] for a in json.loads(file["exported_data"].attrs["axistags"])["axes"])


def picture(name: str, file: str = "raw.png") -> np.ndarray:
    """A recorded picture (y, x, c)."""
    with Image.open(GOLDEN / name / file) as image:
        array = np.asarray(image)
    return array[..., np.newaxis] if array.ndim == 2 else array


def recorded(name: str, result: str = "probabilities") -> np.ndarray:
    """ilastik's result, in the axes of the recorded file."""
    return read_hdf5(GOLDEN / name / "expected" / f"{result}.h5")


def reorder(array: np.ndarray, axes: str, wanted: str) -> np.ndarray:
    """The array with its axes in another order; those it does not have get length 1."""
    present = [a for a in wanted if a in axes]
    array = array.transpose([axes.index(a) for a in present])
    return array.reshape([array.shape[present.index(a)] if a in present else 1 for a in wanted])


def project(folder: Path, name: str, **stored: object) -> Path:
    """A copy of a recorded project, with export settings as its user would have stored them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "My Project.ilp"
    shutil.copy(GOLDEN / name / "project.ilp", path)
    with h5py.File(path, "r+") as file:
        for key, value in stored.items():
            group = file["Prediction Export"]
            if key in group:
                del group[key]
            group[key] = value
    return path


# ---------------------------------------------------------------------------------------------------------------- Fiji
# ilastik/ilastik4ij: workflow/WorkflowCommand.java, workflow/PixelClassificationCommand.java,
# workflow/ObjectClassificationCommand.java, hdf5/Hdf5.java, util/ImgUtils.java (below src/main/java/org/ilastik/
# ilastik4ij), workflow/AutocontextCommand.java. Inputs are 5-D, gzip 1, dataset "data", with axistags without
# descriptions.

FIJI_AXES = "tzcyx"
FIJI_ENVIRONMENT = {
    "LAZYFLOW_THREADS": "2",
    "LAZYFLOW_TOTAL_RAM_MB": "4096",
    "LANG": "en_US.UTF-8",
    "LC_ALL": "en_US.UTF-8",
    "LC_CTYPE": "en_US.UTF-8",
}


def run_like_fiji(folder: Path, project: Path, inputs: Mapping[str, tuple[np.ndarray, str]], source: str) -> np.ndarray:
    """Write the inputs as Fiji's plugin does, run, and return what it reads: the result with its axes t z c y x."""
    argv: list[str | Path] = ["--headless", f"--project={project}", "--output_format=hdf5"]
    argv += [f"--output_axis_order={FIJI_AXES}", "--ignore_training_axistags", "--readonly=1"]
    argv += ["--output_internal_path=exported_data", f"--export_source={source}"]
    for name, (array, axes) in inputs.items():
        content = reorder(array, axes, FIJI_AXES)
        chunks = tuple(min(n, 64) for n in content.shape)
        path = folder / "inputs" / f"{name}.h5"
        write_hdf5(path, "data", content, axes=FIJI_AXES, compression="gzip", compression_opts=1, chunks=chunks)
        argv.append(f"--{name}={path}")
    (folder / "outputs").mkdir()
    result = folder / "outputs" / "predictions.h5"
    argv.append(f"--output_filename_format={result}")
    run(argv, **FIJI_ENVIRONMENT)
    assert axistags_of(result) == FIJI_AXES
    return read_hdf5(result)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("source", "result"), [("Probabilities", "probabilities"), ("Simple Segmentation", "simple_segmentation")]
)
def test_fiji_pixel_classification(source: str, result: str, tmp_path: Path) -> None:
    inputs = {"raw_data": (picture("px2d_rgb"), "yxc")}
    found = run_like_fiji(tmp_path / "ilastik4ij_1", project(tmp_path, "px2d_rgb"), inputs, source)
    expected = reorder(recorded("px2d_rgb", result), "yxc", FIJI_AXES)
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("Probabilities Stage 2", "probabilities_stage_2"),
        ("Simple Segmentation Stage 2", "simple_segmentation_stage_2"),
    ],
)
def test_fiji_autocontext(source: str, result: str, tmp_path: Path) -> None:
    inputs = {"raw_data": (picture("autocontext_2d"), "yxc")}
    found = run_like_fiji(tmp_path / "ilastik4ij_1", project(tmp_path, "autocontext_2d"), inputs, source)
    expected = reorder(recorded("autocontext_2d", result), "yxc", FIJI_AXES)
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)


@pytest.mark.slow
def test_fiji_object_classification_from_a_segmentation(tmp_path: Path) -> None:
    inputs = {  # in a hash map's order: the segmentation may come first
        "segmentation_image": (picture("obj2d_seg", "seg.png"), "yxc"),
        "raw_data": (picture("obj2d_seg"), "yxc"),
    }
    found = run_like_fiji(tmp_path / "ilastik4ij_1", project(tmp_path, "obj2d_seg"), inputs, "Object Predictions")
    expected = reorder(recorded("obj2d_seg", "object_predictions"), "yxc", FIJI_AXES)
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)


@pytest.mark.slow
def test_fiji_object_classification_from_probabilities(tmp_path: Path) -> None:
    inputs = {
        "raw_data": (read_hdf5(GOLDEN / "obj2d_pred" / "raw.h5", "data"), "yx"),
        "prediction_maps": (read_hdf5(GOLDEN / "obj2d_pred" / "pred.h5", "data"), "yxc"),
    }
    found = run_like_fiji(tmp_path / "ilastik4ij_1", project(tmp_path, "obj2d_pred"), inputs, "Object Predictions")
    assert np.array_equal(found, reorder(recorded("obj2d_pred", "object_predictions"), "yxc", FIJI_AXES))


@pytest.mark.slow
@pytest.mark.parametrize("quotes", ["", '"'], ids=["bare", "quoted"])
def test_fiji_before_2021(quotes: str, tmp_path: Path) -> None:
    """executors/PixelClassification.java: neither the file nor an option says which axes there are.

    executors/PixelClassificationPrediction.java puts quotes into the argument itself, and no shell takes them off.
    """
    frames = read_hdf5(GOLDEN / "px2dt" / "raw_tzyxc.h5", "data")
    raw = write_hdf5(tmp_path / "ilastik4ij_in_raw.h5", "data", frames, compression="gzip", compression_opts=1)
    result = tmp_path / "ilastik4ij_out.h5"
    argv: list[str | Path] = ["--headless", f"--project={project(tmp_path, 'px2dt')}"]
    argv += [f"--output_filename_format={result}", "--output_format=hdf5", "--output_axis_order=tzyxc"]
    argv += [f"--export_source={quotes}Simple Segmentation{quotes}", raw]
    run(argv, **FIJI_ENVIRONMENT)
    assert np.array_equal(read_hdf5(result), recorded("px2dt", "simple_segmentation"))


# ----------------------------------------------------------------------------------------------------------- TrackMate
# trackmate-sc/TrackMate-Ilastik: src/main/java/fiji/plugin/trackmate/ilastik/IlastikRunner.java, which calls
# ilastik/ilastik4ij: executors/AbstractIlastikExecutor.java. Inputs t z y x c without any axistags; one option comes
# twice, and --readonly has no value.


@pytest.mark.slow
def test_trackmate_runs_as_documented(tmp_path: Path) -> None:
    frames = read_hdf5(GOLDEN / "px2dt" / "raw_tzyxc.h5", "data")
    raw = write_hdf5(tmp_path / "ilastik4ij_in_raw.h5", "data", frames, compression="gzip", compression_opts=1)
    result = tmp_path / "ilastik4ij_out.h5"
    argv: list[str | Path] = ["--headless", f"--project={project(tmp_path, 'px2dt')}", "--output_format=hdf5"]
    argv += ["--output_axis_order=tzyxc", "--input_axes=tzyxc", "--readonly", "--output_internal_path=exported_data"]
    argv += ["--input_axes=tzyxc", f"--output_filename_format={result}", "--export_source=Probabilities"]
    argv += [f"--raw_data={raw}"]
    run(argv, **FIJI_ENVIRONMENT)
    found = read_hdf5(result)
    assert found.dtype == np.float32
    assert np.array_equal(found, recorded("px2dt"))


# -------------------------------------------------------------------------------------------------------- CellProfiler
# CellProfiler/CellProfiler-plugins: active_plugins/runilastik.py. Values follow their options; pixels are floats, as
# large as those of the file; the file for the result is there already, and empty.


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("name", "dtype"), [("px2d_rgb", "float64"), ("px2d_gray", "float32")])
def test_cellprofiler_runs_as_documented(name: str, dtype: str, tmp_path: Path) -> None:
    temporary = tmp_path / ".cellprofiler_temp"
    raw = write_hdf5(temporary / "tmpa1b2c3.h5", "data", picture(name).astype(dtype))
    result = temporary / "tmpd4e5f6.h5"
    result.touch()
    argv: list[str | Path] = ["--headless", "--project", project(tmp_path, name), "--output_format", "hdf5"]
    argv += ["--export_source", "Probabilities", "--output_filename_format", result, raw]
    run(argv)
    found = read_hdf5(result)
    assert found.dtype == np.float32
    assert np.array_equal(found, recorded(name))


@pytest.mark.slow
def test_cellprofiler_autocontext_runs_as_documented(tmp_path: Path) -> None:
    """With pixels of floats stage 2 sees probabilities from 0 to 1; tests/properties compares such runs by value."""
    temporary = tmp_path / ".cellprofiler_temp"
    pixels = picture("autocontext_2d").astype(np.float64)
    raw = write_hdf5(temporary / "tmpa1b2c3.h5", "data", pixels)
    result = temporary / "tmpd4e5f6.h5"
    result.touch()
    path = project(tmp_path, "autocontext_2d")
    argv: list[str | Path] = ["--headless", "--project", path, "--output_format", "hdf5"]
    argv += ["--export_source", "probabilities stage 2", "--output_filename_format", result, raw]
    run(argv)
    found = read_hdf5(result)
    np.save(tmp_path / "same.npy", pixels)
    same = [f"--project={path}", "--input_axes=yxc", "--export_source=Probabilities All Stages"]
    assert cli.main([*same, f"--output_filename_format={tmp_path}/all.h5", str(tmp_path / "same.npy")]) == 0
    assert found.dtype == np.float32
    assert np.array_equal(found, read_hdf5(tmp_path / "all.h5")[..., 3:])


# --------------------------------------------------------------------------------------------------------------- KNIME
# knime-ip/knip-ilastik: org.knime.knip.ilastik/src/org/knime/knip/ilastik/nodes/headless/IlastikHeadlessNodeModel.java,
# which writes and reads TIFF with scifio/scifio: src/main/java/io/scif/formats/TIFFFormat.java. All images of a table
# in one call.


def write_scifio_tiff(path: Path, array: np.ndarray, axes: str) -> Path:
    """A plane a page, big-endian, uncompressed, described in SCIFIO's words; axes in ImageJ's order, such as cyx."""
    names = {"x": "X", "y": "Y", "c": "Channel", "z": "Z", "t": "Time"}
    sizes = dict(zip(axes, array.shape, strict=True))
    count = array.size // (sizes["y"] * sizes["x"])
    lines = {
        "SCIFIO": "0.45.0",
        "axes": ",".join(names[a] for a in reversed(axes)),
        "lengths": ",".join(str(n) for n in reversed(array.shape)),
        "scales": ",".join("1.0" for _ in axes),
        "units": ",".join("null" for _ in axes),
        "bitsPerPixel": 8 * array.dtype.itemsize,
        "images": count,
        "channels": sizes.get("c", 1),
        "slices": sizes.get("z", 1),
        "frames": sizes.get("t", 1),
        "hyperstack": "true",
        "mode": "composite",
        "unit": "null",
    }
    description = "".join(f"{key}={value}\n" for key, value in lines.items())
    pages = array.reshape(count, sizes["y"], sizes["x"])
    with tifffile.TiffWriter(path, byteorder=">") as file:
        for number, page in enumerate(pages):
            text = description if number == 0 else None
            file.write(page, photometric="minisblack", description=text, metadata=None, contiguous=False)
    return path


@pytest.mark.slow
def test_knime_runs_as_documented(tmp_path: Path) -> None:
    folder = tmp_path / "ilastik" / "0f8fad5b-d9cb-469f-a165-70867728950e"
    folder.mkdir(parents=True)
    raw = tifffile.imread(GOLDEN / "px2d_gray16_partial" / "raw.tif")
    first = write_scifio_tiff(folder / "file0.tif", raw, "yx")
    second = write_scifio_tiff(folder / "file1.tif", np.ascontiguousarray(raw[::-1]), "yx")
    argv: list[str | Path] = ["--headless", f"--project={project(tmp_path, 'px2d_gray16_partial')}"]
    argv += ["--output_format=tif", f"--output_filename_format={folder}/{{nickname}}_result", first, second]
    run(argv)
    found = planar(folder / "file0_result.tif")
    expected = recorded("px2d_gray16_partial")
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)
    assert planar(folder / "file1_result.tif").shape == expected.shape


@pytest.mark.slow
def test_knime_colours(tmp_path: Path) -> None:
    """Colours are pages to SCIFIO, so the file says c y x where a project that was trained on a PNG says y x c."""
    raw = write_scifio_tiff(tmp_path / "file0.tif", reorder(picture("px2d_rgb"), "yxc", "cyx"), "cyx")
    argv: list[str | Path] = ["--headless", f"--project={project(tmp_path, 'px2d_rgb')}", "--output_format=tif"]
    run([*argv, f"--output_filename_format={tmp_path}/{{nickname}}_result", raw])
    assert np.array_equal(planar(tmp_path / "file0_result.tif"), recorded("px2d_rgb"))


def planar(path: Path) -> np.ndarray:
    """A TIFF with few samples as (y, x, c)."""
    with tifffile.TiffFile(path) as file:
        array, axes = file.series[0].asarray(), file.series[0].axes
    return array if axes.endswith("S") else np.moveaxis(array, 0, -1)


# ------------------------------------------------------------------------------------------------------------- nf-core
# nf-core/modules: modules/nf-core/ilastik/pixelclassification/main.nf. A script that bash takes apart in a folder of
# its own; names are relative; options come from the pipeline's configuration, quotes and all.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "suffix", "result"),
    [
        ("", "h5", "probabilities"),
        ('--export_source="Simple Segmentation"', "h5", "simple_segmentation"),
        ("--export_source='Simple Segmentation' --output_format 'tiff'", "tiff", "simple_segmentation"),
    ],
)
def test_nf_core(options: str, suffix: str, result: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "project.ilp").symlink_to(GOLDEN / "px2d_gray" / "project.ilp")  # Nextflow links its inputs
    (tmp_path / "raw.png").symlink_to(GOLDEN / "px2d_gray" / "raw.png")
    before = (GOLDEN / "px2d_gray" / "project.ilp").read_bytes()
    script = shlex.quote(str(SCRIPT))
    command = f"""
    {script} \\
        --headless \\
        --readonly 1 \\
        --project=project.ilp \\
        --output_filename_format=test.{suffix} \\
        {options} \\
        raw.png

    cat <<-END_VERSIONS > versions.yml
    "ILASTIK_PIXELCLASSIFICATION":
        ilastik: $({script} --headless --version)
END_VERSIONS
    """
    run_in_shell(command, MPLCONFIGDIR=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / ".cache"))
    expected = recorded("px2d_gray", result)
    if suffix == "h5":
        assert np.array_equal(read_hdf5(tmp_path / "test.h5"), expected)
    else:
        assert np.array_equal(tifffile.imread(tmp_path / "test.tiff"), expected[..., 0])
    assert f"ilastik: {cli.VERSION_LINE}\n" in (tmp_path / "versions.yml").read_text()
    assert (GOLDEN / "px2d_gray" / "project.ilp").read_bytes() == before
    assert sorted(p.name for p in GOLDEN.joinpath("px2d_gray").iterdir()) == [
        "case.json",
        "expected",
        "project.ilp",
        "raw.png",
    ]


# ------------------------------------------------------------------------------------------------------------- MCMICRO
# labsyspharm/mcmicro-ilastik: mc-ilastik.py, IlastikPrepOME.py; labsyspharm/mcmicro: modules/probmaps.nf, which
# collects *_Probabilities*.tif. The dataset (1, y, x, c) is called after the image and was grown channel by channel;
# where the result goes is stored in the project, of which every process gets a copy.


@pytest.mark.slow
def test_mcmicro_runs_as_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = project(
        tmp_path,
        "px2d_rgb",
        OutputFormat="tif",
        OutputFilenameFormat=f"{tmp_path}/{{nickname}}_{{result_type}}",
        InputMin=0.0,
        InputMax=1.0,
        ExportMin=0,
        ExportMax=255,
    )
    model.rename(tmp_path / "cp-model.ilp")
    raw = picture("px2d_rgb")[np.newaxis]
    for name in ("exemplar-001", "exemplar-002"):
        with h5py.File(f"{name}.hdf5", "w") as file:
            file.create_dataset(name, data=raw[..., :1], chunks=True, maxshape=(1, None, None, None))
            for channel in (1, 2):
                file[name].resize(channel + 1, axis=3)
                file[name][..., channel : channel + 1] = raw[..., channel : channel + 1]
    set_training_axes(tmp_path / "cp-model.ilp", "zyxc", raw.shape)
    run_in_shell(f"{shlex.quote(str(SCRIPT))} --headless --export_dtype uint8 --project cp-model.ilp *.hdf5")
    written = sorted(p.name for p in tmp_path.glob("*_Probabilities*.tif"))
    assert written == ["exemplar-001_Probabilities.tif", "exemplar-002_Probabilities.tif"]
    expected = np.rint(recorded("px2d_rgb") * np.float32(255)).astype(np.uint8)
    for name in written:
        assert np.array_equal(planar(tmp_path / name), expected)


def set_training_axes(path: Path, axes: str, shape: Sequence[int]) -> None:
    """Let a project say that it was trained on an image with these axes."""
    with h5py.File(path, "r+") as file:
        info = file["Input Data/infos/lane0000/Raw Data"]
        del info["axistags"], info["shape"]
        entries = [{"key": a, "typeFlags": TYPE_FLAGS[a], "resolution": 0, "description": ""} for a in axes]
        info["axistags"] = json.dumps({"axes": entries}).encode()
        info["shape"] = tuple(shape)


# ----------------------------------------------------------------------------------------------------------- steinbock
# BodenmillerGroup/steinbock: steinbock/classification/ilastik/_ilastik.py, steinbock/_env.py. float32 (c, y, x) in the
# dataset "img", whose name becomes part of the result's and is taken off again.


@pytest.mark.slow
def test_steinbock_runs_as_documented(tmp_path: Path) -> None:
    probabilities = tmp_path / "ilastik_probabilities"
    probabilities.mkdir()
    trained = project(tmp_path, "px2d_rgb")
    image = reorder(picture("px2d_rgb"), "yxc", "cyx").astype(np.float32)
    set_training_axes(trained, "cyx", image.shape)
    files = []
    for name in ("Patient1_001", "Patient1_002"):
        path = write_hdf5(tmp_path / "ilastik_img" / f"{name}.h5", "img", image, axes="cyx")
        with h5py.File(path, "r+") as file:
            file["img"].attrs["display_mode"] = np.bytes_(b"grayscale")
            file["img"].attrs["axistags"] = np.bytes_(file["img"].attrs["axistags"].encode())
            file["img"].attrs["steinbock"] = True
        files.append(path / "img")
    argv: list[str | Path] = ["--headless", f"--project={trained}", "--readonly", "--input_axes=cyx"]
    argv += ["--export_source=Probabilities", "--output_format=tiff"]
    argv += [f"--output_filename_format={probabilities / '{nickname}.tiff'}", "--export_dtype=uint16"]
    argv += ["--output_axis_order=yxc", "--pipeline_result_drange=(0.0,1.0)", "--export_drange=(0,65535)"]
    run([*argv, *files], LAZYFLOW_THREADS="2", LAZYFLOW_TOTAL_RAM_MB="2000")
    assert sorted(p.name for p in probabilities.rglob("[!.]*-img.tiff")) == [
        "Patient1_001-img.tiff",
        "Patient1_002-img.tiff",
    ]
    found = planar(probabilities / "Patient1_002-img.tiff")
    assert found.dtype == np.uint16
    assert np.array_equal(found, np.rint(recorded("px2d_rgb") * np.float32(65535)).astype(np.uint16))


# -------------------------------------------------------------------------------------------------------------- Galaxy
# galaxyproject/galaxy: tools/interactive/interactivetool_ilastik.xml opens the graphical program (it trains, and
# exports nothing); no tool for Galaxy that calls ilastik without graphics was found. What it sends is refused in one
# line instead of being misunderstood.


def test_galaxy_opens_the_graphical_program(tmp_path: Path) -> None:
    argv = [str(SCRIPT), "--new_project", str(tmp_path / "MyProject.ilp"), "--workflow", "PixelClassificationWorkflow"]
    done = subprocess.run(argv, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--new_project" in done.stderr
    assert not (tmp_path / "MyProject.ilp").exists()


# ------------------------------------------------------------------------------------------------------------ everyone


@pytest.mark.slow
def test_ways_of_writing_the_same(tmp_path: Path) -> None:
    """A leading slash of the dataset, a word after --readonly, dashes, and the last of a repeated option."""
    argv = ["--headless", "--readonly", "ON", "--project", str(project(tmp_path, "px2d_gray"))]
    argv += ["--output_internal_path=/exported_data", "--output-format=numpy", "--output_format=hdf5"]
    argv += [f"--output_filename_format={tmp_path}/out.h5", "--raw_data", str(GOLDEN / "px2d_gray" / "raw.png")]
    run(argv)
    assert np.array_equal(read_hdf5(tmp_path / "out.h5"), recorded("px2d_gray"))
