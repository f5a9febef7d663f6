"""Floor 6: the `sernb` command, a thin skin over the floors below."""

from __future__ import annotations

import contextlib
import errno
import sys
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Annotated

import typer
from typer.core import TyperCommand

DISKS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}

# Each command imports what it needs: pandas alone takes longer than `sernb --help` may.
if TYPE_CHECKING:
    import pandas as pd

    from sernb.corpora import Corpus

app = typer.Typer(
    help="Reproducible reports on speech emotion recognition.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_show_locals=False,
)


class PairsCommand(TyperCommand):
    """A command whose `-p` takes two words, as papermill's does; Typer knows no repeated option of two."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        """Join `-p NAME VALUE` into `-p NAME=VALUE` and leave the rest to Typer."""
        joined, rest = [], list(args)
        while rest:
            word = rest.pop(0)
            joined.append(word)
            if word in ("-p", "--parameter") and len(rest) > 1 and "=" not in rest[0]:
                joined.append(f"{rest.pop(0)}={rest.pop(0)}")
        return super().parse_args(ctx, joined)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Errors that a user can mend are said in a line or a few, and the exit status is 1.

    Those are the errors that `sernb` itself defines, and disks that are full or may not be written.
    """
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:
        if not (type(error).__module__.startswith("sernb.") or getattr(error, "errno", None) in DISKS):
            raise
        typer.echo(f"sernb: {error}", err=True)
        raise typer.Exit(1) from error


def _print(table: pd.DataFrame) -> None:
    """A table for the terminal; as wide as it needs to be where the output goes to a file."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 240)
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        shown.add_column(column, overflow="fold")
    for row in table.itertuples(index=False):
        shown.add_row(*(f"{value:.1f}" if isinstance(value, float) else str(value) for value in row))
    console.print(shown)


@app.command("corpora")
def list_corpora() -> None:
    """What can be loaded, where it lies, its licence."""
    import pandas as pd

    from sernb import corpora

    rows = [
        {"name": name, "title": corpus.title, "licence": corpus.licence, "lies at": _place(name)}
        for name, corpus in corpora.CORPORA.items()
    ]
    _print(pd.DataFrame(rows))


def _place(name: str) -> str:
    from sernb import corpora
    from sernb import demo

    try:
        return str(corpora.locate(name))
    except (corpora.CorpusError, demo.DemoError):
        return f"not found; from {corpora.CORPORA[name].source}, then set SERNB_DATA"


@app.command()
def fetch(
    corpus: Annotated[str, typer.Argument(help="ravdess or crema.")],
    to: Annotated[
        Path | None, typer.Option(help="The folder of corpora [default: $SERNB_DATA, or else ./corpora].")
    ] = None,
) -> None:
    """Download a public corpus from its official record, verified. Stopped, it goes on when called again."""
    from sernb import fetch as fetching

    with _refusals():
        try:
            typer.echo(fetching.fetch(corpus, to))
        except KeyboardInterrupt:
            typer.echo("stopped; what has come stays, and the same command goes on", err=True)
            raise typer.Exit(130) from None


@app.command()
def check(
    corpus: Annotated[str, typer.Argument(help="A name that `sernb corpora` lists.")],
    data_dir: Annotated[str, typer.Option(help="The corpus's folder; looked up if not given.")] = "",
) -> None:
    """Open every clip of a corpus: an audit table; exit status 1 if any clip is unusable."""
    from sernb import corpora
    from sernb import fetch

    with _refusals():
        table = corpora.load(corpus, data_dir)
        table["sha256"] = corpora.digests(table["path"], again=True)
        found = corpora.check(table)
        fingerprint = corpora.fingerprint(table)
        others = corpora.passed_over(corpus, data_dir)
    _print(_audit(found))
    unusable, odd = found[found["problem"] != ""], found[found["odd"] != ""]
    typer.echo(f"\n{len(found)} clips, {len(unusable)} unusable; fingerprint {fingerprint}")
    _reasons(unusable, "problem")
    if len(odd):
        typer.echo(f"{len(odd)} odd, but usable")
        _reasons(odd, "odd")
    _strangers(corpora.known(corpus), others)
    if corpus == fetch.CREMA:
        typer.echo(fetch.official(table))
    raise typer.Exit(1 if len(unusable) else 0)


def _strangers(corpus: Corpus, files: Sequence[str]) -> None:
    """Say which audio files are none of the corpus's clips: a wrong name would go unnoticed."""
    from sernb.corpora import MANIFEST_PATTERN
    from sernb.decoding import printable

    if not files:
        return
    right = "in manifest.csv" if corpus.pattern == MANIFEST_PATTERN else f"like {corpus.pattern}"
    typer.echo(f"{len(files)} more audio file{'s' * (len(files) > 1)} passed over, of a name that is not {right}")
    for name in files[:5]:
        typer.echo(f"  {printable(name)}")
    if len(files) > 5:
        typer.echo(f"  ... and {len(files) - 5} more")


def _reasons(clips: pd.DataFrame, column: str) -> None:
    from sernb.decoding import printable

    for clip, reason in zip(clips["clip"], clips[column], strict=True):
        typer.echo(f"  {printable(clip)}: {reason}")


