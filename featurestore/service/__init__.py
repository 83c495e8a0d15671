"""The service layer: one set of rules over the registry and the store, which every adapter (gRPC, later RESP and HTTP) calls.

Nothing here knows a network or a message format; nothing below here knows names across views.
"""

from featurestore.service.loads import Checks, Loads
from featurestore.service.mapped_store import MappedStore
from featurestore.service.online_reader import OnlineReader, ServiceLimits
from featurestore.service.online_store import OnlineStore
from featurestore.service.read_plan import ReadPlan, Selection
from featurestore.service.recovery import Durability, LoggedProgress, Progress, Recovered
from featurestore.service.replacing import Replaced
from featurestore.service.write_plan import WritePlan

__all__ = [
    "Checks",
    "Durability",
    "Loads",
    "LoggedProgress",
    "MappedStore",
    "OnlineReader",
    "OnlineStore",
    "Progress",
    "ReadPlan",
    "Recovered",
    "Replaced",
    "Selection",
    "ServiceLimits",
    "WritePlan",
]
