"""Model of kernels on GPUs: counts of the interpreter of PTX (tests/ptx), turned into times on six devices.

Nothing here is timed. The kernels run in the interpreter on small images, which counts instructions of warps by class,
sectors of global memory and passes of shared memory for each launch; ptxas reports registers and shared memory for each
architecture. The time of a launch on a device is the longest of

- issue: one instruction a cycle and scheduler; fp32, fp64, int: lanes of these units, of which conversions in kernels
  that compute in double take 16 of fp64 at most; shared: one pass a cycle
- memory: bytes that have to be read and written once, at the bandwidth that copies reach; L2: all sectors
- latency: what resident warps have to wait for, if each has PARALLEL loads or instructions under way

In kernels with barriers all warps of a block load, then all compute, and only other blocks fill the gaps: the smaller
one of latency and the longest other bound is added, divided by the number of blocks that a multiprocessor holds.

Kernels with published times (PUBLISHED) run through the same model; the ratio of modelled and published times is
printed, and the error bar of all other rows is the largest of them, at least ERROR.

What the model leaves out: moves that ptxas removes, hits in L1, the tail of a grid, clocks under load. With --nvdisasm
the instructions of every kernel are multiplied by the size of its machine code, divided by that of its PTX as the model
counts it, and registers, shared memory and spills are listed for ARCHITECTURES.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent / "kernels"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
from cases import CASES, make_parser, parse
from cuda_forest import make_stack, project_forests
from data import make_cells, prepare, selection
from forest import load_features
from measure import Report
from sass import count_machine_code, count_ptx, disassemble
from support.cuda_host.interpreter import Counts
from support.cuda_host.nvrtc import KernelReport, compile_source
from support.cuda_host.ptx_device import PtxDevice

from pixelforest.engine.pixels.feature_plan import plan_features
from pixelforest.kernels.contract import Conversion, MapPlan, Voxels, Wanted
from pixelforest.kernels.cuda.features import feature_stack, load_plan
from pixelforest.kernels.cuda.filters import upload_source
from pixelforest.kernels.cuda.forest import VARIANTS, load_forest
from pixelforest.kernels.cuda.labels import find_runs
from pixelforest.kernels.cuda.launch import read_source
from pixelforest.kernels.cuda.results import ClassColumns, make_result
from pixelforest.kernels.cuda.stages import stack_stages
from pixelforest.kernels.cuda.threshold import smooth_on_device
from pixelforest.kernels.shared.taps import threshold_taps

PUBLISHED_KERNELS = Path(__file__).resolve().parent / "kernels" / "published.cu"
ERROR = 1.5
PARALLEL = 2.0  # loads, and dependent instructions, that a warp has under way
GLOBAL_CYCLES, SHARED_CYCLES, ALU_CYCLES = 500.0, 25.0, 4.5  # latencies; public microbenchmarks agree within a third
CONVERTED = 16  # lanes that convert from or to 64 bits in a cycle, at most
DIVISION_INSTRUCTIONS = 9  # of a correctly rounded division or square root, beside calls of the slow path
INTEGER_CLASSES = ("integer", "comparison", "conversion", "exchange")
REMOVED_CLASSES = ("move",)  # ptxas keeps few of them
REMOVED, DIVISIONS = ("mov",), ("div", "rem", "sqrt")  # the same by the names of PTX
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
SHAPES = {2: (144, 320), 3: (40, 48, 96)}
QUICK_SHAPE = (96, 128)
FEATURE_VOXELS, FOREST_VOXELS = 1 << 16, 1 << 13
LABELLED: dict[int, Voxels] = {2: (1, 256, 512), 3: (32, 64, 128)}
CLASSES, SMOOTHED = 2, 1.0  # classes of results, sigma of the maps before a threshold


@dataclass(frozen=True)
class Gpu:
    """Public figures of a device.

    fp32, fp64, int32   lanes of a multiprocessor that finish an instruction in a cycle
    bandwidth, l2 bytes a second: of copies, 0.76 to 0.92 of the memory's; of L2, from public microbenchmarks
    threads, shared   that a multiprocessor holds; registers are 65536 on all of them
    """

    name: str
    architecture: str
    multiprocessors: int
    clock: float
    fp32: int
    fp64: int
    int32: int
    bandwidth: float
    l2: float
    threads: int
    shared: int
    blocks: int = 32


GPUS = (
    Gpu("T4", "sm_75", 40, 1.35e9, 64, 2, 64, 245e9, 1.2e12, 1024, 64 << 10, 16),
    Gpu("RTX 4090", "sm_89", 128, 2.52e9, 128, 2, 64, 920e9, 5.0e12, 1536, 100 << 10, 24),
    Gpu("A100", "sm_80", 108, 1.41e9, 64, 32, 64, 1400e9, 4.5e12, 2048, 164 << 10),
    Gpu("H100", "sm_90", 132, 1.755e9, 128, 64, 64, 3000e9, 5.5e12, 2048, 228 << 10),
    Gpu("H200", "sm_90", 132, 1.755e9, 128, 64, 64, 4300e9, 5.5e12, 2048, 228 << 10),
    Gpu("B200", "sm_100", 148, 1.85e9, 128, 64, 64, 7200e9, 10.0e12, 2048, 228 << 10),
)
CHECKED_ON = Gpu("GTX 1650 SUPER", "sm_75", 20, 1.755e9, 64, 2, 64, 147e9, 0.6e12, 1024, 64 << 10, 16)
# Seconds from the output of NVIDIA's samples of CUDA 11.2 on a GTX 1650 SUPER, as a public log has them: the simple
# copy and the naive transposition of 1024 x 1024 in tiles of 16, convolutionSeparable of 3072 x 3072, matrixMul of
# 320 x 320 by 320 x 640.
PUBLISHED = {
    "copy": 0.05384e-3,
    "transposition, directly": 0.05667e-3,
    "separable convolution": 1.16e-3,
    "matrix product": 0.212e-3,
}


@dataclass
class Work:
    """Work of launches with the same block: counts, blocks, and bytes that have to be moved once.

    source   name and compiler options of the file, as JSON
    """

    kernel: str
    source: str
    threads: int
    shared_bytes: int
    blocks: int = 0
    moved: float = 0.0
    counts: Counts = field(default_factory=Counts)


class CountingDevice(PtxDevice):
    """The interpreter, with a record of every launch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.compiler += ", with its sources"  # binaries of other devices have no such line
        self.work: dict[tuple[Any, ...], Work] = {}

    def compile(self, source: str, name: str, options: tuple[str, ...]) -> bytes:
        return super().compile(source, name, options) + f"\n// {json.dumps([name, options])}".encode()

    def load(self, binary: bytes) -> Any:
        return _CountingModule(self, super().load(binary), binary.decode().rpartition("\n// ")[2])

    def take_work(self) -> list[Work]:
        """Return the record and begin a new one."""
        work, self.work = list(self.work.values()), {}
        return work


