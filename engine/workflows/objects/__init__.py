"""Object Classification."""

from ...project.workflow_kinds import WorkflowKind


def _kind(source: str, class_suffix: str, *roles: str) -> WorkflowKind:
    return WorkflowKind(
        f"Object Classification (from {source})",
        f"ObjectClassificationWorkflow{class_suffix}",
        ("Raw Data", *roles, "Atlas"),
        "Object Information Export",
        has_pixels=not roles,
        has_objects=True,
        has_thresholds=not roles or "Prediction Maps" in roles,
    )


KINDS = (
    _kind("binary image", "Binary", "Segmentation Image"),
    _kind("prediction image", "Prediction", "Prediction Maps"),
    _kind("label image", "Label", "Label Image"),
    _kind("pixel classification", "Pixel"),
)
