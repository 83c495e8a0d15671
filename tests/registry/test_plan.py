"""What a plan says: each change with what it does to live data, each mistake at once, each refusal with the way out."""

from typing import Any

import pytest

from featurestore.errors import FailedPreconditionError, FeatureStoreError, InvalidArgumentError
from featurestore.registry import Definitions, Plan, parse_definitions, plan_changes

CARRIER = {"name": "carrier", "join_keys": [{"name": "carrier", "type": "string"}]}
STATS: dict[str, Any] = {
    "name": "carrier_stats",
    "entity": "carrier",
    "features": [{"name": "mean_delay", "type": "float32"}, {"name": "flights", "type": "int64"}],
}
SERVICE = {"name": "delay_model_v1", "features": ["carrier_stats:mean_delay as delay", "carrier_stats:flights"]}


def document(*, entity: Any = (), view: Any = (), service: Any = (), **lists: Any) -> Definitions:
    parts = {"entities": [{**CARRIER, **dict(entity)}], "feature_views": [{**STATS, **dict(view)}]}
    return parse_definitions({**parts, "feature_services": [{**SERVICE, **dict(service)}], **lists})


def applied(desired: Definitions | None = None) -> Definitions:
    start = parse_definitions({"projects": [{"name": "default"}]})
    return plan_changes(start, desired or document(), prune=False).result


def lines(plan: Plan) -> list[tuple[str, str, tuple[str, ...], str]]:
    return [(change.action, str(change.key), change.differences, change.effect) for change in plan.changes]


def refused(
    desired: Definitions, kind: type[FeatureStoreError], current: Definitions | None = None, prune: bool = False
) -> list[str]:
    with pytest.raises(kind) as caught:
        plan_changes(current or applied(), desired, prune=prune)
    assert type(caught.value) is kind
    return [str(violation) for violation in caught.value.violations]


def test_first_apply_creates_each_object_after_what_it_refers_to() -> None:
    plan = plan_changes(parse_definitions({"projects": [{"name": "default"}]}), document(), prune=False)
    assert lines(plan) == [
        ("create", "entity default.carrier", ("join keys (carrier string)",), "feature views can use it; holds no data itself"),
        (
            "create",
            "feature view default.carrier_stats",
            ("entity carrier", "+ mean_delay float32", "+ flights int64"),
            "a new table of 2 features, empty until rows are written",
        ),
        (
            "create",
            "feature service default.delay_model_v1",
            ("+ carrier_stats:mean_delay as delay", "+ carrier_stats:flights"),
            "clients can read its 2 features from view carrier_stats",
        ),
    ]


def test_the_same_again_changes_nothing() -> None:
    assert plan_changes(applied(), document(), prune=True).changes == ()


@pytest.mark.parametrize(
    ("view", "differences", "effect"),
    [
        (
            {"features": [*STATS["features"], {"name": "speed", "type": "float32[4]"}]},
            ("+ speed float32[4]",),
            "feature speed: null in the rows that are there, until written; reads go on meanwhile",
        ),
        ({"ttl": "7d"}, ("ttl: (none) -> 7d",), "rows older than 7d answer EXPIRED from now on"),
        ({"retention": "90m"}, ("retention: (none) -> 90m",), "rows older than 90m are deleted in the background"),
        ({"owner": "ml"}, ("owner: '' -> 'ml'",), "live data stays as it is"),
        ({"tags": {"tier": "1"}}, ("tag tier: (none) -> 1",), "live data stays as it is"),
        ({"features": STATS["features"][::-1]}, ("features in another order",), "live data stays as it is"),
        ({"source": {"path": "a.parquet"}}, ("source: (none) -> {'path': 'a.parquet'}",), "live data stays as it is"),
        (
            {"features": [{**STATS["features"][0], "description": "minutes"}, STATS["features"][1]]},
            ("~ mean_delay float32 -> mean_delay float32 'minutes'",),
            "live data stays as it is",
        ),
    ],
)
def test_an_updated_view_says_what_happens_to_its_rows(view: dict[str, Any], differences: tuple[str, ...], effect: str) -> None:
    plan = plan_changes(applied(), document(view=view), prune=False)
    assert lines(plan) == [("update", "feature view default.carrier_stats", differences, effect)]


def test_a_dropped_feature_and_a_service_that_lets_go_of_it_pass_together() -> None:
    after = document(view={"features": STATS["features"][:1]}, service={"features": ["carrier_stats:mean_delay"]})
    assert lines(plan_changes(applied(), after, prune=False)) == [
        (
            "update",
            "feature view default.carrier_stats",
            ("- flights int64",),
            "feature flights: stored values are deleted for good; reads go on meanwhile",
        ),
        (
            "update",
            "feature service default.delay_model_v1",
            ("- carrier_stats:mean_delay as delay", "- carrier_stats:flights", "+ carrier_stats:mean_delay"),
            "the next request for it is answered by the new list; stored data stays as it is",
        ),
    ]


def test_without_prune_nothing_goes_and_with_it_what_refers_goes_first() -> None:
    after = parse_definitions({"projects": [{"name": "default"}]})
    assert plan_changes(applied(), after, prune=False).changes == ()
    plan = plan_changes(applied(), after, prune=True)
    assert lines(plan) == [
        (
            "delete",
            "feature service default.delay_model_v1",
            (),
            "requests for it are answered NOT_FOUND; stored data stays as it is",
        ),
        ("delete", "feature view default.carrier_stats", (), "its table and all rows in it are deleted for good"),
        ("delete", "entity default.carrier", (), "live data stays as it is"),
    ]
    assert list(map(str, plan.result.index)) == ["project default"]