@dataclass
class _CountingModule:
    device: CountingDevice
    module: Any
    source: str

    def kernel(self, name: str) -> Callable[..., None]:
        kernel, device = self.module.kernel(name), self.device

        def launch(grid: Any, block: Any, arguments: Sequence[Any], *, shared_bytes: int = 0) -> None:
            device.counts[name] = Counts()
            kernel(grid, block, arguments, shared_bytes=shared_bytes)
            counts, threads = device.counts[name], int(np.prod(block))
            key = (name, self.source, threads, shared_bytes)
            work = device.work.setdefault(key, Work(name, self.source, threads, shared_bytes))
            held = sum(a.nbytes for a in arguments if hasattr(a, "nbytes") and not isinstance(a, np.generic))
            work.blocks += int(np.prod(grid))
            work.moved += counts.bytes["global_store"] + min(held, counts.bytes["global_load"])
            work.counts.add(counts)

        return launch


@dataclass(frozen=True)
class Bounds:
    """Seconds that a launch takes at least, by what takes them."""

    seconds: dict[str, float]
    resident_blocks: int
    has_barriers: bool

    @property
    def total(self) -> float:
        latency = self.seconds["latency"]
        other = max(seconds for name, seconds in self.seconds.items() if name != "latency")
        uncovered = min(latency, other) / self.resident_blocks if self.has_barriers else 0.0
        return max(latency, other) + uncovered

    @property
    def bound(self) -> str:
        return max(self.seconds, key=lambda name: self.seconds[name])


@dataclass(frozen=True)
class MachineCode:
    """A kernel as ptxas compiles it.

    growth   instructions, as a multiple of those that the model counts; 1 if they are not disassembled
    """

    report: KernelReport
    growth: float


