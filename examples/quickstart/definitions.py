"""How late a flight of a carrier to a destination tends to be. definitions.yaml says the same in YAML."""

from featurestore import Entity, FeatureService, FeatureView, Field, JoinKey

carrier = Entity(
    name="carrier",
    description="an airline, by its two-letter code",
    join_keys=[JoinKey(name="carrier", type="string")],
)
dest = Entity(
    name="dest",
    description="an airport that flights go to, by its three-letter code",
    join_keys=[JoinKey(name="dest", type="string")],
)

carrier_stats = FeatureView(
    name="carrier_stats",
    entity=carrier,
    description="delays of the carrier's flights over the last 30 days",
    ttl="30d",
    features=[
        Field(name="mean_delay", type="float32", description="minutes at departure"),
        Field(name="late_share", type="float32", description="share of flights more than 15 minutes late"),
        Field(name="flights", type="int64"),
    ],
)
dest_stats = FeatureView(
    name="dest_stats",
    entity=dest,
    description="delays of the flights to this airport over the last 30 days",
    ttl="30d",
    features=[
        Field(name="mean_delay", type="float32", description="minutes at arrival"),
        Field(name="mean_air_time", type="float32", description="minutes"),
    ],
)

delay_model_v1 = FeatureService(
    name="delay_model_v1",
    description="what the first delay model reads",
    features=[
        "carrier_stats:mean_delay as carrier_delay",
        "carrier_stats:late_share",
        "dest_stats:mean_delay as dest_delay",
        "dest_stats:mean_air_time",
    ],
)
