"""Options that several commands share, and the checks of how options are combined."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import wraps
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_args

import typer
import typer.core

from hpa_data.augment.options import Order
from hpa_data.errors import InputError
from hpa_data.folds.options import FoldMethod
from hpa_data.reader.kvstore import find_url
from hpa_data.reader.limits import get_limits, set_limits

if TYPE_CHECKING:
    from hpa_data.dataset import Dataset
    from hpa_data.system.executor import Parallelism
    from hpa_data.tables.labels import TableOptions

STORE = "A store, or its URL (s3://, gs://, https://)"
DEFAULT_PARTS = ["train"]
# Panels of a help text, besides Typer's "Arguments" and "Options".
EXECUTION = "Execution"

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="End with status 2 if a file is passed over, or for any warning.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Report what would be done; write nothing.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, max=2**32 - 1, help="Seed of the random numbers.")]
# Of the commands whose random numbers take a seed of any size.
AnySeed = Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the random numbers.")]
Threads = Annotated[
    int | None, typer.Option(metavar="N", min=1, rich_help_panel=EXECUTION, help="Threads. By default one per core.")
]
Workers = Annotated[
    int | None, typer.Option(metavar="N", min=1, rich_help_panel=EXECUTION, help="Worker processes. By default none.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", rich_help_panel=EXECUTION, help="A Dask cluster that sees the same files: tcp://HOST:PORT."
    ),
]


def _set_retry_minutes(minutes: float) -> float:
    set_limits(dataclasses.replace(get_limits(), retry_s=60 * minutes))
    return minutes


# Of the commands that read a store at a URL. It holds for the process: what a command calls need not pass it on.
RetryMinutes = Annotated[
    float,
    typer.Option(
        metavar="N",
        min=0,
        callback=_set_retry_minutes,
        rich_help_panel=EXECUTION,
        help="For a store at a URL: minutes to try again when its server fails or is silent.",
    ),
]
WorkerTimeout = Annotated[
    float,
    typer.Option(
        "--worker-timeout",
        metavar="SECONDS",
        min=1,
        rich_help_panel=EXECUTION,
        help="With --scheduler: how long to wait while no worker can be given tasks.",
    ),
]


FOLD_METHOD: Any = typer.Option(
    metavar="METHOD", help=f"How samples are assigned to folds: {', '.join(get_args(FoldMethod))}."
)
# Of the commands that read label tables.
LABELS = "Labels"
DatasetName = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="NAME|FILE",
        rich_help_panel=LABELS,
        help="The data set: channels, classes and image size. A name or a TOML file, see `hpa datasets`. "
        "[default: hpa2018]",
    ),
]
NumberingName = Annotated[
    str | None,
    typer.Option(
        "--numbering",
        metavar="NAME",
        rich_help_panel=LABELS,
        help="The data set whose class numbers the table has, if that is not certain; they are translated.",
    ),
]
IdColumn = Annotated[
    str | None, typer.Option(metavar="NAME", rich_help_panel=LABELS, help="The column of ids. By default Id.")
]
LabelColumn = Annotated[
    str | None,
    typer.Option(metavar="NAME", rich_help_panel=LABELS, help="The column of labels. By default Target or Label."),
]
# Of the commands that take a store, or a label table in its stead.
Labels = Annotated[Path | None, typer.Option(help="A label table, in place of STORE.")]
TableParts = Annotated[
    list[str] | None,
    typer.Option("--part", metavar="NAME", help="A part of STORE; repeatable. By default all that can be used."),
]
MinCount = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="With --labels: include the copies that `hpa augment` would make up to this count."
    ),
]
TableOrder = Annotated[Order, typer.Option(help="With --min-count: the order of the classes, see `hpa augment`.")]


# Another spelling of a list of parts, in all commands that take one.
PARTS = {"--parts": "--part ,"}


class Command(typer.core.TyperCommand):
    """A command that also accepts other spellings of its options. Neither help nor completion shows those."""

    former: ClassVar[Mapping[str, str]] = {}
    # The values of options that may stand without one.
    words: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Let the help show arguments in capitals, and no type for a flag."""
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if parameter.param_type_name == "argument":
                parameter.metavar = (parameter.name or "").upper().removesuffix("S")
            elif getattr(parameter, "is_flag", False):
                parameter.metavar = ""

    def get_help_option(self, ctx: Any) -> Any:
        """Let the help show no type for ``--help``."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.metavar = ""
        return option

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse a command line after replacing former spellings."""
        options = [parameter for parameter in self.params if parameter.param_type_name == "option"]
        valued = {name for option in options if not getattr(option, "is_flag", False) for name in option.opts}
        has_parts = any("--part" in option.opts and option.multiple for option in options)
        args = respell(args, (PARTS if has_parts else {}) | dict(self.former), valued)
        return super().parse_args(ctx, list(_add_words(args, self.words)))


def _add_words(args: list[str], words: Mapping[str, str]) -> Iterator[str]:
    """Give options that stand without a value theirs.

    Examples
    --------
    >>> list(_add_words(["store", "--augment", "--out", "a.png"], {"--augment": "strong"}))
    ['store', '--augment', 'strong', '--out', 'a.png']
    """
    for arg, following in zip_longest(args, args[1:], fillvalue="--"):
        yield arg
        if arg in words and following.startswith("-"):
            yield words[arg]


