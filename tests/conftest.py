"""All tests: the surroundings that they expect."""

from tests.support.signals import keep_from_children

keep_from_children()
