"""Errors of kernels and devices."""

from __future__ import annotations


class KernelError(Exception):
    """A device failed or was given something it cannot do; the message says what."""


class DeviceUnavailable(KernelError):
    """There is no device, driver or compiler that could be used."""


class DeviceOutOfMemory(KernelError):
    """The device has no room for an array; a smaller tile may fit."""


class DeviceFailed(KernelError):
    """The driver or a kernel reported a fault; what the device held is lost."""
