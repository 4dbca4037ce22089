"""The function of ilastik's experimental API that notebooks use: probabilities of an xarray.DataArray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...frozen import frozen
from ..axes import is_axis_order
from ..inputs.axes_advice import needs_of
from ..project import TrainingImage
from .kinds import is_dataarray
from .model import Model, load


def from_project_file(path: str | Path) -> Pipeline:
    """Load a project as ``ilastik.experimental.api.from_project_file`` does.

    Parameters
    ----------
    path
        The .ilp file of a project for Pixel Classification or Autocontext.

    Returns
    -------
    Pipeline
        An object with the method ``get_probabilities``.

    Raises
    ------
    ProjectError
        If the project cannot be used.

    Examples
    --------
    >>> import pixelforest
    >>> pipeline = pixelforest.from_project_file("MyProject.ilp")
    """
    return Pipeline(load(path))


@frozen(eq=False)
class Pipeline:
    """A project for DataArrays.

    Parameters
    ----------
    model
        The project loaded.
    """

    model: Model

    def get_probabilities(self, raw_data: Any) -> Any:
        """Compute the probabilities of an image.

        Parameters
        ----------
        raw_data
            An xarray.DataArray whose dimensions are axis letters, in any order.

        Returns
        -------
        xarray.DataArray
            float32, in the axes of the training image, with c for the classes. Axes that the image lacks have length
            1; axes of length 1 that the training image lacks are dropped.

        Raises
        ------
        NotImplementedError
            For other types.
        ValueError
            If the channels or the dimensions are not those of the training image.
        """
        if not is_dataarray(raw_data):
            raise NotImplementedError(
                f"raw_data is a {type(raw_data).__name__}, not an xarray.DataArray; pixelforest.load takes other arrays"
            )
        training = _training_image(self.model)
        axes = training.axes if "c" in training.axes else f"{training.axes}c"
        _check(raw_data, training)
        name = next(each for each in self.model.results if each.startswith("Probabilities") and "2" not in each)
        found = self.model.predict(raw_data, results=name)
        found = found.squeeze([dim for dim in found.dims if dim not in axes], drop=True)
        return found.expand_dims([letter for letter in axes if letter not in found.dims]).transpose(*axes)


def _training_image(model: Model) -> TrainingImage:
    project = model.project
    image = project.lanes[-1].images.get(project.roles[0]) if project.lanes else None
    if image is None or not image.axes:
        raise ValueError(f"the project {project.path} does not state the axes of its training images")
    return image


def _check(data: Any, training: TrainingImage) -> None:
    """Raise ValueError with ilastik's text if channels or dimensions differ from the training image's."""
    letters = "".join(map(str, data.dims))
    if not is_axis_order(letters):
        raise ValueError(f"the dimensions {tuple(data.dims)} are no letters out of t, z, y, x, c")
    sizes = dict(zip(letters, data.shape, strict=True))
    trained, given = needs_of(training).channels, sizes.get("c", 1)
    if trained is not None and trained != given:
        raise ValueError(f"Number of channels mismatch. Classifier trained for {trained} but input has {given}")
    trained, given = (len(set("xyz") & set(axes)) for axes in (training.axes, letters))
    if trained != given:
        raise ValueError(
            f"Number of spatial dims doesn't match. Classifier trained for {trained} but input has {given}"
        )
