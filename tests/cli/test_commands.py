"""The commands on a store directory of this machine: what they print, what they change, what they exit with."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import featurestore
from featurestore.cli import asking
from featurestore.cli.connection import Connection
from tests.cli.commands import Run

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
DEFINITIONS = QUICKSTART / "definitions.yaml"


@pytest.fixture
def filled(run: Run, directory: Path) -> Run:
    """The quickstart, applied, with two carriers and one destination written."""
    assert run("apply", DEFINITIONS, "--yes").code == 0
    with Connection(directory=directory).open() as client:
        client.write(
            "carrier_stats",
            {"carrier": ["UA", "AA"], "mean_delay": [12.5, None], "late_share": [0.25, 0.5], "flights": [40, 8]},
        )
        client.write("dest_stats", {"dest": ["ORD"], "mean_delay": [3.0], "mean_air_time": [float("nan")]}, event_timestamps=1)
    return run


def changed(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    document = yaml.safe_load(DEFINITIONS.read_text())
    change(document)
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


# ------------------------------------------------------------------------------------------------------------------ apply


def test_apply_shows_the_plan_with_signs_and_applies_it(run: Run) -> None:
    outcome = run("apply", DEFINITIONS, "--yes")
    assert outcome.code == 0
    assert "+ feature view default.dest_stats: a new table of 2 features, empty until rows are written\n" in outcome.out
    assert "    + mean_air_time float32\n" in outcome.out
    assert outcome.out.endswith("\n5 to create, 0 to update, 0 to delete\nApplied 5 changes.\n")
    assert run("apply", QUICKSTART, "--yes").out == "Nothing to change: 5 definitions stand as written.\n"


def test_a_dry_run_changes_nothing(run: Run) -> None:
    assert run("apply", DEFINITIONS, "--dry-run").out.endswith("5 to create, 0 to update, 0 to delete\n")
    assert run("list", "views", "--json").document == {"feature_views": []}


@pytest.mark.parametrize(("answer", "code", "views"), [("y", 0, 2), ("n", 1, 0)])
def test_apply_asks_and_does_as_it_is_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, views: int
) -> None:
    monkeypatch.setattr(asking, "_somebody_is_there", lambda: True)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{answer}\n"))
    outcome = run("apply", DEFINITIONS)
    assert outcome.code == code
    assert len(run("list", "views", "--json").document["feature_views"]) == views


def test_apply_refuses_to_guess_where_nobody_can_answer(run: Run) -> None:
    outcome = run("apply", DEFINITIONS)
    assert outcome.code == 2
    assert "nobody is there to be asked: add --yes to apply, or --dry-run to see the plan" in outcome.err
    assert run("apply", DEFINITIONS, "--json").code == 2
    assert run("list", "views", "--json").document == {"feature_views": []}


def test_apply_as_json_gives_the_changes(run: Run) -> None:
    document = run("apply", DEFINITIONS, "--yes", "--json").document
    assert document["applied"] is True
    assert document["changes"][0] == {
        "action": "create",
        "kind": "entity",
        "project": "default",
        "name": "carrier",
        "differences": ["join keys (carrier string)"],
        "effect": "feature views can use it; holds no data itself",
    }
    assert run("apply", DEFINITIONS, "--yes", "--json").document == {"changes": [], "applied": True, "base_version": 1}


def test_a_feature_is_added_and_dropped_on_live_data(filled: Run, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        features = document["feature_views"][0]["features"]
        features[2] = {"name": "cancelled", "type": "int32"}  # instead of flights, which no service reads

    outcome = filled("apply", changed(tmp_path, change), "--yes")
    assert (
        "~ feature view default.carrier_stats: feature cancelled: null in the rows that are there, until written; "
        "feature flights: stored values are deleted for good; reads go on meanwhile\n"
        "    - flights int64\n    + cancelled int32\n"
    ) in outcome.out
    references = ("--feature", "carrier_stats:cancelled", "--feature", "carrier_stats:mean_delay")
    (row,) = filled("get", *references, "--key", "carrier=UA", "--json").document["rows"]
    assert row["values"] == {"cancelled": None, "mean_delay": 12.5}
    assert row["statuses"] == {"cancelled": "NULL", "mean_delay": "PRESENT"}


def test_a_type_change_is_refused_with_the_line_and_the_way_out(filled: Run, tmp_path: Path) -> None:
    path = changed(tmp_path, lambda document: document["feature_views"][0]["features"][0].update(type="float64"))
    outcome = filled("apply", path, "--yes")
    assert outcome.code == 1
    assert outcome.err == (
        f"error: {path}:13: feature view default.carrier_stats: features[0].type: got float64 for 'mean_delay', expected "
        f"float32, "
        "the type of its stored values. A type does not change on live data: add a feature of another name (such as "
        "'mean_delay_v2'), fill it, move services to it, then drop this one\n"
    )
    assert filled("get", "delay_model_v1", "-k", "carrier=UA", "-k", "dest=ORD", "--json").code == 0


def test_prune_deletes_what_is_not_written_any_more(filled: Run, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["feature_services"] = []
        del document["feature_views"][1]

    path = changed(tmp_path, change)
    assert filled("apply", path, "--dry-run").out.startswith("Nothing to change")
    outcome = filled("apply", path, "--prune", "--yes")
    assert "- feature view default.dest_stats: its table and all rows in it are deleted for good\n" in outcome.out
    assert [view["name"] for view in filled("list", "views", "--json").document["feature_views"]] == ["carrier_stats"]


def test_mistakes_of_the_file_and_of_the_names_are_told_together(run: Run, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["entities"][0]["join_keys"][0]["type"] = "text"
        document["feature_views"][1]["entity"] = "dset"

    path = changed(tmp_path, change)
    outcome = run("apply", path, "--yes")
    assert outcome.code == 1
    assert outcome.err.splitlines() == [
        "error: 2 mistakes in the definitions",
        f"  {path}:6: entity default.carrier: join_keys[0].type: got 'text', expected one of bool, int32, int64, float32, "
        f"float64, "
        "timestamp, string, bytes, float32[N], float64[N], int64[N]",
        f"  {path}:26: feature view default.dest_stats: entity: got 'dset', expected one like 'dest'",
    ]


def test_mistakes_of_the_file_are_told_without_a_store_too(run: Run, tmp_path: Path) -> None:
    path = changed(tmp_path, lambda document: document["entities"][0].update(nme="x"))
    outcome = run("apply", path, "--server", "grpc://127.0.0.1:1", bare=True)
    assert outcome.code == 1
    assert outcome.err.endswith("entity default.carrier: nme: got unknown field 'nme', expected one like 'name'\n")


# ------------------------------------------------------------------------------------------------------ list and describe


def test_list_shows_rows_and_memory(filled: Run) -> None:
    (view, _) = filled("list", "tables", "--json").document["tables"]
    assert (view["view"], view["rows"]) == ("carrier_stats", 2)
    assert view["memory_bytes"] > 0
    cells = filled("list", "views").out.splitlines()[2].split()
    assert cells[:6] == ["default", "carrier_stats", "carrier", "3", "30d", "2"]
    overview = filled("list").out
    for word in ("projects", "entities", "views", "services", "tables", "delay_model_v1", "memory bytes a row"):
        assert word in overview


def test_what_is_listed_can_be_applied_again(filled: Run, tmp_path: Path) -> None:
    document = filled("list", "--json").document
    del document["tables"]
    path = tmp_path / "listed.yaml"
    path.write_text(json.dumps(document))
    assert filled("apply", path, "--prune", "--yes").out == "Nothing to change: 6 definitions stand as written.\n"


def test_list_of_one_project_is_of_that_project(filled: Run) -> None:
    assert filled("list", "entities", "--project", "default").out.count("default") == 2
    outcome = filled("list", "entities", "--project", "defalt")
    assert (outcome.code, outcome.err) == (1, "error: project 'defalt' does not exist: expected one like 'default'\n")


def test_describe_tells_what_refers_to_what(filled: Run) -> None:
    view = filled("describe", "view", "carrier_stats")
    assert "  services     delay_model_v1\n  rows         2\n" in view.out
    assert "  ttl          30d\n" in view.out
    service = filled("describe", "service", "delay_model_v1")
    assert "  keys         carrier string, dest string\n" in service.out
    assert "carrier_stats:mean_delay" in service.out
    assert "  views        carrier_stats\n" in filled("describe", "entity", "carrier").out
    document = filled("describe", "view", "dest_stats", "--json").document
    assert document["feature_view"]["features"][1]["name"] == "mean_air_time"
    assert document["table"]["rows"] == 1


@pytest.mark.parametrize("kind", ["entity", "view", "service"])
def test_describe_offers_the_nearest_name(filled: Run, kind: str) -> None:
    outcome = filled("describe", kind, "carrier_stat" if kind == "view" else "carier" if kind == "entity" else "delay_model")
    assert outcome.code == 1
    assert "does not exist: expected one like 'carrier" in outcome.err or "one like 'delay_model_v1'" in outcome.err


# -------------------------------------------------------------------------------------------------------------------- get


def test_get_shows_values_and_why_there_are_none(filled: Run) -> None:
    outcome = filled("get", "delay_model_v1", "--key", "carrier=UA,AA,XX", "--key", "dest=ORD")
    rows = [line.split() for line in outcome.out.splitlines()]
    assert rows[0] == ["carrier", "dest", "carrier_delay", "late_share", "dest_delay", "mean_air_time"]
    assert rows[2:] == [
        ["UA", "ORD", "12.5", "0.25", "EXPIRED", "EXPIRED"],
        ["AA", "ORD", "NULL", "0.5", "EXPIRED", "EXPIRED"],
        ["XX", "ORD", "NOT_FOUND", "NOT_FOUND", "EXPIRED", "EXPIRED"],
    ]


def test_get_as_json_carries_every_value_status_and_time(filled: Run) -> None:
    flags = ("--event-timestamps", "--expired-values", "--json")
    first, second = filled("get", "delay_model_v1", "-k", "carrier=XX", "-k", "dest=ORD,NOWHERE", *flags).document["rows"]
    assert first == {
        "keys": {"carrier": "XX", "dest": "ORD"},
        "values": {"carrier_delay": None, "late_share": None, "dest_delay": 3.0, "mean_air_time": "NaN"},
        "statuses": {
            "carrier_delay": "NOT_FOUND",
            "late_share": "NOT_FOUND",
            "dest_delay": "EXPIRED",
            "mean_air_time": "EXPIRED",
        },
        "event_timestamps": {"carrier_stats": None, "dest_stats": "1970-01-01T00:00:00.000001Z"},
    }
    assert second["event_timestamps"] == {"carrier_stats": None, "dest_stats": None}


def test_get_takes_keys_with_commas_and_whole_numbers(run: Run, directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "people.yaml"
    path.write_text(
        "entities: [{name: person, join_keys: [{name: full_name, type: string}, {name: year}]}]\n"
        "feature_views: [{name: people, entity: person, features: [{name: height, type: float32}, {name: seen, type: "
        "timestamp},"
        " {name: face, type: 'float32[2]'}, {name: note, type: bytes}]}]\n"
    )
    assert run("apply", path, "--yes").code == 0
    with Connection(directory=directory).open() as client:
        row = {
            "full_name": ["Smith, J."],
            "year": [1990],
            "height": [1.5],
            "seen": [0],
            "face": [[1.0, 2.0]],
            "note": [b"\xff"],
        }
        client.write("people", row)
    features = [flag for name in ("height", "seen", "face", "note") for flag in ("-f", f"people:{name}")]
    outcome = run("get", *features, "-k", 'full_name=["Smith, J."]', "-k", "year=1990", "--json")
    assert outcome.document["rows"][0]["keys"] == {"full_name": "Smith, J.", "year": 1990}
    assert outcome.document["rows"][0]["values"] == {
        "height": 1.5, "seen": "1970-01-01T00:00:00+00:00", "face": [1.0, 2.0], "note": "/w==",
    }  # fmt: skip
    wrong = run("get", *features, "-k", "full_name=x", "-k", "year=199O")
    assert (wrong.code, "--key year: got '199O', expected whole numbers: the join key is int64" in wrong.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["get"], 2, "expected a feature service, or --feature"),
        (["get", "delay_model_v1", "-f", "a:b", "-k", "a=1"], 2, "and not both"),
        (["get", "delay_model_v1"], 2, "--key: got none, expected a value for each join key"),
        (["get", "delay_model_v1", "-k", "carrier"], 2, "--key: got 'carrier', expected NAME=VALUE"),
        (["get", "delay_model_v1", "-k", "carrier=[1"], 2, "expected a JSON list after the ="),
        (
            ["get", "delay_model", "-k", "carrier=UA"],
            1,
            "feature service 'delay_model' does not exist: expected one like 'delay_model_v1'",
        ),
        (["get", "delay_model_v1", "-k", "carrier=UA"], 1, "dest"),
        (["get", "-f", "carrier_stats:flihts", "-k", "carrier=UA"], 1, "one like 'flights'"),
    ],
)
def test_get_refuses_in_a_sentence(filled: Run, arguments: list[str], code: int, expected: str) -> None:
    outcome = filled(*arguments)
    assert outcome.code == code
    assert expected in " ".join(outcome.err.split())


# ------------------------------------------------------------------------------------------------------------- connection


def test_an_unreachable_server_is_one_sentence(run: Run) -> None:
    outcome = run("list", "--server", "grpc://127.0.0.1:1", bare=True)
    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert "127.0.0.1:1" in outcome.err


def test_server_and_directory_exclude_each_other_but_the_environment_gives_way(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("list", "--server", "grpc://127.0.0.1:1").code == 2
    monkeypatch.setenv("FEATURESTORE_SERVER", "grpc://127.0.0.1:1")
    assert run("apply", DEFINITIONS, "--yes").code == 0


def test_a_directory_that_somebody_holds_is_one_sentence(filled: Run, directory: Path) -> None:
    with Connection(directory=directory).open():
        outcome = filled("list")
    assert outcome.code == 1
    assert "is held by process" in outcome.err


def test_a_registry_that_is_damaged_is_one_sentence(filled: Run, directory: Path) -> None:
    (directory / "registry.json").write_text("{")
    outcome = filled("list")
    assert outcome.code == 1
    assert "registry.json: got a damaged file" in outcome.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("backup", "BACKUP"),
        ("export", "v", "-o", "BACKUP"),
        ("snapshot",),
        ("list",),
        ("describe", "view", "v"),
        ("get", "s", "-k", "a=1"),
        ("status",),
        ("rollback", "v", "--yes"),
        ("ingest", "v", DEFINITIONS),
    ],
)
def test_a_mistyped_directory_is_refused_and_nothing_is_made(run: Run, directory: Path, arguments: tuple[object, ...]) -> None:
    made = directory.with_name("backup")
    outcome = run(*(made if each == "BACKUP" else each for each in arguments))
    expected = "holds no store: expected registry.json or journal/ in it"
    assert (outcome.code, f"error: --directory: {directory} {expected}" in outcome.err) == (1, True)
    assert list(directory.parent.iterdir()) == []


def test_segments_are_where_the_command_line_says(
    run: Run, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEATURESTORE_SEGMENTS")
    elsewhere = tmp_path / "elsewhere"
    assert run("apply", DEFINITIONS, "--yes", "--segments", elsewhere).code == 0
    with featurestore.open(directory, segments=elsewhere) as client:
        views = {f"default.{table['view']}" for table in client.list_tables()}
        assert {path.name for path in elsewhere.glob("default.*")} == views
    assert f"error: {elsewhere}/status is not there" in run("status", "--segments", elsewhere).err  # nobody serves
    outcome = run("list", "--segments", elsewhere, bare=True)
    assert (outcome.code, "expected --directory DIR with it" in " ".join(outcome.err.split())) == (2, True)


@pytest.mark.parametrize("command", ["apply", "list", "describe", "get", "status", "doctor", "size"])
def test_help_has_examples(run: Run, command: str) -> None:
    outcome = run(command, "--help", bare=True)
    assert outcome.code == 0
    assert f"\n    featurestore {command} " in outcome.out


def test_help_of_serve_lists_the_values_that_are_allowed(run: Run) -> None:
    text = " ".join(run("serve", "--help", bare=True).out.split())
    for values in (
        "--fsync always|interval|never ",
        "--log-format text|json ",
        "--log-level debug|info|warning|error ",
        "--shared-memory off|owner|group|all ",
        "--grpc-engine auto|native|grpcio ",
    ):
        assert values in text


def test_help_lists_the_commands_and_a_wrong_one_is_refused(run: Run) -> None:
    for command in ("apply", "list", "describe", "get", "ingest", "serve", "status", "doctor", "size", "config"):
        assert f"\n  {command} " in run("--help", bare=True).out
    assert run("aply", bare=True).code == 2


def test_an_interrupt_ends_with_130_and_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_connection: Connection) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Connection, "open", interrupt)
    assert run("list").code == 130


def test_a_defect_of_ours_is_not_dressed_up_as_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_connection: Connection) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(Connection, "open", fail)
    with pytest.raises(ZeroDivisionError, match="ours"):
        run("list")
