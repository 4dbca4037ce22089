"""Shell completions for bash, zsh and fish, generated from the table of options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pixelforest.engine.errors import UsageError

from .options import Option, Takes

SHELLS = ("bash", "zsh", "fish")


def make_completions(shell: str, *, program: str, options: Sequence[Option], commands: Mapping[str, str]) -> str:
    """Return the completion script of one shell.

    Parameters
    ----------
    shell
        One of ``SHELLS``.
    program
        Name of the command to complete.
    options
        Table of options; those that are refused or hidden are not offered.
    commands
        Subcommand and one line about it.

    Raises
    ------
    UsageError
        For a shell that is not in ``SHELLS``.
    """
    makers: Mapping[str, Callable[[str, Sequence[Option], Mapping[str, str]], str]] = {
        "bash": _bash,
        "zsh": _zsh,
        "fish": _fish,
    }
    if shell not in makers:
        raise UsageError(f"there are no completions for the shell {shell!r}; choose one of: {', '.join(SHELLS)}")
    offered = [option for option in options if option.is_shown and not option.refused]
    return makers[shell](program, offered, commands)


def _bash(program: str, options: Sequence[Option], commands: Mapping[str, str]) -> str:
    cases = [
        f'        {option.name}) mapfile -t COMPREPLY < <(compgen -W "{" ".join(option.choices)}" -- "$current"); '
        "return ;;"
        for option in options
        if option.choices
    ]
    names = " ".join(option.name for option in options)
    return "\n".join(
        [
            f"# bash completion for {program}: to be sourced, or put into a folder of completions",
            f"_{program}() {{",
            '    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"',
            '    if [[ "$current" == "=" ]]; then current=""; fi',
            '    if [[ "$previous" == "=" ]]; then previous="${COMP_WORDS[COMP_CWORD-2]}"; fi',
            '    case "$previous" in',
            *cases,
            "    esac",
            '    if [[ "$current" == -* ]]; then',
            f'        mapfile -t COMPREPLY < <(compgen -W "{names}" -- "$current")',
            "    elif [[ $COMP_CWORD -eq 1 ]]; then",
            f'        mapfile -t COMPREPLY < <(compgen -W "{" ".join(commands)}" -- "$current"; '
            'compgen -f -- "$current")',
            "    else",
            '        mapfile -t COMPREPLY < <(compgen -f -- "$current")',
            "    fi",
            "}",
            f"complete -o filenames -F _{program} {program}",
        ]
    )


def _zsh(program: str, options: Sequence[Option], commands: Mapping[str, str]) -> str:
    def escape(text: str) -> str:
        return text.translate(str.maketrans("[]'`", "()’’")).replace(":", "\\:")

    def specification(option: Option) -> str:
        start = f"{option.name}[{escape(_first_sentence(option.help))}]"
        if option.takes is Takes.NOTHING:
            return start
        if option.takes is Takes.BOOLEAN:
            return f"{start}::value:(true false)"
        values = f"({' '.join(option.choices)})" if option.choices else "_files"
        repeat = "*" if option.takes is Takes.PATHS else ""
        return f"{repeat}{start}:{escape(option.metavar.lower())}:{values}"

    described = " ".join(f"'{name}:{escape(text)}'" for name, text in commands.items())
    return "\n".join(
        [
            f"#compdef {program}",
            f"# zsh completion for {program}: put this file as _{program} into a folder of $fpath",
            f"_{program}() {{",
            "    local -a commands",
            f"    commands=({described})",
            "    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then",
            "        _describe 'command' commands",
            "    fi",
            "    _arguments -S \\",
            *(f"        '{specification(option)}' \\" for option in options),
            "        '*:file:_files'",
            "}",
            f'_{program} "$@"',
        ]
    )


def _fish(program: str, options: Sequence[Option], commands: Mapping[str, str]) -> str:
    def quote(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    lines = [f"# fish completion for {program}: put this file into ~/.config/fish/completions"]
    for name, text in commands.items():
        lines.append(f"complete -c {program} -n __fish_is_first_arg -a {name} -d {quote(text)}")
    for option in options:
        value = {
            Takes.NOTHING: "",
            Takes.BOOLEAN: " -a 'true false'",
            Takes.VALUE: f" -x -a {quote(' '.join(option.choices))}" if option.choices else " -r -F",
            Takes.PATHS: " -r -F",
        }[option.takes]
        lines.append(
            f"complete -c {program} -l {option.name.removeprefix('--')}{value} -d {quote(_first_sentence(option.help))}"
        )
    return "\n".join(lines)


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].partition(": ")[0].rstrip(".")
