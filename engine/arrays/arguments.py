"""Arguments of the functions on arrays: the roles that they name, and their spelling in messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ..errors import PixelforestError, UsageError, render_settings

# Argument -> roles that it names, of which a project has at most one.
ROLES: Mapping[str, tuple[str, ...]] = {
    "mask": ("Prediction Mask",),
    "segmentation": ("Segmentation Image",),
    "prediction": ("Prediction Maps",),
    "labels": ("Label Image",),
    "atlas": ("Atlas",),
}
_SPELLINGS = {
    **{role.lower().replace(" ", "_"): argument for argument, roles in ROLES.items() for role in roles},
    "raw_data": "image",
    "input_axes": "axes",
    "ignore_training_axistags": "axes",
    "export_source": "results",
    "export_dtype": "dtype",
    "table_filename": "path",
    "cutout_subregion": "slices of the image",
}


def as_argument(name: str) -> str:
    """Spell a setting as an argument of ``load``, ``predict``, ``predict_objects`` or ``Table.write``."""
    return _SPELLINGS.get(name, name)


@contextmanager
def naming_arguments() -> Iterator[None]:
    """Spell the settings in the message of an error as arguments."""
    try:
        yield
    except PixelforestError as error:
        error.args = tuple(render_settings(each, as_argument) for each in error.args)
        raise


def name_roles(given: Mapping[str, object], roles: Sequence[str]) -> dict[str, tuple[str, object]]:
    """Map each role that is given to its argument and value.

    Parameters
    ----------
    given
        Values by argument; None: not given. ``image`` is the main role.
    roles
        Roles of the project, the main one first.

    Returns
    -------
    dict
        Role -> (argument, value).

    Raises
    ------
    UsageError
        For an argument that the project has no role for, or if there is no image.
    """
    if given.get("image") is None:
        raise UsageError("image is None; give an array")
    found: dict[str, tuple[str, object]] = {}
    for argument, value in given.items():
        if value is None:
            continue
        role = roles[0] if argument == "image" else next((r for r in ROLES[argument] if r in roles), None)
        if role is None:
            known = [a for a, names in ROLES.items() if any(name in roles for name in names)]
            raise UsageError(
                f"{argument} is not an input of this project; its inputs are: {', '.join(['image', *known])}"
            )
        found[role] = argument, value
    return found
