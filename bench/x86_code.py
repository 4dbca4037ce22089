"""Machine code of x86-64 in object files: instructions of functions, their innermost loops, and cycles by llvm-mca."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")
_INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+((?:(?:data16|cs|rep|repz|lock|bnd|notrack)\s+)*)(\w+)\s*(.*)$")
_TARGET = re.compile(r"^([0-9a-f]+)\b")
_LENGTH = re.compile(r"\d+")
_PADDING = ("nop", "nopw", "nopl", "xchg", "data16", "int3")
# Kinds of instructions whose numbers are of interest.
KINDS = {
    "zmm": re.compile(r"%zmm"),
    "masks": re.compile(r"%k[0-7]"),
    "vpternlog": re.compile(r"^vpternlog"),
    "movmsk": re.compile(r"^v?p?movmsk"),
    "fma": re.compile(r"^vfn?m(?:add|sub)"),
    "approximations": re.compile(r"^v?(?:rcp|rsqrt|exp2|reduce|getexp|getmant|scalef|fixupimm)"),
}


@dataclass(frozen=True)
class Instruction:
    address: int
    operation: str
    operands: str

    @property
    def text(self) -> str:
        return f"{self.operation} {self.operands}"

    @property
    def target(self) -> int | None:
        """Address that a jump leads to."""
        match = _TARGET.match(self.operands) if self.operation.startswith("j") else None
        return int(match[1], 16) if match else None


@dataclass(frozen=True)
class Function:
    """Instructions of a function without padding. name: as in the source, without numba's mangling."""

    name: str
    code: tuple[Instruction, ...]

    def loops(self) -> list[tuple[Instruction, ...]]:
        """Find the innermost loops: code between a jump backwards and its target without another such jump."""
        ranges = [(i.target, i.address) for i in self.code if i.target is not None and i.target <= i.address]
        first = self.code[0].address
        inner = sorted({
            (start, stop)
            for start, stop in ranges
            if start >= first and not any(start <= a and b <= stop and (a, b) != (start, stop) for a, b in ranges)
        })  # fmt: skip
        return [tuple(i for i in self.code if start <= i.address <= stop) for start, stop in inner]


def count(code: Sequence[Instruction], kind: str) -> int:
    """Count the instructions of one of KINDS."""
    return sum(bool(KINDS[kind].search(each.text)) for each in code)


def find_new_rounding(old: Sequence[Function], new: Sequence[Function]) -> list[str]:
    """Find instructions that round otherwise than those of the old code: approximations, contracted multiply-adds.

    A multiply-add is contracted if its function had none; a function that was inlined before counts as a part of any.
    """
    found = [f"approximation in {each.name}" for each in new if count(each.code, "approximations")]
    names = {each.name for each in old}
    with_fma = {each.name for each in old if count(each.code, "fma")}
    for each in new:
        if count(each.code, "fma") and each.name not in with_fma and (each.name in names or not with_fma):
            found.append(f"multiply-add in {each.name}")
    return found


def read_functions(file: Path) -> list[Function]:
    """Disassemble an object file with objdump of binutils."""
    command = ["objdump", "-d", "--no-show-raw-insn", "-w", str(file)]
    return parse(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def parse(text: str) -> list[Function]:
    """Parse the output of objdump."""
    found: list[tuple[str, list[Instruction]]] = []
    for line in text.splitlines():
        if function := _FUNCTION.match(line):
            found.append((_readable(function[1]), []))
        elif (match := _INSTRUCTION.match(line)) and found and match[3] not in _PADDING:
            found[-1][1].append(Instruction(int(match[1], 16), match[3], match[4].split(" <")[0].strip()))
    return [Function(name, tuple(code)) for name, code in found if code]


def _readable(symbol: str) -> str:
    """Last name of a nested name in the mangling of C++."""
    if not symbol.startswith("_ZN"):
        return symbol
    name, at = symbol, 3
    while match := _LENGTH.match(symbol, at):
        at = match.end() + int(match[0])
        name = symbol[match.end() : at]
    return name


def cycles(loop: Sequence[Instruction], processor: str, llvm_mca: Path) -> float:
    """Cycles of one iteration as llvm-mca models them: all loads hit the L1 cache, all branches are predicted."""
    lines = "".join(
        f"{each.text}\n" if each.target is None else f"{each.operation} next{n}\nnext{n}:\n"
        for n, each in enumerate(loop)
    )
    command = [str(llvm_mca), "-mtriple=x86_64", f"-mcpu={processor}", "-iterations=200", "-"]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    total = re.search(r"^Total Cycles:\s+(\d+)", done.stdout, re.MULTILINE)
    assert total
    return int(total[1]) / 200
