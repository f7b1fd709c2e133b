"""The options that say how files, images and labels are read, defined once for all commands that read files.

Each field of `ReadingOptions` and `LabelOptions` is an option. A command has a parameter of such a type, and
`expand.expand_options` puts the options in its place. To add one, add a field here. One that is called as a field of
`sources.options.ImportOptions` is passed on; others are used in `ReadingOptions.import_options` or `dataset`.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpa_data.commands.options import (
    LABELS,
    DatasetName,
    IdColumn,
    LabelColumn,
    NumberingName,
    has_no_effect,
)
from hpa_data.convert.options import IdMatch, Joining
from hpa_data.errors import InputError
from hpa_data.sources.options import Fit, ImportOptions, MissingPolicy, Naming
from hpa_data.sources.scaling import FORMS, split_intensities

if TYPE_CHECKING:
    from hpa_data.dataset import Dataset
    from hpa_data.tables.labels import TableOptions

# Panels of the help texts.
FILES, IMAGES = "Files", "Images"
# Options that have no effect without a label table.
LABEL_SETTINGS = ("numbering", "id_column", "label_column", "id_match", "allow_missing_files")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """The options that say which files make a sample, and how their pixels are read."""

    naming: Annotated[
        Naming,
        typer.Option(
            rich_help_panel=FILES,
            help="Kind of files: kaggle (gray planes), hpav18 (color planes), stack (one per sample), or a --pattern.",
        ),
    ] = "kaggle"

    pattern: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=FILES,
            metavar="PATTERN",
            help="Names of your own: {plate}/{well}_ch{channel}.tif. All fields but {channel} form the id.",
        ),
    ] = None

    channels: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=FILES,
            metavar="MAPPING",
            help="The plane of each channel in a stack, by number or name, or what {channel} stands for in --pattern: "
            "red=2,green=0,blue=DAPI.",
        ),
    ] = None

    missing: Annotated[
        MissingPolicy,
        typer.Option(
            rich_help_panel=FILES,
            help="If a sample lacks a channel: list it as failed, fill with zeros, or leave it out.",
        ),
    ] = "fail"

    intensity: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=IMAGES,
            metavar="[CHANNEL=]SCALING",
            help=f"What becomes black and white, for all channels or for one: {FORMS}. Repeatable. By default full.",
        ),
    ] = None

    image_size: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=IMAGES,
            metavar="N|ROWSxCOLUMNS|native",
            help="Size of the images; native: that of the files. By default that of the data set, 512.",
        ),
    ] = None

    fit: Annotated[
        Fit | None,
        typer.Option(
            rich_help_panel=IMAGES,
            help="For planes of another aspect ratio: add black borders, cut edges off, or distort. By default: fail.",
        ),
    ] = None

    upscale: Annotated[
        bool, typer.Option("--upscale", rich_help_panel=IMAGES, help="Enlarge planes smaller than the images.")
    ] = False

    z: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=IMAGES,
            metavar="max|mean|middle|N",
            help="For files with Z slices: a projection, or slice N from 0.",
        ),
    ] = None

    time: Annotated[
        int | None,
        typer.Option(rich_help_panel=IMAGES, metavar="N", help="For files with several time points: which, from 0."),
    ] = None

    scene: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=IMAGES, metavar="N", help="For files with several images of the same size: which, from 0."
        ),
    ] = None

    dataset_name: DatasetName = None

    given: frozenset[str] = frozenset()
    """The fields that stand on the command line; the others have their defaults."""

    def import_options(self, base: ImportOptions | None = None) -> ImportOptions:
        """Return how image files are read: as the command line says, and otherwise as `base` does.

        Raises
        ------
        InputError
            If a value is not allowed, or an option would have no effect.
        """
        from hpa_data.sources.naming import parse_channels

        base = base or ImportOptions()
        same = {field.name for field in dataclasses.fields(ImportOptions)} - {"channels", "intensity"}
        chosen: dict[str, Any] = {name: getattr(self, name) for name in same & self.given}
        if self.pattern is not None:
            if "naming" in self.given and self.naming != "pattern":
                raise has_no_effect("--pattern", f"with --naming {self.naming}")
            chosen |= {"source": "pattern", "channels": base.channels if self.pattern == base.pattern else None}
        elif "naming" in self.given and self.naming != base.source:
            chosen |= {"source": self.naming, "channels": None, "pattern": None}
        if self.channels is not None:
            if chosen.get("source", base.source) not in {"stack", "pattern"}:
                raise has_no_effect("--channels", "without --naming stack or --pattern")
            channels = parse_channels(self.channels)
            if chosen.get("source", base.source) == "stack":  # 00 is plane 0, not a name
                channels = {name: int(key) if str(key).isdecimal() else key for name, key in channels.items()}
            chosen["channels"] = channels
        if self.image_size is not None:
            chosen["native"] = self.image_size == "native"
        if chosen.get("channels", base.channels) != base.channels:  # other planes, with other names
            chosen["expected_names"] = None
        return dataclasses.replace(self._scale(base), **chosen)

    def _scale(self, base: ImportOptions) -> ImportOptions:
        """Return options with the scaling of the command line. A scaling of all channels replaces each of `base`."""
        general, channels = split_intensities(self.intensity or [])
        if general is None and not channels:
            return base
        before = {} if general is not None else base.intensities or {}
        changed = dataclasses.replace(
            base, intensity=general or base.intensity, intensities={**before, **channels} or None
        )
        # What was measured holds on for the channels that are scaled as before.
        windows = {
            name: window
            for name, window in (base.windows or {}).items()
            if (base.intensities or {}).get(name, base.intensity)
            == (changed.intensities or {}).get(name, changed.intensity)
        }
        return dataclasses.replace(changed, windows=windows or None)

    def dataset(self, base: "Dataset | None" = None) -> "Dataset":
        """Return channels, classes and image size: as the command line says, and otherwise those of `base`.

        A native size is found when the files are; see `ImportOptions.native`.

        Raises
        ------
        InputError
            If the image size is not one.
        """
        from hpa_data.dataset import HPA_2018
        from hpa_data.tables.datasets import find_dataset

        dataset = find_dataset(self.dataset_name) if self.dataset_name is not None else base or HPA_2018
        if self.image_size in {None, "native"}:
            return dataset
        numbers = str(self.image_size).split("x")
        if len(numbers) > 2 or not all(number.isascii() and number.isdigit() for number in numbers):
            raise InputError(
                "image_size must be a number, two numbers with x between them, or native. Received: image_size="
                f"{str(self.image_size)[:40]!r}. Pass --image-size 1024, or 256x384 (rows x columns), for example."
            )
        return dataset.resized(int(numbers[0][:9]), int(numbers[-1][:9]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """The options that say which label table is read, and how."""

    labels: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=LABELS,
            help="A table with the columns Id and Target (names or numbers of classes), or one column per class: CSV, "
            "TSV, Excel or Parquet.",
        ),
    ] = None

    classes: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=LABELS,
            metavar="FILE|infer",
            help="Other classes than those of the data set: a file with one name per line, or those in the table.",
        ),
    ] = None

    numbering: NumberingName = None

    id_column: IdColumn = None

    label_column: LabelColumn = None

    id_match: Annotated[
        IdMatch,
        typer.Option(
            rich_help_panel=LABELS,
            help="Match ids of the table and of the files if equal, or also if only case, spaces, extension, folder, "
            "leading zeros or a common prefix differ.",
        ),
    ] = "exact"

    allow_missing_files: Annotated[
        bool,
        typer.Option(
            "--allow-missing-files", rich_help_panel=LABELS, help="Leave out rows of the table that have no files."
        ),
    ] = False

    given: frozenset[str] = frozenset()
    """The fields that stand on the command line; the others have their defaults."""

    def joining(self) -> Joining:
        """Return how rows of the table and samples are joined."""
        return Joining(id_match=self.id_match, allow_missing_files=self.allow_missing_files)

    def table_options(self, *, dataset_given: bool) -> "TableOptions":
        """Return how the label table is read; InputError for options without effect.

        Parameters
        ----------
        dataset_given : bool
            Whether the data set stands on the command line, too.
        """
        from hpa_data.tables.labels import TableOptions

        if self.labels is None:
            unused = next((name for name in LABEL_SETTINGS if name in self.given), None)
            if unused:
                raise has_no_effect(f"--{unused.replace('_', '-')}", "without --labels")
        return TableOptions(
            id_column=self.id_column,
            label_column=self.label_column,
            numbering=self.numbering,
            dataset_given=dataset_given or self.classes is not None,
        )

    def choose_classes(self, dataset: "Dataset") -> "Dataset":
        """Return a data set with the classes that the command line says, if it does."""
        from hpa_data.tables.datasets import infer_classes, read_classes, with_classes

        if self.classes is None:
            return dataset
        if self.classes != "infer":
            path = Path(self.classes)
            return with_classes(dataset, read_classes(path), path.stem)
        if self.labels is None:
            raise InputError("--classes infer must come with --labels. Received: no label table. Pass one.")
        return with_classes(dataset, infer_classes(self.labels, self.label_column), self.labels.stem)
