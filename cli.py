"""Commands of the command line: from the typed options to one call of the engine and an exit status.

Exit status: 0 success; 1 the run failed; 2 usage error (invalid command line); 3 some lanes failed, the others are
complete; 130 and 143 ended by SIGINT and SIGTERM. Heavy imports are deferred until a project is read.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pixelforest import __version__
from pixelforest.engine.errors import PixelforestError, UsageError, as_flag
from pixelforest.engine.public_text import public_document
from pixelforest.engine.quotes import unquote
from pixelforest.engine.requests import COLOURS, COUNTS_ONLY
from pixelforest.engine.terminal_text import printable, printable_json
from pixelforest.frontend.console import PROGRAM, Console, ConsoleSettings, write_line
from pixelforest.frontend.exit_status import (
    STATUS_FAILED,
    STATUS_OK,
    STATUS_USAGE,
    ending,
    last_step,
    let_go_of_closed_pipes,
    run_guarded,
)
from pixelforest.frontend.json_report import RunReport
from pixelforest.frontend.options import CommandLine, Option, is_asked, parse_command_line
from pixelforest.frontend.options_table import COMMANDS, OPTIONS, help_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from pixelforest.engine.jobs import Request
    from pixelforest.engine.run.outcome import LaneResult

Record = TypeVar("Record", bound="DataclassInstance")
Action = Callable[[CommandLine, Console], int]

VERSION_LINE = f"{PROGRAM} {__version__} (ilastik 1.4.3 compatible)"

STAND_INS = ("run_ilastik.sh", "ilastik.bat")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        if is_asked("--help", argv) or is_asked("-h", argv):
            import shutil

            return _print(_help_for(argv)(shutil.get_terminal_size().columns))
        if is_asked("--version", argv):
            return _print(VERSION_LINE)
        action: Action = run_project
        if argv[:1] and argv[0] in SUBCOMMANDS:
            action, argv = SUBCOMMANDS[argv[0]], argv[1:]
        options = _options_of(action)
        line = parse_command_line(options, argv)
        if line.values.get("warm") and action is not show_health:
            raise UsageError(f"--warm goes with {PROGRAM} doctor")
        if line.values.get("resumable") and action is not clean_folders:
            raise UsageError(f"--resumable goes with {PROGRAM} clean")
        if line.values.get("architectures") and not (line.values.get("warm") and action is show_health):
            raise UsageError(f"--architectures goes with {PROGRAM} doctor --warm")
        if action is explain_run or (action is run_project and line.values.get("dry_run")):
            action, line.values["dry_run"] = explain_run, True
        elif line.values.get("json"):
            raise UsageError("--json goes with --dry_run or explain; --report_json tells what became of a run")
        if any(option.writes and option.key in line.values for option in options):
            from pixelforest.frontend.written_files import check_written_files

            check_written_files(options, line)
        with Console(_pick(ConsoleSettings, line)) as console:
            return run_guarded(partial(action, line, console), console)
    except UsageError as error:
        write_line(sys.stderr, f"{PROGRAM}: error: {printable(error.render(as_flag))}")
        return STATUS_USAGE
    finally:
        let_go_of_closed_pipes()


def _options_of(action: Action) -> Sequence[Option]:
    """Table of the options of a command."""
    if action is train_project:
        from pixelforest.frontend.training_options import TRAINING_OPTIONS

        return TRAINING_OPTIONS
    if action is join_reports:
        from pixelforest.frontend.report_options import REPORT_OPTIONS

        return REPORT_OPTIONS
    if action is view_result:
        from pixelforest.frontend.report_options import VIEW_OPTIONS

        return VIEW_OPTIONS
    return OPTIONS


def _help_for(argv: Sequence[str]) -> Callable[[int], str]:
    if argv[0] == "train":
        from pixelforest.frontend.training_options import training_help

        return training_help
    if argv[0] == "report":
        from pixelforest.frontend.report_options import report_help

        return report_help
    if argv[0] == "view":
        from pixelforest.frontend.report_options import view_help

        return view_help
    return help_text


def build_request(line: CommandLine) -> Request:
    """Make the request of a command line. Raises UsageError if it names no project."""
    from pixelforest.engine.jobs import Request

    request = _pick(Request, line)
    positional = list(line.positional)
    projects = [unquote(path) for path in positional if unquote(path).endswith(".ilp")]
    if request.project is None and len(positional) == len(projects) == 1:
        request, positional = replace(request, project=projects[0]), []
    if request.project is None:
        guess = f"--project={projects[0] if projects else 'MyProject.ilp'}"
        raise UsageError(f"there are inputs or options, but no project; name it with {guess}")
    roles = tuple((key, tuple(paths)) for key, paths in line.paths.items())
    return replace(request, inputs=tuple(positional), inputs_by_role=roles, started_as_ilastik=_is_started_as_ilastik())


def _is_started_as_ilastik() -> bool:
    """True if this process was started by a script that stands in for ilastik's, or under the name of one."""
    return bool({os.environ.get("PIXELFOREST_STARTED_AS", ""), Path(sys.argv[0]).name} & set(STAND_INS))


