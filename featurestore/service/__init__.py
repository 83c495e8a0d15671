"""The service layer: one set of rules over the registry and the store, which every adapter (gRPC, later RESP and HTTP) calls.

Nothing here knows a network or a message format; nothing below here knows names across views.
"""

from featurestore.service.online_store import OnlineStore, ServiceLimits
from featurestore.service.read_plan import ReadPlan, Selection
from featurestore.service.write_plan import WritePlan

__all__ = ["OnlineStore", "ReadPlan", "Selection", "ServiceLimits", "WritePlan"]
