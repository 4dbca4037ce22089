"""Lanes, the axes that are applied, and images in canonical axes."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from pixelforest.box import Box
from pixelforest.engine.axes import axistags_json
from pixelforest.engine.errors import InputError, InputMismatch, InputNotFound, UsageError
from pixelforest.engine.inputs.images import InputImage, open_image
from pixelforest.engine.inputs.lanes import (
    InputOptions,
    LaneArguments,
    describe_axes_choice,
    pair_lanes,
    parse_input_axes,
)
from pixelforest.engine.project.lanes import TrainingImage

ROLES = ("Raw Data", "Prediction Mask")
IMAGE = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)


def trained(axes: str) -> TrainingImage:
    return TrainingImage(
        axes=axes, shape=None, nickname="t", file_path="t.png", location="", drange=None, display_mode="", axis_units={}
    )


def open_with(
    argument: str,
    *,
    training: str | None = None,
    given: tuple[str | None, ...] | None = None,
    role_index: int = 0,
    ignore: bool = False,
    along: str = "z",
) -> InputImage:
    options = InputOptions(input_axes=given, ignore_training_axistags=ignore, stack_along=along)
    return open_image(
        argument, role_index=role_index, training=trained(training) if training else None, options=options
    )


def save_h5(path: Path, data: np.ndarray, axes: str | None = None, name: str = "data") -> None:
    with h5py.File(path, "a") as file:
        file[name] = data
        if axes:
            file[name].attrs["axistags"] = axistags_json(axes, {"x": 0.5})
            file[name].attrs["axis_units"] = '{"x": "um"}'


def whole(image: InputImage) -> np.ndarray:
    with image:
        return image.read(Box.whole(image.shape))


@pytest.fixture(autouse=True)
def _in_work_folder(work_folder: Path) -> None:
    """Every test has an empty folder as its current directory."""


@pytest.fixture(autouse=True)
def _see_all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pixelforest.inputs")


class TestLanes:
    def test_pairs_by_position(self) -> None:
        lanes = pair_lanes({"Raw Data": ["a", "b"], "Prediction Mask": ["m"]}, ROLES)
        assert lanes == (
            LaneArguments(0, {"Raw Data": "a", "Prediction Mask": "m"}),
            LaneArguments(1, {"Raw Data": "b"}),
        )

    def test_without_role(self) -> None:
        assert pair_lanes({"": ["a", "b"], "Raw Data": []}, ROLES) == (
            LaneArguments(0, {"Raw Data": "a"}),
            LaneArguments(1, {"Raw Data": "b"}),
        )

    def test_no_inputs_are_no_lanes(self) -> None:
        assert pair_lanes({}, ROLES) == ()

    def test_main_role_is_needed_in_every_lane(self) -> None:
        with pytest.raises(UsageError, match=r"Raw Data for every lane: lane 2 has only Prediction Mask \(n\)"):
            pair_lanes({"Raw Data": ["a"], "Prediction Mask": ["m", "n"]}, ROLES)

    def test_both_ways(self) -> None:
        with pytest.raises(UsageError, match="trailing file paths"):
            pair_lanes({"": ["a"], "Prediction Mask": ["m"]}, ROLES)

    def test_unknown_role(self) -> None:
        with pytest.raises(UsageError, match="no input role 'Atlas'; the roles are: Raw Data, Prediction Mask"):
            pair_lanes({"Raw Data": ["a"], "Atlas": ["m"]}, ROLES)


class TestInputAxesOption:
    @pytest.mark.parametrize(
        ("text", "entries"),
        [
            ("zyxc", ("zyxc",)),
            ("yx,yxc", ("yx", "yxc")),
            ("None,yx", (None, "yx")),
            (" None , yx", (None, "yx")),
            ("None", (None,)),
        ],
    )
    def test_input_axes_are_parsed_by_role(self, text: str, entries: tuple[str | None, ...]) -> None:
        assert parse_input_axes(text, ROLES) == entries

    @pytest.mark.parametrize("text", ["", "yxq", "yxx", "yzc", "YX", "yx,", "none", "yx,yx,yx"])
    def test_input_axes_without_sense_are_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match="input_axes"):
            parse_input_axes(text, ROLES)

    def test_one_value_is_for_all_roles(self) -> None:
        assert [InputOptions(("yx",)).axes_of_role(i) for i in (0, 1)] == ["yx", "yx"]
        assert [InputOptions(("yx", None)).axes_of_role(i) for i in (0, 1, 2)] == ["yx", None, None]
        assert InputOptions().axes_of_role(0) is None

    @pytest.mark.parametrize(
        ("options", "training", "line"),
        [
            (InputOptions(("yxc",)), ["yxc"], "Forcing input axes to [y x c]"),
            (InputOptions((None, "yx")), ["yxc"], "Forcing input axes to [None, y x]"),
            (InputOptions((None,)), ["yxc", None], "Using axistags from previous lane: [y x c, None]"),
            (InputOptions(), ["yxc", "yx"], "Using axistags from previous lane: [y x c, y x]"),
            (InputOptions(), [], "Using axistags from input files"),
            (InputOptions(ignore_training_axistags=True), ["yxc"], "Using axistags from input files"),
        ],
    )
    def test_log_line(self, options: InputOptions, training: list[str | None], line: str) -> None:
        assert describe_axes_choice(options, [trained(t) if t else None for t in training]) == line


class TestAxes:
    def test_the_project_names_what_a_file_does_not(self) -> None:
        np.save("a.npy", IMAGE)
        image = open_with("a.npy", training="xcy")
        assert (image.axes, image.shape) == ("xcy", (1, 1, 3, 4, 5))
        np.testing.assert_array_equal(whole(image)[0, 0], IMAGE.transpose(2, 0, 1))

    def test_guess_without_a_project(self, caplog: pytest.LogCaptureFixture) -> None:
        np.save("a.npy", IMAGE)
        image = open_with("a.npy")
        assert (image.axes, image.shape) == ("yxc", (1, 1, 4, 5, 3))
        assert "Could not find stored axistags. Inferred yxc from dataset shape." in caplog.messages

    def test_ignoring_the_project(self) -> None:
        np.save("a.npy", IMAGE)
        assert open_with("a.npy", training="xcy", ignore=True).axes == "yxc"

    def test_other_number_of_axes_than_the_project(self) -> None:
        save_h5(Path("a.h5"), IMAGE, "tyx")
        message = r"does not match the data shape: a\.h5 has shape \(4, 5, 3\).*trained with axes yx;.*ignore"
        with pytest.raises(InputMismatch, match=message):
            open_with("a.h5", training="yx")

    def test_own_letters_are_never_misread(self, caplog: pytest.LogCaptureFixture) -> None:
        save_h5(Path("a.h5"), IMAGE.transpose(2, 0, 1), "cyx")
        image = open_with("a.h5", training="yxc")
        assert (image.axes, image.shape) == ("cyx", (1, 1, 4, 5, 3))
        assert image.axis_units == {"x": "um"}
        assert image.resolution == {"x": 0.5}
        np.testing.assert_array_equal(whole(image)[0, 0], IMAGE)
        assert [m for m in caplog.messages if "its axes are cyx; it is read so and not as yxc" in m]

    def test_own_letters_that_agree(self, caplog: pytest.LogCaptureFixture) -> None:
        save_h5(Path("a.h5"), IMAGE, "yxc")
        with open_with("a.h5", training="yxc") as image:
            assert image.resolution == {"x": 0.5}
        assert not caplog.messages

    def test_the_option_overrules_everything(self) -> None:
        save_h5(Path("a.h5"), IMAGE, "yxc")
        with open_with("a.h5", training="yxc", given=("xyc",)) as image:
            assert (image.axes, image.shape) == ("xyc", (1, 1, 5, 4, 3))
            assert (image.axis_units, image.resolution) == ({}, {})

    def test_the_option_must_fit(self) -> None:
        np.save("a.npy", IMAGE)
        with pytest.raises(InputMismatch, match=r"input_axes=yx does not fit"):
            open_with("a.npy", given=("yx",))

    def test_a_role_without_a_value_is_read_like_the_training_image(self) -> None:
        np.save("a.npy", IMAGE)
        given = ("yxc", None)
        assert open_with("a.npy", training="xcy", given=given, role_index=1).axes == "xcy"
        assert open_with("a.npy", training="xcy", given=given, role_index=0).axes == "yxc"

    @pytest.mark.parametrize("axes", ["zyt", "tzc"])
    def test_x_and_y_are_needed(self, axes: str) -> None:
        save_h5(Path("a.h5"), IMAGE, axes)
        with pytest.raises(InputMismatch, match=f"a.h5 has the axes {axes}; data must always have"):
            open_with("a.h5")

    def test_a_training_image_without_letters(self) -> None:
        np.save("a.npy", IMAGE)
        options = InputOptions()
        assert open_image("a.npy", role_index=0, training=trained(""), options=options).axes == "yxc"


class TestImages:
    def test_regions_are_canonical(self) -> None:
        data = np.random.default_rng(0).random((3, 6, 2, 5, 4)).astype(np.float32)
        np.save("a.npy", data)
        expected = data.transpose(1, 3, 0, 4, 2)
        with open_with("a.npy", given=("ytczx",)) as image:
            assert image.shape == (6, 5, 3, 4, 2)
            for box in (Box.whole(image.shape), Box((1, 0, 1, 2, 0), (4, 5, 3, 4, 1))):
                voxels = image.read(box)
                assert voxels.dtype == image.dtype == np.float32
                np.testing.assert_array_equal(voxels, expected[box.slices()])

    def test_boxes_outside_are_refused(self) -> None:
        np.save("a.npy", IMAGE)
        with open_with("a.npy") as image, pytest.raises(ValueError, match="not inside"):
            image.read(Box((0, 0, 0, 0, 0), (1, 1, 4, 6, 3)))

    def test_what_is_known_about_a_file(self) -> None:
        Path("sub").mkdir()
        with h5py.File("sub/a.h5", "w") as file:
            dataset = file.create_dataset("volume/data", data=np.zeros((8, 9, 10), np.float32), chunks=(1, 4, 5))
            dataset.attrs["drange"] = [0.0, 3.0]
            dataset.attrs["display_mode"] = "grayscale"
        with open_with("sub/a.h5/volume/data", given=("yzx",)) as image:
            assert image.path_text == "sub/a.h5/volume/data"
            assert image.nickname == "a-volume-data"
            assert image.dataset_dir == Path.cwd() / "sub"
            assert image.files == (Path.cwd() / "sub" / "a.h5",)
            assert image.chunks == (1, 4, 1, 5, 1)
            assert (image.drange, image.display_mode) == ((0.0, 3.0), "grayscale")
        assert open_with("sub/a.h5").nickname == "a"

    @pytest.mark.parametrize(("dtype", "drange"), [(np.uint8, (0.0, 255.0)), (np.uint16, None), (np.float32, None)])
    def test_bytes_have_a_range(self, dtype: type, drange: tuple[float, float] | None) -> None:
        np.save("a.npy", IMAGE.astype(dtype))
        assert open_with("a.npy").drange == drange

    def test_relative_to_the_current_directory(self, work_folder: Path) -> None:
        np.save("a.npy", IMAGE)
        np.save("b.npy", IMAGE)
        image = open_image("a.npy:b.npy", role_index=0, training=None, options=InputOptions())
        assert image.files == (work_folder / "a.npy", work_folder / "b.npy")


class TestBadInput:
    def test_an_input_that_is_missing_says_where_it_was_looked_for(self) -> None:
        with pytest.raises(InputNotFound, match=r"nope\.png .looked in "):
            open_with("nope.png")

    def test_unknown_extension(self) -> None:
        Path("a.xyz").touch()
        with pytest.raises(InputError, match=r"unrecognized format; the ones that can be read: .*h5.*npy"):
            open_with("a.xyz")

    def test_a_folder_is_no_picture(self) -> None:
        Path("folder.png").mkdir()
        with pytest.raises(InputError, match="is a folder"):
            open_with("folder.png")

    def test_zero_length_axis(self) -> None:
        np.save("a.npy", np.zeros((4, 0, 3)))
        with pytest.raises(InputError, match=r"a\.npy is empty: its axis x has length 0"):
            open_with("a.npy")
        save_h5(Path("a.h5"), np.zeros((0, 4, 3)), "zyx")
        with pytest.raises(InputError, match="axis z has length 0"):
            open_with("a.h5")

    def test_senseless_stack_axis(self) -> None:
        np.save("a.npy", IMAGE)
        with pytest.raises(UsageError, match="stack_along=q"):
            open_with("a.npy", along="q")

    def test_files_are_closed_after_an_error(self) -> None:
        save_h5(Path("a.h5"), IMAGE, "yxc")
        with pytest.raises(InputMismatch):
            open_with("a.h5", given=("yx",))
        with h5py.File("a.h5", "r+"):
            pass


class TestStacks:
    def write_slices(self, count: int = 3, axes: str | None = None, shape: tuple[int, ...] = (4, 5)) -> np.ndarray:
        data = np.random.default_rng(1).integers(0, 200, (count, *shape), np.uint8)
        for index, each in enumerate(data):
            save_h5(Path(f"s_{index}.h5"), each, axes)
        return data

    def test_new_axis_comes_first(self) -> None:
        data = self.write_slices()
        image = open_with("s_*.h5")
        assert (image.axes, image.shape, image.nickname) == ("zyx", (1, 3, 4, 5, 1), "s_")
        np.testing.assert_array_equal(whole(image)[0, ..., 0], data)

    @pytest.mark.parametrize("along", ["t", "z", "c"])
    def test_slices_are_stacked_along_any_axis(self, along: str) -> None:
        data = self.write_slices()
        image = open_with("s_*.h5", along=along)
        assert image.axes == f"{along}yx"
        np.testing.assert_array_equal(np.squeeze(whole(image)), data if along != "c" else data.transpose(1, 2, 0))

    def test_existing_axis_is_joined(self) -> None:
        data = self.write_slices(axes="zyx", shape=(7, 4, 5))
        image = open_with("s_*.h5")
        assert (image.axes, image.shape) == ("zyx", (1, 21, 4, 5, 1))
        np.testing.assert_array_equal(whole(image)[0, ..., 0], data.reshape(21, 4, 5))

    def test_existing_axis_in_the_middle_of_any_length(self) -> None:
        parts = [np.random.default_rng(i).integers(0, 99, (4, n, 5), np.uint8) for i, n in enumerate((2, 1, 3))]
        for index, part in enumerate(parts):
            save_h5(Path(f"s_{index}.h5"), part, "yzx")
        joined = np.concatenate(parts, axis=1)
        with open_with("s_*.h5") as image:
            assert image.shape == (1, 6, 4, 5, 1)
            for box in Box.whole(image.shape).split((1, 2, 3, 5, 1)):
                expected = joined.transpose(1, 0, 2)[np.newaxis, ..., np.newaxis][box.slices()]
                np.testing.assert_array_equal(image.read(box), expected)

    @pytest.mark.parametrize("axes", ["yxc", "cyx"])
    @pytest.mark.parametrize("counts", [(0, 3, 0), (2, 0, 1, 4), (0, 1)], ids=str)
    def test_along_channels_images_of_any_number_of_them(self, axes: str, counts: tuple[int, ...]) -> None:
        """0 stands for an image without an axis c, as a gray one in a TIFF."""
        parts = [np.random.default_rng(i).integers(0, 99, (4, 5, max(1, n)), np.uint8) for i, n in enumerate(counts)]
        for index, (part, count) in enumerate(zip(parts, counts, strict=True)):
            data = part if axes == "yxc" else np.moveaxis(part, 2, 0)
            save_h5(Path(f"s_{index}.h5"), data if count else part[..., 0], axes if count else "yx")
        joined = np.concatenate(parts, axis=2)[np.newaxis, np.newaxis]
        for training in (None, "yxc", "cyx"):
            with open_with("s_*.h5", along="c", training=training) as image:
                assert (image.axes, image.shape) == (axes, joined.shape)
                for box in Box.whole(image.shape).split((1, 1, 3, 2, 2)):
                    np.testing.assert_array_equal(image.read(box), joined[box.slices()])
                image.verify()

    def test_other_axes_are_not_mixed_along_channels(self) -> None:
        save_h5(Path("s_0.h5"), np.zeros((4, 5), np.uint8), "yx")
        save_h5(Path("s_1.h5"), np.zeros((2, 4, 5), np.uint8), "zyx")
        with pytest.raises(InputMismatch, match="its shape is"):
            open_with("s_*.h5", along="c")

    def test_datasets_of_one_file(self) -> None:
        for index in range(3):
            save_h5(Path("m.h5"), np.full((4, 5), index, np.uint8), name=f"s{index}")
        image = open_with("m.h5/s*")
        assert (image.nickname, image.shape) == ("m-s", (1, 3, 4, 5, 1))
        np.testing.assert_array_equal(whole(image)[0, :, 0, 0, 0], [0, 1, 2])

    def test_one_match_is_a_single_image(self) -> None:
        self.write_slices(count=1)
        with open_with("s_*.h5") as image:
            assert image.axes == "yx"

    def test_only_the_touched_slices_are_opened(self) -> None:
        self.write_slices(count=5)
        with open_with("s_*.h5") as image:
            Path("s_4.h5").unlink()
            assert image.read(Box((0, 1, 0, 0, 0), (1, 4, 4, 5, 1))).shape == (1, 3, 4, 5, 1)
            with pytest.raises(InputNotFound, match=r"s_4\.h5"):
                image.read(Box((0, 4, 0, 0, 0), (1, 5, 4, 5, 1)))

    @pytest.mark.parametrize(
        ("odd", "message"),
        [
            (np.zeros((4, 6), np.uint8), r"s_1\.h5.*: its shape is \(4, 6\), not \(4, 5\) as for .*s_0\.h5"),
            (np.zeros((4, 5, 1), np.uint8), r"its shape is \(4, 5, 1\)"),
            (np.zeros((4, 5), np.uint16), r"its pixels are uint16, not uint8"),
        ],
    )
    def test_slices_must_agree(self, odd: np.ndarray, message: str) -> None:
        self.write_slices(count=1)
        save_h5(Path("s_1.h5"), odd)
        with pytest.raises(InputMismatch, match=message):
            open_with("s_*.h5")

    def test_many_slices_and_threads(self) -> None:
        data = np.random.default_rng(2).integers(0, 255, (150, 3, 4), np.uint8)
        for index, each in enumerate(data):
            np.save(f"s_{index:03d}.npy", each)
        wrong = []
        with open_with("s_*.npy", along="t") as image:

            def work(offset: int) -> None:
                for start in range(offset, 140, 7):
                    box = Box((start, 0, 0, 1, 0), (start + 9, 1, 3, 4, 1))
                    if not np.array_equal(image.read(box)[:, 0, :, :, 0], data[start : start + 9, :, 1:]):
                        wrong.append(start)

            threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert not wrong

    def test_order_warning_and_preconversion(self, caplog: pytest.LogCaptureFixture) -> None:
        self.write_slices(count=11)
        options = InputOptions(preconvert_stacks=True)
        open_image("s_*.h5", role_index=0, training=None, options=options).close()
        assert len([m for m in caplog.messages if "lexicographic order" in m]) == 1
        assert len([m for m in caplog.messages if "preconvert_stacks is not needed" in m]) == 1

    def test_nothing_is_said_twice(self, caplog: pytest.LogCaptureFixture) -> None:
        self.write_slices(count=11)
        options = InputOptions(preconvert_stacks=True)
        open_image("s_*.h5", role_index=0, training=None, options=options, announce=False).close()
        assert not caplog.messages

    class TestAxes:
        @pytest.fixture(autouse=True)
        def slices(self) -> np.ndarray:
            return TestStacks().write_slices(axes="yx")

        @pytest.mark.parametrize(
            ("given", "axes"),
            [("tyx", "tyx"), ("zxy", "zxy"), ("yx", "zyx"), ("xy", "zxy")],
        )
        def test_option_names_the_stack_or_one_slice(self, given: str, axes: str) -> None:
            assert open_with("s_*.h5", given=(given,), training="tzyxc").axes == axes

        def test_option_for_one_slice_that_has_the_stack_axis(self, slices: np.ndarray) -> None:
            np.save("v_0.npy", slices)
            np.save("v_1.npy", slices)
            image = open_with("v_*.npy", given=("yzx",))
            # as many letters as the joined stack has: they name the stack, joined along its guessed z
            assert (image.axes, image.shape) == ("yzx", (1, 4, 6, 5, 1))
            image = open_with("v_*.npy", given=("yzx",), along="t")
            assert (image.axes, image.shape) == ("tyzx", (2, 4, 3, 5, 1))

        def test_option_that_fits_neither(self) -> None:
            with pytest.raises(InputMismatch, match="fits neither"):
                open_with("s_*.h5", given=("tzyxc",))

        def test_project_names_the_stack_axis(self, caplog: pytest.LogCaptureFixture) -> None:
            """The z of a stack is not the files' own: the project may call it t."""
            assert open_with("s_*.h5", training="tyx").axes == "tyx"
            assert caplog.messages == ["s_*.h5: 3 images are stacked into one, with axes tyx"]

        def test_own_letters_of_the_slices_count(self) -> None:
            assert open_with("s_*.h5", training="zxy").axes == "zyx"

        def test_project_must_fit(self) -> None:
            with pytest.raises(InputMismatch, match=r"has shape \(3, 4, 5\).*trained with axes yx;.*one by one"):
                open_with("s_*.h5", training="yx")


