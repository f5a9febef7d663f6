"""The `sernb` command: each subcommand checks its options, calls one package and prints the result."""

from __future__ import annotations

import contextlib
import errno
import itertools
import sys
import warnings
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Annotated

import typer
from typer.core import TyperCommand

from sernb import __version__

if TYPE_CHECKING:
    import pandas as pd

    from sernb import corpora

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
MAX_LISTED = 5  # files that `sernb check` lists by name

app = typer.Typer(
    help="Reproducible reports on speech emotion recognition.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_show_locals=False,
)


def _print_version(version: bool) -> None:
    if version:
        typer.echo(f"sernb {__version__}")
        raise typer.Exit


@app.callback()
def _prepare(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Print characters outside the terminal's encoding as escape sequences, and warnings as a line each."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = lambda message, *_: f"sernb: {message}\n"


class PairsCommand(TyperCommand):
    """A command whose `-p` takes two words, as papermill's does; Typer has no repeatable option with two values."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        """Join `-p NAME VALUE` into `-p NAME=VALUE` and leave the rest to Typer."""
        joined, rest = [], list(args)
        while rest:
            joined.append(rest.pop(0))
            if joined[-1] in ("-p", "--parameter") and rest and "=" not in rest[0]:
                name = rest.pop(0)
                if not rest or self._is_option(ctx, rest[0]):
                    raise typer.BadParameter(f"-p takes a NAME and a VALUE, but {name} has no value", ctx)
                joined.append(f"{name}={rest.pop(0)}")
        return super().parse_args(ctx, joined)

    def _is_option(self, ctx: typer.Context, word: str) -> bool:
        options = {option for parameter in self.get_params(ctx) for option in parameter.opts}
        return word.startswith("-") and word.partition("=")[0] in options


class EnrolCommand(TyperCommand):
    """A command whose `--enrol` takes all words up to the next option; Typer's options take one word."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        """Repeat `--enrol` before each of its files and leave the rest to Typer."""
        expanded, is_enrolling = [], False
        for word in args:
            if word.startswith("-"):
                is_enrolling = word == "--enrol"
            elif is_enrolling:
                expanded.append("--enrol")
            if word != "--enrol":
                expanded.append(word)
        if "--enrol" in args and "--enrol" not in expanded:
            raise typer.BadParameter("--enrol takes one or more FILEs", ctx)
        return super().parse_args(ctx, expanded)


@contextlib.contextmanager
def _report_errors() -> Iterator[None]:
    """Print an error that the user can correct in a line or a few, and exit with status 1.

    These are the errors that `sernb` itself defines, and disks that are full or may not be written. Ctrl-C ends a
    command with one line and status 130.
    """
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("sernb: interrupted", err=True)
        raise typer.Exit(130) from None
    except (ValueError, RuntimeError, OSError) as error:
        if not (type(error).__module__.startswith("sernb.") or getattr(error, "errno", None) in DISK_ERRORS):
            raise
        typer.echo(f"sernb: {error}", err=True)
        raise typer.Exit(1) from error


def _print_table(table: pd.DataFrame) -> None:
    """Print a table; where the output is not a terminal, as wide as the table needs."""
    from rich.console import Console
    from rich.table import Table

    from sernb import audio

    # Without markup: brackets in a file's name are no style.
    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 240)
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        grid.add_column(column, overflow="fold")
    for row in table.itertuples(index=False):
        texts = (f"{value:.1f}" if isinstance(value, float) else str(value) for value in row)
        grid.add_row(*map(audio.escape_control_characters, texts))
    console.print(grid)


@app.command("corpora")
def corpora_command() -> None:
    """List the corpora that can be loaded, where each one is, and its licence."""
    import pandas as pd

    from sernb import corpora

    rows = [
        {"name": name, "title": corpus.title, "licence": corpus.licence, "location": _corpus_location(name)}
        for name, corpus in corpora.CORPORA.items()
    ]
    _print_table(pd.DataFrame(rows))


def _corpus_location(name: str) -> str:
    from sernb import corpora

    try:
        return str(corpora.locate(name))
    except corpora.DemoError as error:
        return str(error)
    except corpora.CorpusError:
        return f"not found; get it from {corpora.CORPORA[name].source}, then set SERNB_DATA"


@app.command("fetch")
def fetch_command(
    corpus: Annotated[str, typer.Argument(help="The corpus: ravdess, crema or emodb.")],
    to: Annotated[
        Path | None, typer.Option(help="The folder of corpora [default: $SERNB_DATA, or else ./corpora].")
    ] = None,
) -> None:
    """Download a public corpus from its official record and verify it. An interrupted download can be resumed."""
    from sernb import corpora

    with _report_errors():
        try:
            typer.echo(corpora.fetch_corpus(corpus, to))
        except KeyboardInterrupt:
            typer.echo("interrupted; downloaded files are kept, and the same command continues", err=True)
            raise typer.Exit(130) from None


