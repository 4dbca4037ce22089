"""Inspection and test of devices, libraries, caches, and of the bits that backends compute."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...frozen import frozen
from ...kernels.contract import Backend, KernelError
from ...kernels.shared.self_test import SELF_TESTS, count_differences, digest
from ..backends import open_backend, survey_backends, warm_architecture
from ..errors import BackendUnavailable, Text, as_marked
from ..machine import choose_memory, choose_threads, format_size

__all__ = ["Finding", "Health", "examine"]


@frozen
class Finding:
    """One line of the report: a name, the finding, and whether it is a fault."""

    name: str
    text: str
    is_fault: bool = False


@dataclass
class Health:
    """All findings, by part of the program."""

    parts: dict[str, list[Finding]] = field(default_factory=dict)

    def add(self, part: str, name: str, text: str, *, is_fault: bool = False) -> None:
        self.parts.setdefault(part, []).append(Finding(name, text, is_fault))

    @property
    def status(self) -> int:
        """Exit status: 0 if everything available works; 1 if a test failed or a requested device cannot be used."""
        return int(any(finding.is_fault for findings in self.parts.values() for finding in findings))


def examine(device: str = "auto", *, warm: bool = False, architectures: Sequence[str] = ()) -> Health:
    """Inspect this machine and test the backends that can be used.

    device  as for a run; auto: the CPU, and GPUs if there are any; others are required
    warm    compile the kernels of GPUs that do not depend on a project into the caches
    architectures  such as sm_90: compile for GPUs that are not present, as for a container image
    The CPU's bits are compared with those recorded in this version, another device's with the CPU's. Raises UsageError.
    """
    health = Health()
    health.add("machine", "threads", str(choose_threads()))
    health.add("machine", "memory to plan with", format_size(choose_memory()))
    for name, lines in survey_backends().items():
        for label, text in lines:
            health.add(name, label, text)
    cpu = open_backend("cpu")
    _test("cpu", cpu, None, health, warm=False)  # its kernels are part of the package
    for architecture in architectures:
        _warm_architecture(architecture, health)
    if device == "cpu":
        return health
    name = "cuda" if device == "auto" else device.partition(":")[0]
    try:
        other = open_backend("cuda" if device == "auto" else device, tunes=False)  # times are not what is tested
        _test(name, other, cpu, health, warm=warm)
    except BackendUnavailable as error:
        health.add(name, "self-test", Text(f"not done: {error.render(as_marked)}"), is_fault=device != "auto")
    return health


def _warm_architecture(architecture: str, health: Health) -> None:
    started_s = time.monotonic()
    try:
        count = warm_architecture(architecture)
        text = f"{count} files compiled and kept, {time.monotonic() - started_s:.1f} s"
        health.add("cuda", f"kernels for {architecture}", text)
    except BackendUnavailable as error:
        health.add("cuda", f"kernels for {architecture}", Text(f"none: {error.render(as_marked)}"), is_fault=True)


def _test(part: str, backend: Backend, other: Backend | None, health: Health, *, warm: bool) -> None:
    """Warm up a backend and run its self-tests against the recorded bits or those of the other backend."""
    try:
        if warm:
            started_s = time.monotonic()
            backend.warm()
            health.add(part, "kernels", f"compiled and kept, {time.monotonic() - started_s:.1f} s")
        for test in SELF_TESTS:
            started_s = time.monotonic()
            found = test.run(backend)
            seconds = time.monotonic() - started_s
            if other is None:
                is_right, wrong = digest(found) == test.recorded, "bits differ from those recorded in this version"
            else:
                differences = count_differences(found, test.run(other))
                is_right, wrong = differences == 0, f"{differences} values have other bits than the CPU's"
            right = "the recorded bits" if other is None else "the CPU's bits"
            text = f"{right if is_right else wrong}, {seconds:.2f} s"
            health.add(part, f"self-test {test.name}", text, is_fault=not is_right)
    except KernelError as error:
        health.add(part, "self-test", f"failed: {error}", is_fault=True)
