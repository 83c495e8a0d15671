"""What the delay model reads, as definitions: entities, feature views and the service ``delay_model_v1``.

``featurestore apply examples/flights/definitions.py`` defines them on a server. features.py makes the rows: when a value became
known is said there. All that the service names is float32, so a request is answered with one matrix.
"""

from featurestore.model import Entity, FeatureReference, FeatureService, FeatureView, Field, JoinKey

origin = Entity(name="origin", description="Where a flight leaves from", join_keys=(JoinKey(name="origin", type="string"),))
carrier = Entity(name="carrier", description="An airline", join_keys=(JoinKey(name="carrier", type="string"),))
destination = Entity(name="destination", description="Where a flight goes to", join_keys=(JoinKey(name="dest", type="string"),))
plane = Entity(name="plane", description="An aircraft by its tail number", join_keys=(JoinKey(name="tailnum", type="string"),))
flight_number = Entity(
    name="flight_number",
    description="A flight of the timetable, such as UA 1545, on all of its days",
    join_keys=(JoinKey(name="carrier", type="string"), JoinKey(name="flight", type="int64")),
)
entities = (origin, carrier, destination, plane, flight_number)


def _number(name: str, description: str) -> Field:
    return Field(name=name, type="float32", description=description)


def _window(window: str) -> tuple[Field, ...]:
    return (
        _number(f"departures_{window}", f"flights that departed within the last {window}"),
        _number(f"mean_delay_{window}", "their mean delay in minutes, null when there were none"),
        _number(f"late_share_{window}", "the part of them that left 15 minutes late or more, null when there were none"),
    )


def _rolling(name: str, entity: Entity, short: str, long: str) -> FeatureView:
    overdue = _number("overdue", "flights scheduled 15 minutes to 3 hours ago that have not departed")
    return FeatureView(
        name=name,
        description=f"Delays of departed flights by {entity.name}, over windows of {short} and {long}",
        entity=entity,
        features=(*_window(short), *_window(long), overdue),
    )


def _latest(name: str, entity: Entity) -> FeatureView:
    return FeatureView(
        name=name,
        description=f"The latest departures by {entity.name}",
        entity=entity,
        features=(
            _number("last_delay", "delay of the latest departure, minutes"),
            _number("mean_delay_last_10", "mean delay of the latest 10 departures, or of as many as there were"),
        ),
    )


origin_delays = _rolling("origin_delays", origin, "1h", "3h")
carrier_delays = _rolling("carrier_delays", carrier, "3h", "7d")
destination_delays = _rolling("destination_delays", destination, "3h", "7d")
plane_delays = _latest("plane_delays", plane)
flight_number_delays = _latest("flight_number_delays", flight_number)

origin_weather = FeatureView(
    name="origin_weather",
    description="The weather at the origin in the latest full hour",
    entity=origin,
    features=(
        _number("temperature", "degrees Fahrenheit"),
        _number("humidity", "percent"),
        _number("wind_speed", "miles an hour"),
        _number("wind_gust", "miles an hour, null when there were no gusts"),
        _number("precipitation", "inches in the hour"),
        _number("pressure", "millibar at sea level"),
        _number("visibility", "miles, at most 10"),
    ),
)

plane_facts = FeatureView(
    name="plane_facts",
    description="What the register says about a plane",
    entity=plane,
    features=(
        _number("built", "year"),
        _number("seats", "how many"),
        _number("engines", "how many"),
        Field(name="manufacturer", type="string"),
        Field(name="model", type="string"),
    ),
)

views = (
    origin_delays,
    origin_weather,
    carrier_delays,
    destination_delays,
    plane_delays,
    plane_facts,
    flight_number_delays,
)

delay_model_v1 = FeatureService(
    name="delay_model_v1",
    description="What the model of departure delay reads an hour before the scheduled departure",
    features=tuple(
        FeatureReference(view=view.name, feature=feature.name, name=f"{view.name.removesuffix('_delays')}_{feature.name}")
        for view in views
        for feature in view.features
        if str(feature.type) == "float32"
    ),
)
