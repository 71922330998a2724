"""The kinds of resources that a loop declares."""

from collections.abc import Mapping
from typing import Any

from tidemill_client import declared
from tidemill_client.judges import Judges
from tidemill_client.resources import Resources
from tidemill_client.reviews import Reviews

KINDS: Mapping[str, type[Resources[Any]]] = {
    "source": declared.Sources,
    "collection": declared.Collections,
    "prompt": declared.Prompts,
    "deployment": declared.Deployments,
    "price": declared.Prices,
    "budget": declared.Budgets,
    "metric": declared.FeedbackMetrics,
    "review_queue": Reviews,
    "dataset": declared.DeclaredDatasets,
    "curation": declared.Curations,
    "training": declared.TrainingPlans,
    "suite": declared.DeclaredSuites,
    "judge": Judges,
    "gate": declared.Gates,
    "experiment": declared.Experiments,
}
"""In order of dependency."""