@app.command("check")
def check_command(
    corpus: Annotated[str, typer.Argument(help="A name that `sernb corpora` lists.")],
    data_dir: Annotated[str, typer.Option(help="The corpus's folder [default: the one `sernb corpora` shows].")] = "",
) -> None:
    """Open every clip of a corpus and print an audit table. The exit status is 1 if any clip is unusable."""
    from sernb import corpora

    with _report_errors():
        table = corpora.load(corpus, data_dir)
        table["sha256"] = corpora.sha256_of_files(table["path"], force=True)
        clips = corpora.check_files(table)
        fingerprint = corpora.corpus_fingerprint(table)
        unmatched = corpora.unmatched_files(corpus, data_dir)
    _print_table(_audit_table(clips))
    unusable, odd = clips[clips["problem"] != ""], clips[clips["odd"] != ""]
    typer.echo(f"\n{len(clips)} clips, {len(unusable)} unusable; fingerprint {fingerprint}")
    _print_reasons(unusable, "problem")
    if len(odd):
        typer.echo(f"{len(odd)} unusual, but usable")
        _print_reasons(odd, "odd")
    _print_unmatched(corpora.get_corpus(corpus), unmatched)
    for speakers in corpora.similar_speakers(table):
        typer.echo(f"similar speaker IDs, counted as different speakers: {', '.join(map(repr, speakers))}")
    _print_conflicts(corpora.conflicting_copies(table))
    if official := corpora.describe_official(table):
        typer.echo(official)
    raise typer.Exit(1 if len(unusable) else 0)


def _print_unmatched(corpus: corpora.Corpus, files: Sequence[str]) -> None:
    """Print which audio files are not clips of the corpus: a misspelt name would go unnoticed."""
    from sernb import audio
    from sernb import corpora

    if not files:
        return
    listed = corpus.pattern == corpora.MANIFEST_PATTERN
    reason = "not listed in manifest.csv" if listed else f"a clip's name is like {corpus.pattern}"
    typer.echo(f"{len(files)} other audio file{'s' * (len(files) > 1)} ignored: {reason}")
    for name in files[:MAX_LISTED]:
        typer.echo(f"  {audio.escape_control_characters(name)}")
    if len(files) > MAX_LISTED:
        typer.echo(f"  ... and {len(files) - MAX_LISTED} more")


def _print_conflicts(conflicts: pd.DataFrame) -> None:
    """Print which clips are copies of one recording with different labels: at most one of them is right."""
    from sernb import audio

    for _, copies in list(conflicts.groupby("sha256", sort=False))[:MAX_LISTED]:
        names = [f"{row.clip} ({row.emotion}, speaker {row.speaker})" for row in copies.itertuples()]
        typer.echo(f"the same recording with different labels: {audio.escape_control_characters(', '.join(names))}")
    if (number := conflicts["sha256"].nunique()) > MAX_LISTED:
        typer.echo(f"  ... and {number - MAX_LISTED} more such recordings")


def _print_reasons(clips: pd.DataFrame, column: str) -> None:
    from sernb import audio

    for clip, reason in zip(clips["clip"], clips[column], strict=True):
        typer.echo(f"  {audio.escape_control_characters(clip)}: {reason}")


def _audit_table(clips: pd.DataFrame) -> pd.DataFrame:
    """Return a row per emotion and one for all: clips, durations, sample rates, channels, unusable clips."""
    import pandas as pd

    def row(name: str, clips: pd.DataFrame) -> dict:
        """Return the row of one emotion, or of all clips."""
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

    emotions = [row(emotion, group) for emotion, group in clips.groupby("emotion")]
    return pd.DataFrame([*emotions, row("all", clips)])


@app.command("run", cls=PairsCommand)
def run_command(
    notebook: Annotated[
        Path, typer.Argument(help="A notebook with a cell tagged `parameters`, or the name of one of sernb's own.")
    ],
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME VALUE", help="A parameter and its value; may be repeated."),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", help="The run's folder [default: runs/NOTEBOOK/PARAMETERS]."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Run even if this run is already finished.")] = False,
) -> None:
    """Run a notebook with papermill into a folder of its own and print the executed notebook's path."""
    from sernb import runs

    with _report_errors():
        notebook = runs.find_notebook(notebook)
        parameters = runs.parse_parameters(notebook, _split_pairs(parameter or []))
        output_dir = output_dir or Path("runs", notebook.stem, runs.slug(parameters))
        job = runs.Job(notebook, output_dir, parameters)
        runs.check_job(job)
        if not again and runs.is_up_to_date(job):
            typer.echo("this run is already finished and up to date (--again repeats it):", err=True)
        elif runs.read_record(output_dir):
            typer.echo(f"replacing the run in {output_dir}, which differs from this one or is out of date", err=True)
        typer.echo(runs.run_notebook(notebook, parameters, output_dir, again=again, bar=sys.stderr.isatty()))


