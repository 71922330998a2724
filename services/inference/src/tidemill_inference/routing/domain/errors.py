"""What can go wrong on the way to a model.

DependencyUnavailable
└── CircuitOpen             a remote model failed too often, and is not called for a while
"""

from tidemill_core.errors import Blame, DependencyUnavailable


class CircuitOpen(DependencyUnavailable):
    """A remote model failed again and again, and is not called for a while."""

    reason = "CIRCUIT_OPEN"

    def __init__(self, model: str, *, rest_s: float) -> None:
        super().__init__(
            f"model {model} failed several times in a row and is not called for {rest_s:.0f} s: try again later, or "
            "give the deployment a fallback",
            dependency=f"model {model}",
            blame=Blame.VARIANT,
            model=model,
            retry_after_s=round(rest_s, 3),
        )
        self.rest_s = rest_s
