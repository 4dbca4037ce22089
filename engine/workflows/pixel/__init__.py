"""Pixel Classification."""

from ...project.pixel_project import KIND

KINDS = (KIND,)
