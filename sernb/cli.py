"""The `sernb` command, a thin skin over the floors below."""

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

from sernb import corpora

if TYPE_CHECKING:
    import pandas as pd

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}

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
def _report_errors() -> Iterator[None]:
    """Errors that a user can mend are said in a line or a few, and the exit status is 1.

    Those are the errors that `sernb` itself defines, and disks that are full or may not be written.
    """
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:
        if not (type(error).__module__.startswith("sernb.") or getattr(error, "errno", None) in DISK_ERRORS):
            raise
        typer.echo(f"sernb: {error}", err=True)
        raise typer.Exit(1) from error


def _print_table(table: pd.DataFrame) -> None:
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
def corpora_command() -> None:
    """What can be loaded, where it lies, its licence."""
    import pandas as pd

    from sernb import corpora

    rows = [
        {"name": name, "title": corpus.title, "licence": corpus.licence, "lies at": _corpus_location(name)}
        for name, corpus in corpora.CORPORA.items()
    ]
    _print_table(pd.DataFrame(rows))


def _corpus_location(name: str) -> str:
    from sernb import corpora

    try:
        return str(corpora.locate(name))
    except (corpora.CorpusError, corpora.DemoError):
        return f"not found; from {corpora.CORPORA[name].source}, then set SERNB_DATA"


@app.command("fetch")
def fetch_command(
    corpus: Annotated[str, typer.Argument(help="ravdess or crema.")],
    to: Annotated[
        Path | None, typer.Option(help="The folder of corpora [default: $SERNB_DATA, or else ./corpora].")
    ] = None,
) -> None:
    """Download a public corpus from its official record, verified. Stopped, it goes on when called again."""
    from sernb import corpora

    with _report_errors():
        try:
            typer.echo(corpora.fetch_corpus(corpus, to))
        except KeyboardInterrupt:
            typer.echo("stopped; what has come stays, and the same command goes on", err=True)
            raise typer.Exit(130) from None


@app.command("check")
def check_command(
    corpus: Annotated[str, typer.Argument(help="A name that `sernb corpora` lists.")],
    data_dir: Annotated[str, typer.Option(help="The corpus's folder; looked up if not given.")] = "",
) -> None:
    """Open every clip of a corpus: an audit table; exit status 1 if any clip is unusable."""
    from sernb import corpora

    with _report_errors():
        table = corpora.load(corpus, data_dir)
        table["sha256"] = corpora.sha256_of_files(table["path"], again=True)
        found = corpora.check_files(table)
        fingerprint = corpora.corpus_fingerprint(table)
        others = corpora.unmatched_files(corpus, data_dir)
    _print_table(_audit_table(found))
    unusable, odd = found[found["problem"] != ""], found[found["odd"] != ""]
    typer.echo(f"\n{len(found)} clips, {len(unusable)} unusable; fingerprint {fingerprint}")
    _print_reasons(unusable, "problem")
    if len(odd):
        typer.echo(f"{len(odd)} odd, but usable")
        _print_reasons(odd, "odd")
    _print_unmatched(corpora.get_corpus(corpus), others)
    if corpus == corpora.CREMA_CORPUS:
        typer.echo(corpora.describe_official(table))
    raise typer.Exit(1 if len(unusable) else 0)


def _print_unmatched(corpus: corpora.Corpus, files: Sequence[str]) -> None:
    """Say which audio files are none of the corpus's clips: a wrong name would go unnoticed."""
    from sernb import audio
    from sernb import corpora

    if not files:
        return
    right = "in manifest.csv" if corpus.pattern == corpora.MANIFEST_PATTERN else f"like {corpus.pattern}"
    typer.echo(f"{len(files)} more audio file{'s' * (len(files) > 1)} passed over, of a name that is not {right}")
    for name in files[:5]:
        typer.echo(f"  {audio.escape_control_characters(name)}")
    if len(files) > 5:
        typer.echo(f"  ... and {len(files) - 5} more")