def run_project(line: CommandLine, console: Console) -> int:
    """Apply a project to its inputs."""
    if not line.positional and not line.paths and set(line.values) <= {"headless", "readonly"}:
        return _print(f"{PROGRAM}: no project and no command; name a project and images, or see {PROGRAM} --help")
    request = build_request(line)
    if not request.uses_mpi:
        return _run_request(request, console)
    from pixelforest.engine.run.mpi_ranks import cluster_of_ranks

    with cluster_of_ranks() as is_run:
        return _run_request(request, console) if is_run else STATUS_OK


def _run_request(request: Request, console: Console) -> int:
    from pixelforest.engine.jobs import log_labels, resolve_job
    from pixelforest.engine.run.batch import run_batch

    display = console.display_run(started_as_ilastik=request.started_as_ilastik)
    logging.getLogger("ilastik.app").info("Starting %s from %s", VERSION_LINE, Path(__file__).parent)
    with _reported(console) as record:
        job = resolve_job(request)
        if job.debug:
            console.set_debug()
        if request.print_labels_by_slice:
            log_labels(job.project.path, request.label_search_value)
        record.begin(job)
        on_lane: Callable[[LaneResult], None] = record.add
        if display is not None:
            display.begin(job)
            job = replace(job, samples=job.samples or COUNTS_ONLY)
            on_lane = display.then(record.add)
        report = run_batch(job, progress=console.progress, on_lane=on_lane)
        message = report.describe(as_flag)
        if message:
            console.fail(message)
        record.end(report.status, message)
    return report.status


def explain_run(line: CommandLine, console: Console) -> int:
    """Explain what applying a project to its inputs would do; nothing is written."""
    from pixelforest.engine.jobs import resolve_job
    from pixelforest.engine.run.explain import explain_failure, explain_job
    from pixelforest.frontend.text_explain import format_explanation

    is_json = console.settings.json
    try:
        RunReport(console.settings)
        job = resolve_job(build_request(line))
        if job.debug:
            console.set_debug()
        document = explain_job(job, as_flag)
    except Exception as error:
        if is_json:
            _print(_as_json(explain_failure(error, as_flag)))
        raise
    _print(_as_json(document) if is_json else format_explanation(document))
    if document["error"]:
        console.fail(document["error"])
    return int(document["status"])


def show_project(line: CommandLine, console: Console) -> int:
    """Describe projects and their requirements, and files of images."""
    typed = line.values.get("project")
    paths = [*([str(typed)] if typed else []), *map(unquote, line.positional)]
    if not paths:
        raise UsageError(f"a project is missing: {PROGRAM} info MyProject.ilp")
    for number, path in enumerate(paths):
        _print(("\n" if number else "") + _describe_file(path))
    return STATUS_OK


def _describe_file(path: str) -> str:
    """Describe a project, or a file of images, which its extension tells, one image in it, or a folder of them."""
    from pixelforest.engine.inputs.images import list_contents, names_images
    from pixelforest.frontend.text_info import describe, describe_contents

    if names_images(path):
        return describe_contents(path, list_contents(path))
    from pixelforest.engine.workflows import describe_project

    return describe(describe_project(Path(path).expanduser()))


def show_formats(line: CommandLine, console: Console) -> int:
    """Print the values of ``--output_format``."""
    from pixelforest.engine.formats import output_formats
    from pixelforest.frontend.text_info import list_formats

    return _print(list_formats(output_formats().values()))


def show_completions(line: CommandLine, console: Console) -> int:
    """Print the script that completes this command line in a shell."""
    from pixelforest.frontend.completions import SHELLS, make_completions

    strange = [*line.paths, *line.values]
    if len(line.positional) != 1 or strange:
        raise UsageError(f"the shell is missing: {PROGRAM} completions {'|'.join(SHELLS)}")
    return _print(make_completions(line.positional[0], program=PROGRAM, options=OPTIONS, commands=COMMANDS))


def show_health(line: CommandLine, console: Console) -> int:
    """Print the devices and libraries of this machine, and test them; returns 1 if a test fails."""
    known = {"device", "warm", "architectures", "headless", "quiet", "debug"}
    strange = [*line.positional, *line.paths, *(set(line.values) - known)]
    if strange:
        raise UsageError(f"doctor takes --device, --warm and --architectures, not {strange[0]}")

    from pixelforest.engine.run.doctor import examine
    from pixelforest.frontend.text_info import describe_health

    values: dict[str, Any] = line.values
    health = examine(
        values.get("device", "auto"), warm=bool(values.get("warm")), architectures=values.get("architectures", ())
    )
    _print(describe_health(health))
    if health.status:
        console.fail("a test failed; see the lines marked with !!")
    return health.status


