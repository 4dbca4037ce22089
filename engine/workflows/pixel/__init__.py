"""Pixel Classification."""

from ...project.pixel_project import NAME, ROLES
from ...project.workflow_kinds import WorkflowKind

KINDS = (WorkflowKind(NAME, "PixelClassificationWorkflow", ROLES, "Prediction Export", has_pixels=True),)