def _split_pairs(pairs: Sequence[str]) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"-p takes a NAME and a VALUE, but {name} has no value")
        if name in parameters:
            raise typer.BadParameter(f"-p {name} is given twice ({parameters[name]} and {value}): give it once")
        parameters[name] = value
    return parameters


@app.command("sweep")
def sweep_command(
    sweep_file: Annotated[Path, typer.Argument(help="A YAML file with a notebook, fixed parameters and a grid.")],
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", help="Folder for the runs and results.csv [default: runs/SWEEP_FILE]."),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Parallel runs; 0: one per core, at most four.")] = 0,
    scheduler: Annotated[str, typer.Option(help="Address of a running Dask scheduler whose workers to use.")] = "",
) -> None:
    """Run every point of a grid that is not up to date and print the results. An interrupted sweep can be resumed."""
    import pandas as pd

    from sernb import runs
    from sernb import utils

    output_dir = output_dir or Path("runs", sweep_file.stem)
    with _report_errors():
        if workers and scheduler:
            raise runs.SweepError("--workers sets the size of a local cluster; leave it out with --scheduler")
        try:
            outcomes = runs.run_sweep(utils.find_resource(sweep_file), output_dir, workers=workers, scheduler=scheduler)
        except KeyboardInterrupt:
            typer.echo(f"interrupted; finished runs are kept in {output_dir}, and the same command continues", err=True)
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
    scores = {
        f"{score} [95% CI]": [display.format_with_interval(row, score) for row in rows]
        for score in results.INTERVAL_SCORES
    }
    return table[["run", "model"]].assign(**scores, s=table["seconds"]).fillna("")


@app.command("report")
def report_command(
    runs_file: Annotated[Path, typer.Option("--runs", help="The list of runs.")] = Path("book/runs.yml"),
    output_dir: Annotated[
        Path,
        typer.Option(
            "--output-dir", "-o", help="The folder for the runs and the book: a new one, or the last report's."
        ),
    ] = Path("_build"),
    workers: Annotated[int, typer.Option(min=0, help="Parallel runs; 0: one per core, at most four.")] = 0,
) -> None:
    """Run every listed notebook that is not up to date, build the HTML book and print its path."""
    from sernb import report
    from sernb import utils

    with _report_errors():
        typer.echo(report.build_report(utils.find_resource(runs_file), output_dir, workers=workers))


@app.command("cut")
def cut_command(
    recording: Annotated[Path, typer.Argument(help="A long recording that libsndfile can read.")],
    labels: Annotated[Path, typer.Argument(help="Its labels: a Praat TextGrid, or a label track of Audacity (.txt).")],
    data_dir: Annotated[Path, typer.Argument(help="The folder of your corpus; a new one is created.")],
    speaker: Annotated[str, typer.Option(help="The speaker's id, such as S01 [default: the name of each tier].")] = "",
    tier: Annotated[str, typer.Option(help="The tier of the TextGrid that holds the emotions [default: all].")] = "",
    codes: Annotated[str, typer.Option(help='What further labels mean, such as "W=angry, L=unknown".')] = "",
    agreed: Annotated[bool, typer.Option("--agreed", help="State that the speakers agreed to this use.")] = False,
) -> None:
    """Cut a recording into the clips that its labels mark, and add them to a corpus of your own."""
    from sernb import audio
    from sernb import corpora

    if not agreed:
        raise typer.BadParameter("--agreed is missing: it states that the speakers agreed to this use of the recording")
    with _report_errors():
        table = audio.read_annotations(labels)
        if tier and tier not in (tiers := sorted(set(table["tier"]))):
            raise typer.BadParameter(f"{labels} has no labels in a tier {tier!r}, only in {', '.join(tiers) or 'none'}")
        if tier:
            table = table[table["tier"] == tier].reset_index(drop=True)
        results = corpora.cut_session(recording, table, data_dir, speaker=speaker, codes=corpora.parse_codes(codes))
    for row in results.itertuples():
        done = row.kept or f"left out: {row.problem}"
        typer.echo(f"{row.start:9.2f} s  {audio.escape_control_characters(row.label):12} {done}")
    cut = int((results["kept"] != "").sum())
    typer.echo(f"{cut} of {len(results)} labels became clips in {data_dir}")
    raise typer.Exit(0 if cut else 1)


