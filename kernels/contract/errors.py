"""Errors of kernels and devices."""

from __future__ import annotations


class KernelError(Exception):
    """A device failed or cannot do what was requested; the message has the reason."""


class DeviceUnavailable(KernelError):
    """No usable device, driver or compiler was found."""


class DeviceOutOfMemory(KernelError):
    """The device has not enough memory for an array; a smaller tile may fit."""


class DeviceFailed(KernelError):
    """The driver or a kernel reported a fault; the content of the device's memory is lost."""
