"""A bounded cache of things resolved from the definitions, forgotten when the definitions move."""

from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

Key = TypeVar("Key", bound=Hashable)
Plan = TypeVar("Plan")

PLANS_MAX = 1_024
KEY_BYTES_MAX = 1 << 16  # a longer selection is resolved each time: keys are the caller's bytes and must not fill our memory


class Versioned(Protocol):
    """What plans are made from: ``version`` moves when they are to be made again."""

    version: int


class PlanCache(Generic[Key, Plan]):
    """Plans by key. Invariant: a plan that is handed out was made from the version it is asked for."""

    def __init__(self, make: Callable[[Key], Plan], definitions: Versioned, plans_max: int = PLANS_MAX) -> None:
        self._make = make
        self._definitions = definitions
        self._plans_max = plans_max
        self._plans: dict[Key, Plan] = {}
        self._made_from = definitions.version

    def get(self, key: Key) -> Plan:
        """The plan of that key, made now if it is not there. What fails to be made is not remembered."""
        if self._definitions.version != self._made_from:
            self._made_from = self._definitions.version
            self._plans = {}
        plans = self._plans  # held: a plan made while the version moves in another thread must not land in the new dict
        plan = plans.get(key)
        if plan is None:
            plan = self._make(key)
            if isinstance(key, bytes) and len(key) > KEY_BYTES_MAX:
                return plan
            if len(plans) >= self._plans_max:
                plans.pop(next(iter(list(plans))), None)  # the oldest: a flood of others costs a plan its making again
            plans[key] = plan
        return plan

    def __len__(self) -> int:
        return len(self._plans)
