"""Parts of a request as typed; each is resolved by the module that it concerns. ``jobs.Request`` unites them.

Every field has the name, and takes the value, of an option of the command line, so that messages name it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..frozen import frozen

EXPORT_DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")
MPI = "mpi"  # value of scheduler
FORESTS = ("auto", "native", "nvforest")
OME_ZARR_VERSIONS = ("0.4", "0.5")  # the first is the default
COUNTS_ONLY = "counts"  # instead of colours: classes are counted for the terminal
COLOURS = ("project", "okabe-ito")  # of classes in reports
# Flags that request one image each, in the order in which the images are written.
_IMAGE_FLAGS = {
    "export_pixel_probability_img": "Pixel Probabilities",
    "export_object_prediction_img": "Object Predictions",
    "export_object_probability_img": "Object Probabilities",
}


def role_key(role: str) -> str:
    """Spell a role as an option does: Raw Data -> raw_data."""
    return role.strip().lower().replace(" ", "_").replace("-", "_")


@frozen(kw_only=True)
class InputRequest:
    """Images, and how they are read.

    Parameters
    ----------
    inputs
        Arguments for the main role.
    inputs_by_role
        Pairs of a role in option spelling, such as ``raw_data``, and its arguments.
    input_list
        File that lists the inputs instead.
    """

    inputs: tuple[str, ...] = ()
    inputs_by_role: tuple[tuple[str, tuple[str, ...]], ...] = ()
    input_list: str | None = None
    input_axes: str | None = None
    ignore_training_axistags: bool = False
    stack_along: str = "z"
    preconvert_stacks: bool = False
    allow_missing_planes: bool = False


@frozen(kw_only=True)
class ExportRequest:
    """Results, and how their images are written; None for options that were not given.

    Parameters
    ----------
    export_source
        Names separated by commas, in any case.
    allow_project_urls
        True if a project may name servers that results are sent to.
    dry_run
        True if nothing will be written.
    """

    export_source: str | None = None
    output_format: str | None = None
    output_filename_format: str | None = None
    output_internal_path: str | None = None
    cutout_subregion: str | None = None
    export_dtype: str | None = None
    output_axis_order: str | None = None
    pipeline_result_drange: str | None = None
    export_drange: str | None = None
    clip: bool = False
    overwrite: bool = False
    ome_zarr_version: str | None = None
    export_object_prediction_img: bool = False
    export_object_probability_img: bool = False
    export_pixel_probability_img: bool = False
    allow_project_urls: bool = False
    dry_run: bool = False

    @property
    def image_flags(self) -> Mapping[str, str]:
        """Flags that were given -> the result that each requests, which not every workflow has."""
        return {name: result for name, result in _IMAGE_FLAGS.items() if getattr(self, name)}


@frozen(kw_only=True)
class TableRequest:
    """The table of objects.

    Parameters
    ----------
    table_filename
        Path given by the user, or None. It is the file's exact name, its extension chooses the format, and every
        computed feature becomes a column. A path that the project stores is changed as in ilastik, and the project's
        list of features applies.
    table_only
        True if no image is written.
    safe_csv
        True if a CSV table must not contain formulas.
    allow_project_urls
        As in ``ExportRequest``; on Windows a path may begin with the name of a server.
    started_as_ilastik
        True for scripts that replace ilastik's: the user's CSV table gets a copy under the name that ilastik gives it,
        ``<base>_table.csv``.
    """

    table_filename: str | None = None
    table_only: bool = False
    safe_csv: bool = False
    allow_project_urls: bool = False
    started_as_ilastik: bool = False


@frozen(kw_only=True)
class TrainingInRun:
    """Training before a run.

    Parameters
    ----------
    retrain
        True to train the classifier anew.
    tree_count, label_proportion
        Number of trees, and share of the labels to train from; either implies training, None: those of the project.
    seed
        Seed of the first forest.
    variable_importance_path
        Folder of the table of the features' importance, written after training.
    readonly
        False to save what ``retrain`` has trained, or random labels.
    generate_random_labels
        True to label random pixels of all training images before anything else.
    random_label_count, random_label_value
        Number of pixels of each image, None: 2000; and their label, None: 1.
    """

    retrain: bool = False
    tree_count: int | None = None
    label_proportion: float | None = None
    seed: int = 1
    variable_importance_path: str | None = None
    readonly: bool = True
    generate_random_labels: bool = False
    random_label_count: int | None = None
    random_label_value: int | None = None

    @property
    def trains(self) -> bool:
        """True if a classifier is trained even if the project has one."""
        return self.retrain or self.tree_count is not None or self.label_proportion is not None


@frozen(kw_only=True)
class ResourceRequest:
    """Device, limits and share of the inputs of a run.

    Parameters
    ----------
    threads, memory
        Limits of the run, memory in bytes; None: chosen by the machine.
    shard
        Number of a part of the lanes, from 1, and the number of parts; None: all lanes.
    resume
        True to record what is done, and to skip what a run of the same request has recorded.
    no_tune
        True to choose between GPU kernels by rule instead of timing them.
    blocks
        Number of a part of the blocks of the only image, from 1, and the number of parts; None: all blocks.
    finish
        True to complete the results of an image whose blocks are all computed.
    scheduler
        Address or file of the scheduler of a Dask cluster, local:N for N processes, or mpi for those that mpirun has
        started; None: no cluster.
    distributed, distributed_block_roi
        True for ilastik's way to use MPI, and its size of blocks, which has no effect.
    """

    device: str = "auto"
    forest: str = "auto"
    no_tune: bool = False
    threads: int | None = None
    memory: int | None = None
    configfile: str | None = None
    fail_fast: bool = False
    shard: tuple[int, int] | None = None
    resume: bool = False
    blocks: tuple[int, int] | None = None
    finish: bool = False
    scheduler: str | None = None
    distributed: bool = False
    distributed_block_roi: str | None = None

    @property
    def uses_mpi(self) -> bool:
        """True if the processes that mpirun has started compute together."""
        return self.distributed or self.scheduler == MPI
