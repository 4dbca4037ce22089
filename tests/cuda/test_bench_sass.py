"""Counts of machine code and PTX, without running either."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from support.cuda_host.nvrtc import compile_kernels, library_path

BENCH = Path(__file__).resolve().parents[2] / "bench"

# nvdisasm -c of sources.cu for sm_90, shortened.
MACHINE_CODE = """
	.section	.text.to_float,"ax",@progbits
to_float:
.text.to_float:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0020*/                   ULDC UR5, c[0x0][0xc] ;
        /*0080*/                   ISETP.GE.U32.AND P0, PT, R10, UR8, PT ;
.L_x_8:
        /*00a0*/               @P0 EXIT ;
        /*00b0*/                   UIADD3 UR4, UP0, UR5, UR4, URZ ;
        /*01a0*/              @!P0 BRA `(.L_x_1) ;
        /*01c0*/                   CALL.REL.NOINC `($__internal_0_$__cuda_sm20_div_u64) ;
        /*0210*/             @!UP1 UIADD3 UR4, UR4, 0x1, URZ ;
        .weak           $__internal_0_$__cuda_sm20_div_u64
$__internal_0_$__cuda_sm20_div_u64:
        /*0220*/                   I2F.U32.RP R6, R4 ;
        /*0cd0*/                   NOP;

//--------------------- .nv.info
	.section	.nv.info,"",@"SHT_CUDA_INFO"
	.section	.text.other,"ax",@progbits
        /*0000*/                   EXIT ;
        /*0010*/                   NOP;
"""


@pytest.fixture
def sass(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    import sass as module

    return module


def test_machine_code_without_padding_and_subroutines(sass: ModuleType) -> None:
    assert sass.count_machine_code(MACHINE_CODE) == {"to_float": 8, "other": 1}


@pytest.mark.skipif(library_path(13) is None, reason="NVRTC of CUDA 13 is not installed")
def test_instructions_of_ptx(sass: ModuleType) -> None:
    ptx = compile_kernels("sources.cu", "compute_90", major=13, defines=("SOURCE=float64",)).ptx
    (counts,) = sass.count_ptx(ptx).values()
    lines = [line.split("\t") for line in ptx.split("\n")]
    assert counts["ret"] == 1
    assert counts["cvt"] == ptx.count("\tcvt.")
    assert counts["bra"] == ptx.count("bra ") + ptx.count("bra\t") + ptx.count("bra.uni")
    assert counts.total() == sum(
        line[-1].endswith(";") and not line[1].startswith(".") for line in lines if len(line) > 1
    )