def refuse_urls(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that raises InputError for a URL where it takes a path: a `Path` of it is the folder ``s3:``."""

    @wraps(command)
    def run(**values: Any) -> None:
        for name, value in values.items():
            for item in value if isinstance(value, list) else [value]:
                url = find_url(item) if isinstance(item, Path) else None
                if url is not None:
                    raise InputError(
                        f"{name.replace('_', '-')} must be a local path. Received: {url}. Pass a local path; copy the "
                        "file or folder from the URL before, or to it afterwards."
                    )
        command(**values)

    return run


def respell(args: list[str], former: Mapping[str, str], valued: Collection[str]) -> list[str]:
    """Replace former spellings of options.

    Parameters
    ----------
    args : list of str
        A command line, without the command.
    former : mapping of str to str
        For each former option what takes its place: ``--new``, ``--new ,`` where a list with commas has become an
        option that is repeated, ``--new name=`` where the value becomes that of a setting, ``--new name=true``, or
        nothing where the former option was a flag for what is the default.
    valued : collection of str
        The options of today that take a value; others are flags. A value is never taken for an option.

    Examples
    --------
    >>> former = {"--parts": "--part ,", "--xla": "--set xla=true"}
    >>> respell(["--parts=a,b", "--xla", "--out", "--parts"], former, {"--part", "--set", "--out"})
    ['--part', 'a', '--part', 'b', '--set', 'xla=true', '--out', '--parts']
    """
    return list(_respell(iter(args), former, valued))


def _respell(args: Iterator[str], former: Mapping[str, str], valued: Collection[str]) -> Iterator[str]:
    for arg in args:
        if arg == "--":  # only arguments follow
            yield arg
            yield from args
            return
        name, equals, value = arg.partition("=")
        option, _, form = former.get(name, name).partition(" ")
        if name not in former:
            yield arg
            if name in valued and not equals:
                yield from islice(args, 1)
        elif form.endswith("=true"):
            yield from (option, form + equals + value)  # a flag; the parser refuses what has a value
        elif option not in valued:
            if option or equals:
                yield (option or name) + equals + value  # as above
        else:
            given = value if equals else next(args, None)
            if given is None:
                yield option  # the parser reports that a value is missing
                continue
            items = [item.strip() for item in given.split(",") if item.strip()] if form == "," else [form + given]
            for item in items or [given]:
                yield from (option, item)


def choose_workers(
    ctx: typer.Context, threads: int | None, workers: int | None, scheduler: str | None, worker_timeout: float
) -> "Parallelism":
    """Return who does the work; InputError for options without an effect."""
    from hpa_data.system.executor import Parallelism

    refuse_unused(ctx, "threads", when=scheduler is not None, reason="with --scheduler")
    refuse_unused(ctx, "worker_timeout", when=scheduler is None, reason="without --scheduler")
    if scheduler is not None:
        import dask

        # What Dask logs of a lost connection, with tracebacks, we say in one line.
        quiet = ("distributed", "distributed.client", "asyncio", "tornado.application")
        dask.config.set(logging=dict.fromkeys(quiet, "critical"))
    return Parallelism(threads=threads, processes=workers, scheduler=scheduler, worker_timeout_s=worker_timeout)


def refuse_unused(ctx: typer.Context, *options: str, when: bool, reason: str) -> None:
    """Refuse options that were given but would have no effect.

    Parameters
    ----------
    ctx : Context
        Of the command.
    options : str
        Names of parameters of the command.
    when : bool
        Whether they have no effect.
    reason : str
        Why not, for the message: ``without --min-count``.

    Raises
    ------
    InputError
        If one of the options was given and has no effect.
    """
    if not when:
        return
    for parameter in ctx.command.params:
        if parameter.name in options and was_given(ctx, parameter.name):
            raise has_no_effect(parameter.opts[-1], reason)


def has_no_effect(flag: str, reason: str) -> InputError:
    """Return the error for an option that was given but would have no effect; see `refuse_unused`."""
    return InputError(f"Cannot use {flag}: it has no effect {reason}. Leave {flag} out.")


def choose_table(
    ctx: typer.Context, store: str | None, labels: Path | None, *, store_only: Sequence[str]
) -> Path | None:
    """Return the label table of a command that takes a store or a table; None if it was given a store.

    Parameters
    ----------
    ctx : Context
        Of the command.
    store, labels
        What it was given.
    store_only : sequence of str
        Names of its parameters that take effect only with a store. Those of `choose_reading`, ``min_count`` and
        ``order`` do only with a table.

    Raises
    ------
    InputError
        If both or neither were given, or an option without effect.
    """
    if (store is None) == (labels is None):
        given = "neither" if store is None else "both"
        raise InputError(f"STORE or --labels must be given, not both. Received: {given}. Pass one of them.")
    refuse_unused(ctx, *store_only, when=store is None, reason="with --labels")
    settings = ("dataset_name", "numbering", "id_column", "label_column")
    refuse_unused(ctx, *settings, when=labels is None, reason="with a store, which has its own data set")
    refuse_unused(ctx, "min_count", "order", when=labels is None, reason="with a store, which holds its copies")
    refuse_unused(ctx, "order", when=ctx.params["min_count"] is None, reason="without --min-count")
    return labels


def choose_reading(
    dataset_name: str | None, numbering: str | None, id_column: str | None, label_column: str | None
) -> "tuple[Dataset, TableOptions]":
    """Return how a label table is read: the data set, and what the user said about the table."""
    from hpa_data.dataset import HPA_2018
    from hpa_data.tables.datasets import find_dataset
    from hpa_data.tables.labels import TableOptions

    options = TableOptions(
        id_column=id_column,
        label_column=label_column,
        numbering=numbering,
        dataset_given=dataset_name is not None,
    )
    return HPA_2018 if dataset_name is None else find_dataset(dataset_name), options


def was_given(ctx: typer.Context, name: str) -> bool:
    """Return whether a parameter of the command stands on the command line."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