def _audit(found: pd.DataFrame) -> pd.DataFrame:
    """Per emotion and for all: clips, their lengths, sample rates and channels, and how many are unusable."""
    import pandas as pd

    def row(name: str, clips: pd.DataFrame) -> dict:
        opened = clips[clips["sample_rate"] > 0]
        return {
            "emotion": name,
            "clips": len(clips),
            "shortest s": opened["seconds"].min(),
            "median s": opened["seconds"].median(),
            "longest s": opened["seconds"].max(),
            "Hz": ", ".join(map(str, sorted(opened["sample_rate"].unique()))),
            "channels": ", ".join(map(str, sorted(opened["channels"].unique()))),
            "unusable": int((clips["problem"] != "").sum()),
        }

    emotions = [row(emotion, clips) for emotion, clips in found.groupby("emotion")]
    return pd.DataFrame([*emotions, row("all", found)])


@app.command(cls=PairsCommand)
def run(
    notebook: Annotated[Path, typer.Argument(help="A notebook with a cell tagged `parameters`.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", "-p", metavar="NAME VALUE", help="A parameter and its value (YAML); may be repeated."
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", help="The run's folder [default: runs/<notebook>/<parameters>]."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Run even if the same run lies there, finished.")] = False,
) -> None:
    """Run a notebook with papermill into a folder of its own; print the executed notebook's path."""
    from sernb import runs

    with _refusals():
        parameters = runs.parse(notebook, dict(_pair(text) for text in parameter or []))
        output_dir = output_dir or Path("runs", notebook.stem, runs.slug(parameters))
        job = runs.Job(notebook, output_dir, parameters)
        runs.check(job)
        if not again and runs.fresh(job):
            typer.echo("this very run is there already, finished (--again makes it once more):", err=True)
        elif runs.read_record(output_dir):
            typer.echo(f"{output_dir} holds another run, or this one before a change: it is replaced", err=True)
        typer.echo(runs.run(notebook, parameters, output_dir, again=again, bar=sys.stderr.isatty()))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"-p takes a NAME and a VALUE; {name!r} has no value")
    return name, value


@app.command()
def sweep(
    sweep_file: Annotated[Path, typer.Argument(help="A notebook, fixed parameters and a grid, in YAML.")],
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", help="Where the runs and results.csv go [default: runs/<file's name>]."),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Runs at a time; 0: one a core, at most four.")] = 0,
    scheduler: Annotated[str, typer.Option(help="Address of a running Dask scheduler, to use its workers.")] = "",
) -> None:
    """Make the runs of a grid that are not fresh, and print their table. Stopped, it goes on when called again."""
    import pandas as pd

    from sernb import sweeps

    output_dir = output_dir or Path("runs", sweep_file.stem)
    with _refusals():
        if workers and scheduler:
            raise sweeps.SweepError("--workers is for a local cluster; one at --scheduler has the workers it has")
        try:
            outcomes = sweeps.run(sweep_file, output_dir, workers=workers, scheduler=scheduler)
        except KeyboardInterrupt:
            typer.echo(f"stopped; what had finished stays in {output_dir}, and the same command goes on", err=True)
            raise typer.Exit(130) from None
    _print(_scores(pd.read_csv(output_dir / sweeps.TABLE)))
    typer.echo(f"\n{output_dir / sweeps.TABLE}")
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    for outcome in failed:
        typer.echo(f"failed: {outcome.job.output_dir.name}\n  {outcome.error}", err=True)
    raise typer.Exit(1 if failed else 0)


def _scores(table: pd.DataFrame) -> pd.DataFrame:
    from sernb import results
    from sernb import wording

    rows = table.to_dict("records")
    intervals = {score: [wording.with_interval(row, score) for row in rows] for score in results.INTERVALS}
    named = {f"{score} [95 %]": values for score, values in intervals.items()}
    return table[["run", "model"]].assign(**named, s=table["seconds"]).fillna("")


@app.command()
def report(
    runs_file: Annotated[Path, typer.Option("--runs", help="The list of runs.")] = Path("book/runs.yml"),
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Where runs and book go.")] = Path("_build"),
    workers: Annotated[int, typer.Option(min=0, help="Runs at a time; 0: one a core, at most four.")] = 0,
) -> None:
    """Make the listed runs that are not fresh, build the HTML book and print its path."""
    from sernb import report as reports

    with _refusals():
        typer.echo(reports.build(runs_file, output_dir, workers=workers))


@app.command()
def predict(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Clips that libsndfile reads.")],
    model: Annotated[str, typer.Option(help="One of the run's models [default: its first].")] = "",
    course: Annotated[bool, typer.Option("--course", help="From moment to moment: a row a window of 2 s.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated, all digits, without the model's card.")] = False,
) -> None:
    """Probabilities of clips by a finished run's model; exit status 1 if any file cannot be used."""
    from sernb import prediction

    with _refusals():
        finished = prediction.load(run_dir, model)
        found = (prediction.courses if course else prediction.files)(finished, files)
    if csv:
        typer.echo(found.to_csv(index=False), nl=False)
    else:
        _print(found[found["problem"] == ""].drop(columns="problem").map(_two_digits))
        typer.echo(f"\n{prediction.card(finished)}", nl=False)
    for problem in filter(None, found["problem"]):
        typer.echo(f"sernb: {problem}", err=True)
    raise typer.Exit(1 if found["problem"].any() else 0)


def _two_digits(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
