"""The command: ``python -m bench CASE``."""

import argparse
import sys
from pathlib import Path

from bench import machine
from bench import settings as options
from bench.cases import CASES, load, text
from bench.report import Report, goals_table

EXAMPLES = """cases:
{cases}
  all        every case above, with reports and plots in --directory

examples:
  python -m bench kernel                                      the kernel beside its peers, and its goals
  python -m bench kernel --subjects featurestore,lmdb --rows 100_000
  python -m bench scale --rows-max 1_000_000 --plot scale.png
  python -m bench load --server grpc://127.0.0.1:7400 --service delay_model_v1 --key-count 5000
  python -m bench load --loops open --open 500,1000,2000 --batch 1,100 --zipf 0.99 --write-share 0.1
  python -m bench load --engine grpcio --loops closed         the other engine, in a server of its own
  python -m bench workers                                     serve --workers N beside one process
  python -m bench all --quick                                 shows in seconds that everything runs
  python -m bench grpc --from grpc.json --plot grpc.png       draws an earlier report again
"""

LOCAL_RESULTS = Path(__file__).parent / "results" / "local"


def main(arguments: list[str] | None = None) -> int:
    """Runs what the command line asks for."""
    parser = _parser()
    given = parser.parse_args(arguments)
    settings = options.from_arguments(given)
    if given.case == "all":
        if given.report is not None:
            parser.error("--from draws the report of one case: got all, expected its name")
        for case in CASES:
            _run(case, settings, given.directory / f"{case}.json", given.directory / f"{case}.png")
        return 0
    if given.report is not None:
        report = Report.read(given.report)
        _print(report)
        _finish(report, given.json, given.plot)
    else:
        try:
            _run(given.case, settings, given.json, given.plot)
        except options.SettingsError as error:
            parser.error(str(error))
    return 0


def _run(case: str, settings: options.Settings, json_path: Path | None, plot_path: Path | None) -> None:
    found = machine.describe()
    print(f"\n{case}: {CASES[case].shows}\n{machine.sentence(found)}", flush=True)
    report = Report.begin(case, found, settings.as_json(CASES[case].groups))
    load(case)(settings, report)
    if settings.quick:
        report.goals.clear()
        report.note("--quick measures nothing: goals are not judged")
    _print(report)
    _finish(report, json_path, plot_path)


def _print(report: Report) -> None:
    print(
        "settings: "
        + ", ".join(
            f"{name}={value}" for name, value in report.settings.items() if value is not False and value not in ("", [])
        )
    )
    print("\n" + text(report))
    if report.goals:
        print("\n" + goals_table(report))
    for note in report.notes:
        print("note: " + note)


def _finish(report: Report, json_path: Path | None, plot_path: Path | None) -> None:
    if json_path is not None:
        report.write(json_path)
        print(f"report: {json_path}")
    if plot_path is not None:
        from bench import plots  # noqa: PLC0415  matplotlib is slow to import

        plots.draw(report, plot_path)
        print(f"plot: {plot_path}")


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:<10} {case.shows}" for name, case in CASES.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Benchmarks and load tests of the feature store.",
        epilog=EXAMPLES.format(cases=listed),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("case", choices=[*CASES, "all"], metavar="CASE", help="one of the cases below")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report to this file")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it into this file (.png, .svg, .pdf)")
    parser.add_argument(
        "--from", dest="report", type=Path, metavar="FILE", help="measure nothing: take this report of an earlier run"
    )
    parser.add_argument(
        "--directory", type=Path, default=LOCAL_RESULTS, help="where `all` puts its files (default: bench/results/local)"
    )
    options.add_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
