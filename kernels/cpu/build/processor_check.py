"""Function of the library that tells whether this processor can execute the rest, and the mark of the sources."""

from __future__ import annotations

# CPUID leaf 1 ecx: FMA, MOVBE, POPCNT, OSXSAVE, AVX, F16C. Leaf 7 ebx: BMI1, AVX2, BMI2. Leaf 0x80000001 ecx: LZCNT.
# XCR0: the system saves the registers of SSE and AVX.
_LEAF_1 = 1 << 12 | 1 << 22 | 1 << 23 | 1 << 27 | 1 << 28 | 1 << 29
_LEAF_7 = 1 << 3 | 1 << 5 | 1 << 8
_LEAF_EXTENDED = 1 << 5
_STATE = 6

_CPUID = """
define internal {i32, i32, i32, i32} @cpuid(i32 %leaf) {
    %found = call {i32, i32, i32, i32} asm sideeffect "cpuid", "={ax},={bx},={cx},={dx},0,2"(i32 %leaf, i32 0)
    ret {i32, i32, i32, i32} %found
}
"""

_X86 = f"""
{_CPUID}
define i32 @has_vectors() {{
    %basic = call {{i32, i32, i32, i32}} @cpuid(i32 0)
    %highest = extractvalue {{i32, i32, i32, i32}} %basic, 0
    %has_7 = icmp uge i32 %highest, 7
    %extended = call {{i32, i32, i32, i32}} @cpuid(i32 -2147483648)
    %highest_extended = extractvalue {{i32, i32, i32, i32}} %extended, 0
    %has_extended = icmp uge i32 %highest_extended, -2147483647
    %has_leaves = and i1 %has_7, %has_extended
    br i1 %has_leaves, label %features, label %no
features:
    %of_1 = call {{i32, i32, i32, i32}} @cpuid(i32 1)
    %c_1 = extractvalue {{i32, i32, i32, i32}} %of_1, 2
    %of_7 = call {{i32, i32, i32, i32}} @cpuid(i32 7)
    %b_7 = extractvalue {{i32, i32, i32, i32}} %of_7, 1
    %of_extended = call {{i32, i32, i32, i32}} @cpuid(i32 -2147483647)
    %c_extended = extractvalue {{i32, i32, i32, i32}} %of_extended, 2
    %lacks_1 = xor i32 {_LEAF_1}, -1
    %with_1 = or i32 %c_1, %lacks_1
    %lacks_7 = xor i32 {_LEAF_7}, -1
    %with_7 = or i32 %b_7, %lacks_7
    %lacks_extended = xor i32 {_LEAF_EXTENDED}, -1
    %with_extended = or i32 %c_extended, %lacks_extended
    %some = and i32 %with_1, %with_7
    %all = and i32 %some, %with_extended
    %has_all = icmp eq i32 %all, -1
    br i1 %has_all, label %system, label %no
system:
    %state = call {{i32, i32}} asm sideeffect "xgetbv", "={{ax}},={{dx}},{{cx}}"(i32 0)
    %low = extractvalue {{i32, i32}} %state, 0
    %kept = and i32 %low, {_STATE}
    %is_kept = icmp eq i32 %kept, {_STATE}
    %answer = zext i1 %is_kept to i32
    ret i32 %answer
no:
    ret i32 0
}}
"""

_ANY = """
define i32 @has_vectors() {
    ret i32 1
}
"""


def processor_check(triple: str, mark: bytes) -> str:
    """LLVM IR of ``int has_vectors()``, which any processor of the kind can execute, and of the mark as a constant."""
    code = _X86 if triple.startswith("x86_64") else _ANY
    return f'{code}\n@sources = constant [{len(mark)} x i8] c"{mark.decode()}"\n'