class Model:
    """Times on devices, with registers as ptxas allocates them for each architecture.

    nvdisasm   disassembles machine code; None: its size is taken to be that of the PTX
    """

    def __init__(self, nvdisasm: Path | None = None) -> None:
        self.nvdisasm = nvdisasm
        self._compiled: dict[tuple[str, str], dict[str, MachineCode]] = {}

    def bounds(self, work: Work, gpu: Gpu) -> Bounds:
        """Bounds of launches that fill a device."""
        counts = work.counts
        issued = counts.instructions.copy()
        for name in REMOVED_CLASSES:
            issued[name] = 0
        issued["division"] *= DIVISION_INSTRUCTIONS
        total = sum(issued.values()) * self.machine_code(work, gpu.architecture).growth
        fp32 = issued["float32"] + issued["division"]
        integer = sum(issued[name] for name in INTEGER_CLASSES)
        double = issued["float64"] / gpu.fp64
        if double:
            double += issued["conversion"] / min(gpu.fp64, CONVERTED)
        passes = sum(counts.transfers[name] for name in counts.transfers if name.startswith("shared"))
        sectors = sum(counts.transfers[name] for name in counts.transfers if name.startswith("global"))
        resident_blocks = self._resident_blocks(work, gpu)
        resident = resident_blocks * -(-work.threads // 32)
        requests = sum(counts.requests[name] for name in counts.requests if name.startswith("global"))
        shared = sum(counts.requests[name] for name in counts.requests if name.startswith("shared"))
        waited = GLOBAL_CYCLES * requests + SHARED_CYCLES * shared + ALU_CYCLES * (total - requests - shared)
        cycle = 1 / gpu.clock / gpu.multiprocessors
        seconds = {
            "issue": total / 4 * cycle,
            "fp32": 32 * fp32 / gpu.fp32 * cycle,
            "int": 32 * integer / gpu.int32 * cycle,
            "fp64": 32 * double * cycle,
            "shared": passes * cycle,
            "memory": work.moved / gpu.bandwidth,
            "L2": 32 * sectors / gpu.l2,
            "latency": waited / PARALLEL / resident * cycle,
        }
        return Bounds(seconds, resident_blocks, counts.barriers > 0)

    def _resident_blocks(self, work: Work, gpu: Gpu) -> int:
        """Blocks that a multiprocessor holds."""
        report = self.machine_code(work, gpu.architecture).report
        warps = -(-work.threads // 32)
        registers = -(-report.registers * 32 // 256) * 256 * warps
        shared = report.shared + work.shared_bytes + (1024 if gpu.architecture >= "sm_80" else 0)
        blocks = min(gpu.threads // (32 * warps), 65536 // registers, gpu.shared // max(1, shared), gpu.blocks)
        return max(1, blocks)

    def machine_code(self, work: Work, architecture: str) -> MachineCode:
        """Compile the file of a kernel once for each architecture."""
        key = (work.source, architecture)
        if key not in self._compiled:
            name, options = json.loads(work.source)
            text = (
                PUBLISHED_KERNELS.read_text(encoding="utf-8") if name == PUBLISHED_KERNELS.name else read_source(name)
            )
            compiled = compile_source(text, name, architecture, tuple(options), major=13)
            sizes = {} if self.nvdisasm is None else count_machine_code(disassemble(compiled.cubin, self.nvdisasm))
            ptx = count_ptx(compiled.ptx)
            self._compiled[key] = {
                kernel: MachineCode(found, sizes[kernel] / model_size(ptx[kernel]) if sizes else 1.0)
                for kernel, found in compiled.kernels.items()
            }
        return self._compiled[key][work.kernel]


def model_size(ptx: Counter[str]) -> int:
    """Return the number of instructions of a kernel as the model counts them."""
    divisions = sum(ptx[name] for name in DIVISIONS)
    return ptx.total() - sum(ptx[name] for name in REMOVED) + (DIVISION_INSTRUCTIONS - 1) * divisions


@dataclass(frozen=True)
class Workload:
    """Launches that together do something to an image of ``voxels``."""

    title: str
    dimensions: int
    voxels: int
    work: list[Work]


def main(words: Sequence[str] | None = None) -> int:
    """Run the model."""
    parser = make_parser(__doc__, defaults=(), quick=())
    parser.add_argument("--nvdisasm", type=Path, metavar="FILE", help="count instructions of machine code with this")
    options = parse(parser, words)
    if options.dry_run:
        print("published kernels; features, forest, components, other kernels: in 2-D and 3-D")
        return 0
    device = CountingDevice(finds_races=False)
    model, report = Model(options.nvdisasm), Report("gpu_model", options.json)
    error = max(ERROR, check_published(model, device, report))
    tables: dict[int, list[str]] = defaultdict(list)
    for workload in _workloads(device, options):
        _show(model, report, workload, error)
        tables[workload.dimensions] += _table_rows(model, report, workload)
    for dimensions, rows in tables.items():
        report.begin(f"{dimensions}-D, 10^-12 s a voxel and what bounds it, right within a factor of {error:.2g}")
        print("\n".join([*_table_head(), *rows]))
    return 0


def check_published(model: Model, device: CountingDevice, report: Report) -> float:
    """Model the kernels with published times; returns the largest factor between both times."""
    report.begin(f"kernels with published times, {CHECKED_ON.name}", name="published", device=CHECKED_ON.name)
    worst = 1.0
    for name, (work, share) in run_published(device).items():
        bounds = [model.bounds(each, CHECKED_ON) for each in work]
        modelled = sum(each.total for each in bounds) * share
        ratio = modelled / PUBLISHED[name]
        worst = max(worst, ratio, 1 / ratio)
        report.note(
            f"{name}: modelled {modelled * 1e3:.3f} ms ({', '.join(each.bound for each in bounds)}), "
            f"published {PUBLISHED[name] * 1e3:.3f}, ratio {ratio:.2f}",
            name=name,
            modelled=modelled,
            published=PUBLISHED[name],
        )
    return worst


def run_published(device: CountingDevice) -> dict[str, tuple[list[Work], float]]:
    """Run the kernels with published times on a part of their data; returns work, and how often it is in the whole."""
    source = PUBLISHED_KERNELS.read_text(encoding="utf-8")
    module = device.load(device.compile(source, PUBLISHED_KERNELS.name, ("--fmad=true",)))
    rng = np.random.default_rng(0)
    found: dict[str, tuple[list[Work], float]] = {}

    def array(*shape: int) -> Any:
        return device.upload(rng.random(shape, np.float32))

    size = 256
    image, out, more = array(size, size), device.empty((size, size), np.float32), device.empty((size, size), np.float32)
    grid = (size // 16, size // 16, 1)
    module.kernel("copy_tiles")(grid, (16, 16, 1), (image, out, np.uint32(size)))
    found["copy"] = device.take_work(), (1024 / size) ** 2
    module.kernel("transpose_directly")(grid, (16, 16, 1), (image, out, np.uint32(size), np.uint32(size)))
    found["transposition, directly"] = device.take_work(), (1024 / size) ** 2
    taps = array(9)
    module.kernel("convolve_rows")((size // 128, size // 4, 1), (16, 4, 1), (image, out, np.uint32(size), taps))
    arguments = (out, more, np.uint32(size), np.uint32(size), taps)
    module.kernel("convolve_columns")((size // 16, size // 64, 1), (16, 8, 1), arguments)
    found["separable convolution"] = device.take_work(), (3072 / size) ** 2
    a, b, c = array(64, 320), array(320, 128), device.empty((64, 128), np.float32)
    module.kernel("multiply")((4, 2, 1), (32, 32, 1), (a, b, c, np.uint32(320), np.uint32(128)))
    found["matrix product"] = device.take_work(), 320 * 640 / (64 * 128)
    return found


def _workloads(device: CountingDevice, options: Any) -> Iterator[Workload]:
    for dimensions in (2,) if options.quick else (2, 3):
        shape = QUICK_SHAPE if options.quick else SHAPES[dimensions]
        image = make_cells(shape, seed=7 + dimensions)[0].reshape((1,) * (4 - dimensions) + shape)
        size: Voxels = image.shape[1:]
        plan = plan_features(selection(dimensions), channels=1, depth=size[0])
        source = upload_source(device, image)
        device.take_work()
        feature_stack(device, source, (0, 0, 0), ((0, 0, 0), size), size, load_plan(plan))
        title = f"features {dimensions}-D, {plan.width} columns"
        yield Workload(title, dimensions, image.size, device.take_work())
        quick = "quick" if options.quick else {2: "2048", 3: "128"}[dimensions]
        material = prepare(CASES[f"{dimensions}d-{quick}"], options)
        features = _middle(load_features(material, largest=FEATURE_VOXELS), 1 if dimensions == 2 else 8)
        stack, forests = make_stack(device, features), project_forests(material.project)
        trees = sum(len(forest.trees) for forest in forests)
        default = load_forest(device, forests).launch(features.shape[3]).variant.name
        for variant in (default,) if options.quick else VARIANTS:
            forest = load_forest(device, forests, variant=variant)
            device.take_work()
            try:
                forest.predict(stack)
            except ValueError:  # does not fit into shared memory
                continue
            title = f"forest {dimensions}-D, {trees} trees, {variant}{' (default)' if variant == default else ''}"
            yield Workload(title, dimensions, int(np.prod(features.shape[:3])), device.take_work())
        yield from _other_workloads(device, dimensions)


def _other_workloads(device: CountingDevice, dimensions: int) -> Iterator[Workload]:
    """Components, and all kernels that do little for each voxel."""
    shape = LABELLED[dimensions]
    voxels = int(np.prod(shape))
    values = (make_cells(shape[-dimensions:], seed=3)[1] > 0.1).astype(np.uint8)
    flat = device.upload(values.reshape(-1))
    device.take_work()
    find_runs(device, flat, shape)
    yield Workload(f"components {dimensions}-D", dimensions, voxels, device.take_work())
    rng = np.random.default_rng(0)
    source = upload_source(device, rng.integers(0, 256, (1, *shape), np.uint8))
    first = rng.random((*shape, 1), np.float32)
    probabilities = device.upload(np.concatenate([first, 1 - first], axis=-1))
    columns = ClassColumns(tuple(range(CLASSES)), CLASSES)
    real, small = np.dtype(np.float32), np.dtype(np.uint8)
    scaled = Conversion(real, small, (0.0, 1.0), (0, 255))
    for wanted in (
        Wanted("probabilities", (0, CLASSES), scaled),
        Wanted("segmentation", (0, 1), Conversion(small, small)),
        Wanted("uncertainty", (0, 1), scaled),
    ):
        make_result(device, probabilities, columns, None, wanted)
    yield Workload(f"source and results {dimensions}-D, uint8", dimensions, voxels, device.take_work())
    stack_stages(device, source, (0, 0, 0), probabilities, columns, small)
    yield Workload(f"second stage of Autocontext {dimensions}-D", dimensions, voxels, device.take_work())
    maps = device.upload(rng.integers(0, 256, (*shape, CLASSES), np.uint8))
    z, y, x = (threshold_taps(SMOOTHED) if n > 1 else None for n in shape)
    smooth_on_device(device, maps, 0, (0, 0, 0), ((0, 0, 0), shape), shape, MapPlan((0,), (0.0, 255.0), (z, y, x)))
    yield Workload(f"smoothed map {dimensions}-D, sigma {SMOOTHED}", dimensions, voxels, device.take_work())


def _middle(features: np.ndarray, depth: int) -> np.ndarray:
    """Take about FOREST_VOXELS voxels from the middle of features (z, y, x, f)."""
    side = max(16, int((FOREST_VOXELS / depth) ** 0.5))
    parts = []
    for n, wanted in zip(features.shape[:3], (depth, side, side), strict=True):
        taken = min(n, wanted)
        parts.append(slice((n - taken) // 2, (n + taken) // 2))
    return np.ascontiguousarray(features[tuple(parts)])


def _counts_by_kernel(work: list[Work]) -> dict[str, Counts]:
    """Add up the counts of each kernel; the longest ones first."""
    found: dict[str, Counts] = defaultdict(Counts)
    for each in work:
        found[each.kernel].add(each.counts)
    return dict(sorted(found.items(), key=lambda item: -item[1].all_instructions))


def _per_request(counts: Counts, memory: str) -> float:
    """Sectors or passes of a request of global or shared memory."""
    of_memory = [name for name in counts.requests if name.startswith(memory)]
    return sum(counts.transfers[n] for n in of_memory) / max(1, sum(counts.requests[n] for n in of_memory))


def _show(model: Model, report: Report, workload: Workload, error: float) -> None:
    """Print the counts of a workload by kernel, and its time on each device."""
    voxels, work = workload.voxels, workload.work
    report.begin(workload.title, name=workload.title)
    for name, counts in _counts_by_kernel(work).items():
        share = counts.lanes / 32 / max(1, counts.all_instructions)
        sectors, passes = _per_request(counts, "global"), _per_request(counts, "shared")
        barriers = counts.barriers / sum(each.blocks for each in work if each.kernel == name)  # of a block
        classes = {key: 32 * n / voxels for key, n in counts.instructions.items() if 32 * n >= voxels}
        report.note(
            f"{name}: {32 * counts.all_instructions / voxels:.0f} lane instructions a voxel, {share:.2f} active "
            f"({', '.join(f'{key} {n:.0f}' for key, n in sorted(classes.items(), key=lambda item: -item[1])[:6])}); "
            f"{sectors:.1f} sectors a global request, {passes:.1f} passes a shared one, {barriers:.0f} barriers",
            kernel=name,
            sectors=sectors,
            passes=passes,
            barriers=barriers,
            instructions=32 * counts.all_instructions / voxels,
            active=share,
            classes=classes,
        )
    if model.nvdisasm is not None:
        _show_machine_code(model, report, work)
    for gpu in GPUS:
        bounds = [model.bounds(each, gpu) for each in work]
        seconds = sum(each.total for each in bounds)
        parts: dict[str, float] = defaultdict(float)
        for each in bounds:
            parts[each.bound] += each.total
        limit = max(sum(each.seconds[name] for each in bounds) for name in ("issue", "fp32", "memory"))
        named = ", ".join(f"{name} {100 * t / seconds:.0f} %" for name, t in sorted(parts.items(), key=lambda i: -i[1]))
        rate = voxels / seconds
        report.note(
            f"{gpu.name}: {rate / 1e9:.2f} G voxels/s ({rate / error / 1e9:.2f} to {rate * error / 1e9:.2f}), "
            f"{seconds / limit:.1f} times the bound of arithmetic or memory alone; by {named}",
            device=gpu.name,
            rate=rate,
            error=error,
            bounds=dict(parts),
        )


def _table_head() -> list[str]:
    names = ["kernel", "instructions", "lanes", "sectors", "passes", *(gpu.name for gpu in GPUS)]
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]


def _table_rows(model: Model, report: Report, workload: Workload) -> list[str]:
    """Rows of a table of kernels: counts, and the time of a voxel on each device with the longest bound."""
    rows = []
    for name, counts in _counts_by_kernel(workload.work).items():
        cells = [
            f"`{name}`",
            f"{32 * counts.all_instructions / workload.voxels:.0f}",
            f"{counts.lanes / 32 / max(1, counts.all_instructions):.2f}",
            f"{_per_request(counts, 'global'):.1f}",
            f"{_per_request(counts, 'shared'):.1f}",
        ]
        for gpu in GPUS:
            parts: Counter[str] = Counter()
            for each in workload.work:
                if each.kernel == name:
                    bounds = model.bounds(each, gpu)
                    parts[bounds.bound] += bounds.total
            (bound, _), picoseconds = parts.most_common(1)[0], 1e12 * sum(parts.values()) / workload.voxels
            cells.append(f"{picoseconds:.{0 if picoseconds >= 10 else 1}f} {bound}")
            report.write({"name": name, "kernel": name, "device": gpu.name, "picoseconds": picoseconds, "bound": bound})
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _show_machine_code(model: Model, report: Report, work: list[Work]) -> None:
    """Print registers, memory and size of each kernel: the range over its forms and all architectures."""
    found: dict[str, list[MachineCode]] = defaultdict(list)
    for each in work:
        found[each.kernel] += [model.machine_code(each, architecture) for architecture in ARCHITECTURES]
    for name, codes in found.items():
        registers, shared = [code.report.registers for code in codes], [code.report.shared for code in codes]
        spills, growths = sum(code.report.spills for code in codes), [code.growth for code in codes]
        report.note(
            f"{name}: {min(registers)} to {max(registers)} registers, {min(shared)} to {max(shared)} bytes of static "
            f"shared memory, {spills} bytes of spills; {min(growths):.2f} to {max(growths):.2f} times the instructions "
            "of the model",
            kernel=name,
            registers=registers,
            shared=shared,
            spills=spills,
            growths=growths,
        )


if __name__ == "__main__":
    sys.exit(main())