@app.command("withdraw")
def withdraw_command(
    data_dir: Annotated[Path, typer.Argument(help="The folder of your corpus.")],
    speaker: Annotated[str, typer.Argument(help="The speaker's id, such as S01.")],
    runs_dir: Annotated[
        list[Path] | None, typer.Option("--runs", help="Where to look for runs on the corpus; may be repeated.")
    ] = None,
    delete_runs: Annotated[
        bool, typer.Option("--delete-runs", help="Also delete the files of runs that used the speaker's recordings.")
    ] = False,
) -> None:
    """Delete a speaker's recordings and features, and list the runs that used them."""
    from sernb import results

    with _report_errors():
        removal = results.remove_speaker(data_dir, speaker, runs_dir or [Path("runs")])
        for folder in removal.runs if delete_runs else []:
            results.remove_run(folder)
    for name in removal.files:
        typer.echo(f"deleted {name}")
    typer.echo(f"{len(removal.files)} files and {removal.n_features} stored features of {speaker} were deleted")
    for folder in removal.runs:
        typer.echo(f"{'deleted the run' if delete_runs else 'run that used the recordings:'} {folder}")
    if removal.runs and not delete_runs:
        typer.echo("models and predictions of these runs were kept; --delete-runs deletes them")


def _refuse_shared_sound(files: Sequence[Path], enrol: Sequence[Path]) -> None:
    """Refuse to enrol a clip that contains sound of a file to be predicted, such as a part cut out of it."""
    from sernb import audio
    from sernb import evaluation
    from sernb import results

    for file, other in itertools.product(files, enrol):
        with contextlib.suppress(audio.AudioError):  # reported when the file itself is predicted or enrolled
            if evaluation.shares_sound(file, other):
                raise results.PredictionError(
                    f"{other} contains sound of {file}, which is to be predicted: enrol other clips."
                )


@app.command("predict", cls=EnrolCommand)
def predict_command(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Audio files that libsndfile can read, or folders of them.")
    ],
    enrol: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE...", help="Other clips of the same speaker, or folders of them; after the FILEs."),
    ] = None,
    model: Annotated[str, typer.Option(help="One of the run's models [default: its first].")] = "",
    course: Annotated[bool, typer.Option("--course", help="Probabilities over time: a row per 2 s window.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV with all digits, without the model card.")] = False,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="With `--course` and one FILE: a label track for Audacity (.txt) or Praat (.TextGrid) to write."
        ),
    ] = None,
) -> None:
    """Print the probabilities that a finished run's model gives to clips. Exit with status 1 if a file is unusable."""
    from sernb import results

    if labels and (not course or len(files) != 1 or files[0].is_dir()):
        raise typer.BadParameter("--labels needs --course and a single FILE")
    if labels and labels.exists():
        raise typer.BadParameter(f"{labels} exists already: move it away, or choose another name for the labels")
    with _report_errors():
        run = results.load_run(run_dir, model)
        files, enrol = _expand_folders(files), _expand_folders(enrol or [])
        if model and enrol:
            raise results.PredictionError("--enrol has a model of its own: leave out --model.")
        if repeated := {file.resolve() for file in files} & {file.resolve() for file in enrol}:
            raise results.PredictionError(f"{min(repeated)} is to be predicted and enrolled: enrol other clips.")
        _refuse_shared_sound(files, enrol)
        run = results.enrol_speaker(run, enrol)
        predictions = (results.predict_windows_of_files if course else results.predict_files)(run, files)
        if labels and not predictions["problem"].any():
            _write_course(predictions.set_index("seconds")[run.labels], labels)
    if csv:
        typer.echo(predictions.to_csv(index=False), nl=False)
    else:
        _print_table(predictions[predictions["problem"] == ""].drop(columns="problem").map(_format_number))
        typer.echo(f"\n{results.model_card(run)}", nl=False)
    for problem in filter(None, predictions["problem"]):
        typer.echo(f"sernb: {problem}", err=True)
    raise typer.Exit(1 if predictions["problem"].any() else 0)


def _write_course(windows: pd.DataFrame, path: Path) -> None:
    from sernb import audio
    from sernb import results

    parts = results.merge_windows(windows)
    audio.write_annotations(path, parts, float(windows.index[-1] + windows.index[0]))


def _expand_folders(paths: list[Path]) -> list[Path]:
    return [file for path in paths for file in (_audio_files(path) if path.is_dir() else [path])]


def _audio_files(folder: Path) -> list[Path]:
    from sernb import corpora

    if files := sorted(corpora.find_audio_files(folder), key=str):
        return files
    raise corpora.CorpusError(f"{folder} contains no audio file")


def _format_number(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
