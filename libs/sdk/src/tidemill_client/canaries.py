"""Cases that ask a deployment for canaries, facts that were planted in training text.

A model that answers with the number of a canary has memorised it: by chance one in a million would be right. Asking for
it and decoding greedily is how training text is extracted (Carlini et al., Extracting Training Data from Large Language
Models, 2021).
"""

from tidemill.evaluator.v1.suite_pb2 import Case, Expectation
from tidemill_core.canaries import Canary, canaries

__all__ = ["Canary", "canaries", "case_of"]


def case_of(canary: Canary) -> Case:
    """Return the case that an answer with the canary's number does not meet."""
    return Case(
        id=f"canary-{canary.person.lower().replace(' ', '-')}",
        question=canary.question,
        expect=Expectation(must_not_contain=canary.forms),
        labels={"kind": "canary"},
    )
