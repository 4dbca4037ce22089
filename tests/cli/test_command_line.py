"""Taking command lines apart: spellings, values, mistakes. Nothing here reads a project."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pixelforest import cli
from pixelforest.engine.errors import UsageError
from pixelforest.frontend.options import Takes, find_option, format_help, parse_command_line
from pixelforest.frontend.options_table import OPTIONS

# Every option of ilastik 1.4, by who reads it there. True: it does something here, or is accepted for its sake;
# False: it is refused by name.
GLOBAL_OPTIONS = {
    "--version": True,
    "--headless": True,
    "--project": True,
    "--readonly": True,
    "--new_project": False,
    "--workflow": False,
    "--clean_paths": False,
    "--redirect_output": True,
    "--debug": True,
    "--logfile": True,
    "--process_name": True,
    "--configfile": True,
    "--fullscreen": False,
    "--exit_on_failure": False,
    "--hbp": False,
    "--tiktorch_executable": False,
    "--nn_device": False,
}
ROLE_OPTIONS = {
    "--raw_data": True,
    "--prediction_mask": True,
    "--segmentation_image": True,
    "--prediction_maps": True,
    "--label_image": True,
    "--atlas": True,
    "--probabilities": True,
    "--superpixels": True,
    "--groundtruth": True,
    "--input_data": True,
    "--binary_image": True,
    "--overlay": True,
}
INPUT_OPTIONS = {
    "--input_axes": True,
    "--ignore_training_axistags": True,
    "--stack_along": True,
    "--preconvert_stacks": True,
    "--distributed": True,
    "--distributed_block_roi": True,
}
EXPORT_OPTIONS = {
    "--export_source": True,
    "--output_format": True,
    "--output_filename_format": True,
    "--output_internal_path": True,
    "--cutout_subregion": True,
    "--export_dtype": True,
    "--output_axis_order": True,
    "--pipeline_result_drange": True,
    "--export_drange": True,
    "--table_only": True,
    "--table_filename": True,
    "--export_object_prediction_img": True,
    "--export_object_probability_img": True,
    "--export_pixel_probability_img": True,
}
WORKFLOW_OPTIONS = {
    "--retrain": True,
    "--tree-count": True,
    "--label-proportion": True,
    "--variable-importance-path": True,
    "--print-labels-by-slice": True,
    "--label-search-value": True,
    "--generate-random-labels": True,
    "--random-label-value": True,
    "--random-label-count": True,
    "--csv-export-file": False,
    "--fillmissing": False,
    "--nobatch": False,
    "--run-preprocessing": False,
    "--preprocessing-sigma": False,
    "--preprocessing-filter": False,
    "--connection_string": False,
    "--export_plugin": False,
    "--big_data_viewer_xml_file": False,
}
OF_ILASTIK = GLOBAL_OPTIONS | ROLE_OPTIONS | INPUT_OPTIONS | EXPORT_OPTIONS | WORKFLOW_OPTIONS
BY_KEY = {option.key: option for option in OPTIONS}


def parse(*argv: str):
    return parse_command_line(OPTIONS, argv)


def values(*argv: str) -> dict[str, object]:
    return parse(*argv).values


# ---------------------------------------------------------------------------------------------------------- the table


def test_every_option_of_ilastik_is_known_in_both_spellings() -> None:
    works = {}
    for name in OF_ILASTIK:
        body = name.removeprefix("--")
        underscores, hyphens = "--" + body.replace("-", "_"), "--" + body.replace("_", "-")
        option = find_option(OPTIONS, underscores)
        assert option is find_option(OPTIONS, hyphens)
        works[name] = not option.refused
    assert works == OF_ILASTIK


@pytest.mark.parametrize("name", [name for name, works in OF_ILASTIK.items() if not works])
@pytest.mark.parametrize("form", ["{}", "{}=1"])
def test_what_cannot_be_done_is_refused_by_name(name: str, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--project=p.ilp", form.format(name), "in.png"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"pixelforest: error: {find_option(OPTIONS, name).name} is not available: ")
    assert error.count("\n") == 1


def test_every_option_changes_the_request_or_the_console() -> None:
    from dataclasses import fields

    from pixelforest.engine.jobs import Request
    from pixelforest.frontend.console import ConsoleSettings

    known = {field.name for kind in (Request, ConsoleSettings) for field in fields(kind)}
    without_effect = {
        "headless",
        "readonly",
        "help",
        "version",
        "warm",
        "architectures",
        "resumable",
    }  # for doctor and clean
    for option in OPTIONS:
        if not option.refused and option.takes is not Takes.PATHS:
            assert option.key in known | without_effect, option.name


def test_names_are_unique() -> None:
    assert len(BY_KEY) == len(OPTIONS)


# ---------------------------------------------------------------------------------------------------------- spellings


@pytest.mark.parametrize(
    "argv",
    [
        ["--output_format=tiff"],
        ["--output_format", "tiff"],
        ["--output-format=tiff"],
        ["--output_fo=tiff"],
        ["--output-fo", "tiff"],
        ["--output_format=png", "--output_format=tiff"],
    ],
)
def test_spellings_of_one_value(argv: list[str]) -> None:
    assert values(*argv) == {"output_format": "tiff"}


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], True),
        (["=false"], False),
        (["=0"], False),
        (["=No"], False),
        (["=OFF"], False),
        (["=1"], True),
        (["=yes"], True),
        (["=TRUE"], True),
        (["=on"], True),
    ],
)
def test_spellings_of_readonly(argv: list[str], expected: bool) -> None:
    assert values("--readonly" + "".join(argv)) == {"readonly": expected}


@pytest.mark.parametrize("word", ["false", "1", "Yes"])
def test_readonly_takes_a_following_boolean_word(word: str) -> None:
    line = parse("--readonly", word, "in.png")
    assert line.positional == ["in.png"]


def test_readonly_leaves_an_input_alone() -> None:
    line = parse("--readonly", "in.png")
    assert line.positional == ["in.png"]
    assert line.values == {"readonly": True}


def test_readonly_with_another_value_is_refused() -> None:
    with pytest.raises(UsageError, match="invalid value 'perhaps' for --readonly; try one of: 1, yes, true, on"):
        parse("--readonly=perhaps")


def test_options_stand_anywhere() -> None:
    line = parse("a.png", "--output_format=png", "b.png", "--input_axes", "yxc", "c.png")
    assert line.positional == ["a.png", "b.png", "c.png"]
    assert line.values == {"output_format": "png", "input_axes": "yxc"}


def test_roles_take_several_paths_and_append() -> None:
    line = parse("--raw_data", "a.png", "b.png", "--prediction-mask=m.png", "--raw-data=c.png")
    assert line.paths == {"raw_data": ["a.png", "b.png", "c.png"], "prediction_mask": ["m.png"]}


def test_two_dashes_end_the_options() -> None:
    assert parse("--debug", "--", "--odd.png", "-x.png").positional == ["--odd.png", "-x.png"]


def test_values_may_be_negative_or_hold_blanks() -> None:
    assert values("--pipeline_result_drange", "-1, 1")["pipeline_result_drange"] == "-1, 1"
    assert values("--cutout_subregion", "[(0, 0), (5, 5)]")["cutout_subregion"] == "[(0, 0), (5, 5)]"
    assert values("--output_format", "png sequence")["output_format"] == "png sequence"


@pytest.mark.parametrize("quoted", ['"png sequence"', "'png sequence'", "png sequence"])
def test_quotes_that_no_shell_took_off(quoted: str) -> None:
    assert values(f"--output_format={quoted}") == values("--output_format", quoted) == {"output_format": "png sequence"}
    assert values(f"--export_dtype={quoted.replace('png sequence', 'uint8')}") == {"export_dtype": "uint8"}


@pytest.mark.parametrize("text", ['"', "o'clock", 'a"b"', ""])
def test_other_quotes_stay(text: str) -> None:
    assert values(f"--process_name={text}") == {"process_name": text}


def test_an_equals_sign_inside_a_value_stays() -> None:
    assert values("--output_filename_format=/out/a=b.h5")["output_filename_format"] == "/out/a=b.h5"


def test_sizes_and_counts_are_numbers() -> None:
    assert values("--memory=2G", "--threads=0", "--label-search-value", "3") == {
        "memory": 2 * 2**30,
        "threads": 0,
        "label_search_value": 3,
    }


# ----------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--outptu_format=png"], "unknown option --outptu_format; did you mean --output_format?"),
        (["--ouput-filename-format", "x"], "unknown option --ouput-filename-format; did you mean --output_filename_f"),
        (["--bogus", "value"], "unknown option --bogus; --help lists all options"),
        (["-project=x"], "unknown option -project; did you mean --project?"),
        (["-q"], "unknown option -q; after -- a file name may start with a dash"),
        (["--output=hdf5"], "ambiguous option: --output could match --output_format, --output_filename_format, "),
        (["--threads"], "--threads needs a value: --threads N"),
        (["--raw_data"], "--raw_data needs a value: --raw_data PATH [PATH ...]"),
        (["--raw_data", "--debug"], "--raw_data needs a value"),
        (["--output_format", "--debug"], "--output_format needs a value"),
        (["--debug=yes"], "--debug takes no value, but got 'yes'"),
        (["--threads=two"], "invalid value 'two' for --threads: expected an integer, at least 0"),
        (["--threads=-1"], "invalid value '-1' for --threads: expected an integer, at least 0"),
        (["--memory=8"], "invalid value '8' for --memory: '8' is not a size; use a number and a unit"),
        (["--device=gpu"], "invalid value 'gpu' for --device: choose auto, cpu, cuda"),
        (["--forest=fil"], "invalid value 'fil' for --forest; choose one of: auto, native, nvforest"),
        (["--export_dtype=uint64"], "invalid value 'uint64' for --export_dtype; choose one of: uint8, uint16"),
        (["--export_dtype=UINT8"], "did you mean uint8?"),
        (["--stack_along=q"], "invalid value 'q' for --stack_along; choose one of: z, t, c"),
        (["--=x"], "unknown option --"),
    ],
)
def test_mistakes_end_in_one_line(argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--project=p.ilp", *argv]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("pixelforest: error: ")
    assert complaint in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_inputs_without_a_project(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["in.png"]) == 2
    assert "no project; name it with --project=MyProject.ilp" in capsys.readouterr().err


def test_a_project_among_the_inputs_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["P.ilp", "in.png"]) == 2
    assert "name it with --project=P.ilp" in capsys.readouterr().err


def test_a_single_project_needs_no_option() -> None:
    request = cli.build_request(parse("--headless", "P.ilp"))
    assert (request.project, request.inputs) == ("P.ilp", ())


# ---------------------------------------------------------------------------------------------- without any project


@pytest.mark.parametrize("argv", [[], ["--headless"], ["--headless", "--readonly"]])
def test_nothing_asked_is_no_error(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 0
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert "no project and no command" in captured.out
    assert captured.err == ""


@pytest.mark.parametrize("argv", [["--version"], ["--headless", "--version"], ["--version", "--bogus"]])
def test_the_version_line_names_the_compatible_ilastik(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 0
    assert capsys.readouterr().out == cli.VERSION_LINE + "\n"
    assert "(ilastik 1.4.3 compatible)" in cli.VERSION_LINE


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["--project=x.ilp", "--bogus", "--help"]])
def test_help_has_every_heading(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 0
    text = capsys.readouterr().out
    for heading in ("usage:", "What to run:", "Inputs:", "Results:", "Machine:", "Screen and log:", "Examples:"):
        assert heading in text


def test_help_shows_what_works_and_nothing_else() -> None:
    text = format_help(OPTIONS, width=80)
    for option in OPTIONS:
        assert (f"  {option.usage}\n" in text) == option.is_shown, option.name
    assert max(len(line) for line in text.splitlines()) <= 90


def test_formats_lists_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    from pixelforest.engine.formats import output_formats

    assert cli.main(["formats"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == list(output_formats())


def test_help_imports_nothing_heavy() -> None:
    """It appears in a tenth of a second; imports are what could spoil that."""
    code = (
        "import sys; from pixelforest.cli import main; status = main(['--help']);"
        "print([name for name in ('numpy', 'numba', 'h5py') if name in sys.modules], file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