def test_prune_leaves_projects_that_are_not_named_alone() -> None:
    other = parse_definitions({"projects": [{"name": "other"}]})
    assert [change.action for change in plan_changes(applied(), other, prune=True).changes] == ["create"]


def test_a_type_change_is_refused_with_the_way_out() -> None:
    after = document(view={"features": [{"name": "mean_delay", "type": "float64"}, STATS["features"][1]]})
    assert refused(after, FailedPreconditionError) == [
        "feature view default.carrier_stats: features[0].type: got float64 for 'mean_delay', expected float32, the type of its "
        "stored values. A type does not change on live data: add a feature of another name (such as 'mean_delay_v2'), fill it, "
        "move services to it, then drop this one"
    ]


def test_an_entity_key_change_is_refused_with_the_way_out() -> None:
    after = document(entity={"join_keys": [{"name": "carrier", "type": "int64"}]})
    assert refused(after, FailedPreconditionError) == [
        "entity default.carrier: join_keys: got (carrier int64), expected (carrier string), by which the rows of view "
        "carrier_stats are stored. Keys do not change on live data: define a new entity (such as 'carrier_v2') and new "
        "views on "
        "it, fill them, move services to them, then delete the old ones"
    ]


def test_keys_of_an_entity_without_views_change_freely() -> None:
    before = plan_changes(Definitions(), parse_definitions({"entities": [CARRIER]}), prune=False).result
    after = parse_definitions({"entities": [{**CARRIER, "join_keys": [{"name": "code"}]}]})
    assert [change.differences for change in plan_changes(before, after, prune=False).changes] == [
        ("join keys: (carrier string) -> (code int64)",)
    ]


def test_another_entity_for_a_view_is_refused_with_the_way_out() -> None:
    after = document(view={"entity": "airline"}, entities=[CARRIER, {**CARRIER, "name": "airline"}])
    (refusal,) = refused(after, FailedPreconditionError)
    assert refusal.startswith("feature view default.carrier_stats: entity: got 'airline', expected 'carrier', by whose keys")
    assert "define a new view (such as 'carrier_stats_v2') on 'airline'" in refusal


def test_a_feature_that_a_service_outside_the_apply_reads_cannot_be_dropped() -> None:
    after = document(view={"features": STATS["features"][:1]}, feature_services=[])
    assert refused(after, FailedPreconditionError) == [
        "feature service default.delay_model_v1: features[1].feature: got 'flights', expected a feature of view "
        "'carrier_stats', "
        "one of 'mean_delay'; it is not among these definitions: keep what it reads, or change it in the same apply"
    ]


def test_every_unknown_name_is_told_at_once_with_the_nearest() -> None:
    after = document(
        view={"entity": "carier", "name": "other"},
        service={
            "features": [
                "carrier_stat:x",
                "carrier_stats:flihts",
                {"view": "carrier_stats", "feature": "flights", "join_keys": {"carier": "a"}},
            ]
        },
        projects=[{"name": "flights"}],
        entities=[CARRIER, {**CARRIER, "project": "flight"}],
    )
    assert refused(after, InvalidArgumentError) == [
        "entity flight.carrier: project: got 'flight', expected one like 'flights', or a project of this name in the same "
        "apply",
        "feature view default.other: entity: got 'carier', expected one like 'carrier'",
        "feature service default.delay_model_v1: features[0].view: got 'carrier_stat', expected one like 'carrier_stats'",
        "feature service default.delay_model_v1: features[1].feature: got 'flihts', expected a feature of view "
        "'carrier_stats', "
        "one like 'flights'",
        "feature service default.delay_model_v1: features[2].join_keys: got 'carier', expected a join key of entity 'carrier', "
        "one like 'carrier'",
    ]


def test_mistakes_and_refusals_are_told_together() -> None:
    after = document(view={"features": [{"name": "mean_delay", "type": "int32"}]}, service={"features": ["x:y"]})
    fields = [line.split(": ")[1] for line in refused(after, InvalidArgumentError)]
    assert fields == ["features[0].view", "features[0].type"]


def test_names_that_clash_within_a_view_or_a_request_are_mistakes() -> None:
    dest = {"name": "dest", "join_keys": [{"name": "carrier", "type": "int64"}]}
    after = document(
        entities=[CARRIER, dest],
        feature_views=[
            {**STATS, "source": {"path": "x", "columns": {"AvgDelay": "mean_dely"}}},
            {
                "name": "dest_stats",
                "entity": "dest",
                "features": [{"name": "carrier", "type": "bool"}, {"name": "x", "type": "bool"}],
            },
        ],
        service={"features": ["carrier_stats:flights", "dest_stats:x"]},
    )
    assert refused(after, InvalidArgumentError) == [
        "feature view default.carrier_stats: source.columns.AvgDelay: got 'mean_dely', expected a feature or join key: one "
        "like "
        "'mean_delay'",
        "feature view default.dest_stats: features[0].name: got 'carrier', expected a name that is not a join key of entity "
        "'dest'",
        "feature service default.delay_model_v1: features[1].join_keys: got key column 'carrier' as int64 for view "
        "'dest_stats', "
        "expected string, as view 'carrier_stats' has it; rename it here: join_keys: {carrier: another_column}",
    ]


def test_one_name_with_two_definitions_in_a_request_is_a_mistake() -> None:
    after = document(entities=[CARRIER, CARRIER, {**CARRIER, "owner": "me"}])
    assert refused(after, InvalidArgumentError) == [
        "entity default.carrier: name: got 'carrier', expected one definition of this name, there are different ones"
    ]
