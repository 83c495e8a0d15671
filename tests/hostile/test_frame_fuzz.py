"""A share of the fuzz that fits in ``make test``; ``make sanitize`` runs a million sequences of it under AddressSanitizer."""

import asyncio
import random

from tests.hostile.frame_fuzz import Fuzz

SECONDS = 8.0


def test_whatever_a_peer_sends_nothing_but_its_connection_ends():
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    fuzz = Fuzz(seed)
    asyncio.run(fuzz.run(1_000_000, SECONDS))
    assert {outcome.split()[0] for outcome in fuzz.outcomes} == {"client", "server", "connection"}
    assert fuzz.outcomes["connection whole"] > 50