def _print_reasons(clips: pd.DataFrame, column: str) -> None:
    from sernb import audio

    for clip, reason in zip(clips["clip"], clips[column], strict=True):
        typer.echo(f"  {audio.escape_control_characters(clip)}: {reason}")


def _audit_table(found: pd.DataFrame) -> pd.DataFrame:
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


@app.command("run", cls=PairsCommand)
def run_command(
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

    with _report_errors():
        parameters = runs.parse_parameters(notebook, dict(_split_pair(text) for text in parameter or []))
        output_dir = output_dir or Path("runs", notebook.stem, runs.slug(parameters))
        job = runs.Job(notebook, output_dir, parameters)
        runs.check_job(job)
        if not again and runs.is_up_to_date(job):
            typer.echo("this very run is there already, finished (--again makes it once more):", err=True)
        elif runs.read_record(output_dir):
            typer.echo(f"{output_dir} holds another run, or this one before a change: it is replaced", err=True)
        typer.echo(runs.run_notebook(notebook, parameters, output_dir, again=again, bar=sys.stderr.isatty()))


def _split_pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"-p takes a NAME and a VALUE; {name!r} has no value")
    return name, value


@app.command("sweep")
def sweep_command(
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

    from sernb import runs

    output_dir = output_dir or Path("runs", sweep_file.stem)
    with _report_errors():
        if workers and scheduler:
            raise runs.SweepError("--workers is for a local cluster; one at --scheduler has the workers it has")
        try:
            outcomes = runs.run_sweep(sweep_file, output_dir, workers=workers, scheduler=scheduler)
        except KeyboardInterrupt:
            typer.echo(f"stopped; what had finished stays in {output_dir}, and the same command goes on", err=True)
            raise typer.Exit(130) from None
    _print_table(_score_table(pd.read_csv(output_dir / runs.RESULTS_TABLE)))
    typer.echo(f"\n{output_dir / runs.RESULTS_TABLE}")
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    for outcome in failed:
        typer.echo(f"failed: {outcome.job.output_dir.name}\n  {outcome.error}", err=True)
    raise typer.Exit(1 if failed else 0)


def _score_table(table: pd.DataFrame) -> pd.DataFrame:
    from sernb import display
    from sernb import results

    rows = table.to_dict("records")
    intervals = {score: [display.format_with_interval(row, score) for row in rows] for score in results.INTERVAL_SCORES}
    named = {f"{score} [95 %]": values for score, values in intervals.items()}
    return table[["run", "model"]].assign(**named, s=table["seconds"]).fillna("")


@app.command("report")
def report_command(
    runs_file: Annotated[Path, typer.Option("--runs", help="The list of runs.")] = Path("book/runs.yml"),
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Where runs and book go.")] = Path("_build"),
    workers: Annotated[int, typer.Option(min=0, help="Runs at a time; 0: one a core, at most four.")] = 0,
) -> None:
    """Make the listed runs that are not fresh, build the HTML book and print its path."""
    from sernb import report

    with _report_errors():
        typer.echo(report.build_report(runs_file, output_dir, workers=workers))


@app.command("predict")
def predict_command(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Clips that libsndfile reads.")],
    model: Annotated[str, typer.Option(help="One of the run's models [default: its first].")] = "",
    course: Annotated[bool, typer.Option("--course", help="From moment to moment: a row a window of 2 s.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated, all digits, without the model's card.")] = False,
) -> None:
    """Probabilities of clips by a finished run's model; exit status 1 if any file cannot be used."""
    from sernb import results

    with _report_errors():
        finished = results.load_run(run_dir, model)
        found = (results.predict_windows_of_files if course else results.predict_files)(finished, files)
    if csv:
        typer.echo(found.to_csv(index=False), nl=False)
    else:
        _print_table(found[found["problem"] == ""].drop(columns="problem").map(_format_number))
        typer.echo(f"\n{results.model_card(finished)}", nl=False)
    for problem in filter(None, found["problem"]):
        typer.echo(f"sernb: {problem}", err=True)
    raise typer.Exit(1 if found["problem"].any() else 0)


def _format_number(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
