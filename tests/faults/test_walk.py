"""The short version of the random walk of ``make torture``."""

import random

from tests.faults.walk import walk

STEPS = 40
SEED = random.SystemRandom().randrange(1 << 32)


def test_whatever_follows_what_the_server_answers_as_the_model_does() -> None:
    walk(SEED, STEPS)