class TestPictureStacks:
    @pytest.fixture(autouse=True)
    def pictures(self) -> np.ndarray:
        image = pytest.importorskip("PIL.Image")
        data = np.random.default_rng(3).integers(0, 255, (4, 5, 6, 3), np.uint8)
        for index, each in enumerate(data):
            image.fromarray(each).save(f"p_{index}.png")
        return data

    @pytest.mark.parametrize("along", ["z", "t"])
    def test_new_axis(self, pictures: np.ndarray, along: str) -> None:
        image = open_with("p_*.png", along=along, training=f"{along}yxc")
        assert image.axes == f"{along}yxc"
        np.testing.assert_array_equal(np.squeeze(whole(image)), pictures)

    def test_along_channels_x_comes_first(self, pictures: np.ndarray) -> None:
        with open_with("p_*.png", along="c", training="yxc") as image:
            assert (image.axes, image.shape) == ("xyc", (1, 1, 5, 6, 12))
            expected = np.concatenate(list(pictures), axis=-1)
            for box in Box.whole(image.shape).split((1, 1, 3, 4, 5)):
                np.testing.assert_array_equal(image.read(box)[0, 0], expected[box.slices()[2:]])

    def test_along_channels_pictures_of_any_number_of_them(self, pictures: np.ndarray) -> None:
        image_module = pytest.importorskip("PIL.Image")
        image_module.fromarray(pictures[1, ..., 0]).save("p_1.png")
        image_module.fromarray(np.concatenate([pictures[2], pictures[2, ..., :1]], axis=2)).save("p_2.png")
        with open_with("p_*.png", along="c") as image:
            assert image.shape == (1, 1, 5, 6, 3 + 1 + 4 + 3)
            parts = [pictures[0], pictures[1, ..., :1], pictures[2], pictures[2, ..., :1], pictures[3]]
            expected = np.concatenate(parts, axis=-1)
            for box in Box.whole(image.shape).split((1, 1, 3, 4, 5)):
                np.testing.assert_array_equal(image.read(box)[0, 0], expected[box.slices()[2:]])

    @pytest.mark.parametrize("along", ["x", "y"])
    def test_not_along_an_axis_of_the_picture(self, along: str) -> None:
        with pytest.raises(UsageError, match="choose one of t, z, c"):
            open_with("p_*.png", along=along)

    def test_shapes_are_compared_when_read(self) -> None:
        image_module = pytest.importorskip("PIL.Image")
        image_module.fromarray(np.zeros((5, 7, 3), np.uint8)).save("p_4.png")
        with open_with("p_*.png") as image:
            assert image.shape == (1, 5, 5, 6, 3)
            image.read(Box((0, 0, 0, 0, 0), (1, 4, 5, 6, 3)))
            with pytest.raises(InputMismatch, match=r"p_4\.png: its shape is \(5, 7, 3\)"):
                image.read(Box((0, 4, 0, 0, 0), (1, 5, 5, 6, 3)))

    def test_truncated_slice_is_named(self) -> None:
        Path("p_2.png").write_bytes(Path("p_2.png").read_bytes()[:60])
        with open_with("p_*.png") as image, pytest.raises(InputError, match=r"p_2\.png"):
            image.read(Box.whole(image.shape))
