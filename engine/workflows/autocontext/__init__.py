"""Autocontext with two stages."""

from ...project.pixel_project import ROLES
from ...project.workflow_kinds import WorkflowKind

KINDS = (WorkflowKind("Autocontext (2-stage)", "AutocontextTwoStage", ROLES, "Prediction Export", has_pixels=True),)
