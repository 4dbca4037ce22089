"""Autocontext with two stages."""

from ...project.autocontext_project import KIND

KINDS = (KIND,)