def train_project(line: CommandLine, console: Console) -> int:
    """Train a project and write it to a file of its own."""
    if line.positional:
        raise UsageError(f"train takes no images without an option ({line.positional[0]}); see train --help")

    from pixelforest.engine.training.command import TrainingRequest, train_project
    from pixelforest.frontend.text_training import describe_training
    from pixelforest.frontend.training_report import TrainingReport

    report = TrainingReport(console.settings.report_json)
    paths: dict[str, Any] = {name: tuple(given) for name, given in line.paths.items()}
    trained = train_project(replace(_pick(TrainingRequest, line), **paths))
    _print(describe_training(trained))
    report.write(trained)
    return STATUS_OK


def join_reports(line: CommandLine, console: Console) -> int:
    """Join reports of runs into one page."""
    names, output = [unquote(name) for name in line.positional], line.values.get("output")
    multiqc = console.settings.report_multiqc
    if not names or not (output or multiqc):
        raise UsageError(f"reports or --output are missing: {PROGRAM} report part1.json part2.json --output=all.html")

    from pixelforest.frontend.html_report import files, join

    report = join.join_reports([join.read_report(Path(name).expanduser()) for name in names])
    if output:
        page = Path(str(output)).expanduser().absolute()
        files.write_page(report, page, option="output")
        logging.getLogger(PROGRAM).info("Wrote %s", page)
    if multiqc:
        from pixelforest.frontend.multiqc_report import write_multiqc

        write_multiqc(report, Path(multiqc).expanduser().absolute())
    return STATUS_OK


def view_result(line: CommandLine, console: Console) -> int:
    """Write a page that shows a result over its image."""
    raw = line.values.get("raw")
    if len(line.positional) != 1 or not raw:
        raise UsageError(f"a result or its image is missing: {PROGRAM} view RESULT --raw=IMAGE")

    from pixelforest.frontend.html_report.view import write_view

    project = line.values.get("project")
    page = write_view(
        unquote(line.positional[0]),
        str(raw),
        project=None if project is None else Path(str(project)).expanduser(),
        output=None if line.values.get("output") is None else Path(str(line.values["output"])).expanduser(),
        colours=str(line.values.get("report_colours", COLOURS[0])),
    )
    logging.getLogger(PROGRAM).info("Wrote %s", page)
    return STATUS_OK


def clean_folders(line: CommandLine, console: Console) -> int:
    """Remove what killed runs left in folders."""
    strange = [*line.paths, *(set(line.values) - {"dry_run", "resumable", "headless", "quiet", "debug"})]
    names = [unquote(name) for name in line.positional]
    if not names or not all(names) or strange:  # "" would be this folder, and comes from a variable that is not set
        raise UsageError(f"clean takes folders, --dry_run and --resumable: {PROGRAM} clean results")

    from pixelforest.engine.storage.leftovers import clean_folder
    from pixelforest.frontend.text_clean import describe_leftovers

    is_dry, is_resumable_removed = bool(line.values.get("dry_run")), bool(line.values.get("resumable"))
    cleanings = [  # all folders are checked before anything is removed
        clean_folder(Path(name).expanduser(), is_dry=is_dry, is_resumable_removed=is_resumable_removed)
        for name in names
    ]
    found = [each for cleaning in cleanings for each in cleaning]
    for text in describe_leftovers(found, is_dry=is_dry):
        _print(text)
    if any(each.failed for each in found):
        console.fail("some could not be removed")
        return STATUS_FAILED
    return STATUS_OK


SUBCOMMANDS: dict[str, Action] = {
    "clean": clean_folders,
    "doctor": show_health,
    "explain": explain_run,
    "info": show_project,
    "formats": show_formats,
    "completions": show_completions,
    "report": join_reports,
    "view": view_result,
    "train": train_project,
}


def _pick(kind: type[Record], line: CommandLine) -> Record:
    """Make a record of the typed values that are its fields."""
    names = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in line.values.items() if name in names})


def _as_json(document: object) -> str:
    return printable_json(json.dumps(public_document(document), indent=2, ensure_ascii=False, allow_nan=False))


@contextlib.contextmanager
def _reported(console: Console) -> Iterator[RunReport]:
    """Write the requested report of a run, however the run ends."""
    record = RunReport(console.settings)

    def write_now(status: int, message: str) -> None:
        record.end(status, message)
        with contextlib.suppress(PixelforestError):
            record.write()

    try:
        with last_step(write_now):
            yield record
    except BaseException as error:
        record.end(*ending(error))
        with contextlib.suppress(PixelforestError):  # the error that ended the run is reported instead
            record.write()
        raise
    record.write()


def _print(text: str) -> int:
    write_line(sys.stdout, text)
    return STATUS_OK
