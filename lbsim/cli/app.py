"""The commands and what they take; the work is in the modules beside this one."""

from __future__ import annotations

import codecs
import io
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NoReturn

import typer
from typer.core import TyperGroup

CLAIM_FAILED: Final = 1
BAD_INPUT: Final = 2
POINTS_FAILED: Final = 3
INTERRUPTED: Final = 130

RESUMABLE: Final = ("figures", "scorecard", "sweep")
KEPT: Final = "finished points are kept: the same command again resumes"

PLAIN: Final = {"µ": "u", "±": "+-", "–": "-", "−": "-", "─": "-", "…": "..."}


class Commands(TyperGroup):
    """Turns errors into one clear message and an exit code."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            kept = KEPT if ctx.invoked_subcommand in RESUMABLE else "nothing was saved"
            _stop(str(interrupt) or f"interrupted; {kept}", INTERRUPTED)
        except BrokenPipeError:  # the reader of our output has seen enough
            raise
        except OSError as error:
            _stop(f"error: {error.filename or 'system'}: {error.strerror or error}", BAD_INPUT)
        except ValueError as error:
            _stop(_problems(error), BAD_INPUT)


def _problems(error: ValueError) -> str:
    """Return one message for an error, a line for each of its problems."""
    problems = list(getattr(error, "problems", ())) or [str(error)]
    if len(problems) == 1:
        return f"error: {problems[0]}"
    return "\n".join([f"error: {len(problems)} problems", *(f"  {problem}" for problem in problems)])


def _stop(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)


app = typer.Typer(
    cls=Commands,
    help="A discrete-event simulator of datacenter load balancing: RSS, RSS++, Cheetah, CrossRSS, Metron.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Results = Annotated[Path, typer.Option(help="Folder of the results.", metavar="DIR")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Full = Annotated[bool, typer.Option("--full", help="Full scale, as published; quick scale without.")]
Jobs = Annotated[int | None, typer.Option(min=1, metavar="N", help="Processes; one per core unless given.")]
Where = Annotated[
    str,
    typer.Option(
        "--executor",
        metavar="WHERE",
        help="loky (processes here), inline, dask (a cluster here) or tcp://HOST:PORT (one that runs).",
    ),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Compute every point again.")]
Limit = Annotated[
    str | None, typer.Option("--limit-time", metavar="TIME", help="Start no point after this long, e.g. 10m.")
]
Timeout = Annotated[
    str | None,
    typer.Option("--timeout", metavar="TIME", help="Give a point up after this long; 1h unless given."),
]


def _version(wanted: bool) -> None:
    if wanted:
        from lbsim import __version__

        typer.echo(f"lbsim {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command()
def run(
    scenario: Annotated[
        Path | None, typer.Argument(metavar="[SCENARIO.toml]", help="What to simulate.", show_default=False)
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a field, e.g. server.cores=4; repeatable."),
    ] = None,
    capture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Replay a capture (pcap, pcapng, gzip) and compare RSS with RSS++."
        ),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Use what is readable of a damaged capture.")
    ] = False,
    load: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Offered load; 0.8 with --capture.", show_default=False),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="DISPATCH", help="Compare with rss, rss++, sprayer or a policy; repeatable."),
    ] = None,
    engine: Annotated[
        Literal["auto", "compiled", "reference"], typer.Option(help="Kernels, or a SimPy process a packet.")
    ] = "auto",
    replications: Annotated[
        int, typer.Option(min=1, max=10_000, metavar="N", help="Independent runs: means with 95 % intervals.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Simulate a scenario, or a capture without one."""
    from lbsim.cli.run import run_command
    from lbsim.cli.variants import Request

    request = Request(
        scenario, tuple(changes or ()), capture, partial, load, tuple(against or ()), engine, replications
    )
    run_command(request, as_json)


@app.command()
def figures(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Figures; all unless given (see lbsim list)."),
    ] = None,
    full: Full = False,
    jobs: Jobs = None,
    executor: Where = "loky",
    fresh: Fresh = False,
    limit_time: Limit = None,
    timeout: Timeout = None,
    results: Results = Path("results"),
) -> None:
    """Reproduce published figures; finished points are not computed again."""
    from lbsim.cli.execution import execution_of
    from lbsim.cli.studies import figures_command

    execution = execution_of(executor, jobs, fresh, limit_time, timeout)
    raise typer.Exit(figures_command(names or [], full, execution, results))


@app.command()
def sweep(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="What to vary, and how often.")],
    jobs: Jobs = None,
    executor: Where = "loky",
    fresh: Fresh = False,
    limit_time: Limit = None,
    timeout: Timeout = None,
    replications: Annotated[
        int | None, typer.Option(min=1, max=10_000, metavar="N", help="Instead of the study's own number.")
    ] = None,
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Vary the fields of a scenario; finished points are not computed again."""
    from lbsim.cli.execution import execution_of
    from lbsim.cli.sweep import sweep_command

    execution = execution_of(executor, jobs, fresh, limit_time, timeout)
    raise typer.Exit(sweep_command(study, execution, replications, results, as_json))


@app.command()
def scorecard(
    as_json: Json = False,
    full: Annotated[bool, typer.Option("--full", help="Compute every figure at full scale first.")] = False,
    jobs: Jobs = None,
    executor: Where = "loky",
    results: Results = Path("results"),
) -> None:
    """Judge every claim whose results exist; exit code 1 when one fails."""
    from lbsim.cli.execution import execution_of
    from lbsim.cli.studies import scorecard_command

    execution = execution_of(executor, jobs) if full else None
    raise typer.Exit(scorecard_command(as_json, execution, results))


@app.command()
def report(results: Results = Path("results")) -> None:
    """Write the report: one HTML page with every figure and claim."""
    from lbsim.study import write_report

    typer.echo(f"wrote {write_report(results)}")


@app.command()
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and shorter rounds: half a minute.")] = False,
    as_json: Json = False,
) -> None:
    """Race lbsim against SimPy, Ciw and salabim on the same work."""
    from lbsim.cli.bench import bench_command

    raise typer.Exit(bench_command(quick, as_json))


@app.command()
def check(
    path: Annotated[
        Path, typer.Argument(metavar="SCENARIO.toml|STUDY.toml|RESULTS_DIR", help="What to check.")
    ],
) -> None:
    """Check a scenario or study file (every problem at once), or every file of a results folder."""
    from lbsim.cli.about import check_command

    raise typer.Exit(check_command(path))


@app.command("list")
def list_names() -> None:
    """List what a scenario may name: traffic, arrivals, dispatchers, policies, tables; and all figures."""
    from lbsim.cli.about import list_command

    list_command()


@app.command()
def schema() -> None:
    """Print the JSON schema of scenario files, for editors."""
    import json

    from lbsim.scenario import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


def main() -> None:
    """Run the command line, on any terminal: what its encoding lacks is written in ASCII.

    To be asked to end (SIGTERM) is an interrupt: what is finished is kept.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")
    app()


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in lacking), error.end
