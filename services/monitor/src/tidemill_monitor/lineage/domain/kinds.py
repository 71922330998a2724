"""What there is in the history of a loop, and how one thing comes from another."""

from dataclasses import dataclass
from enum import Enum, StrEnum


class Kind(StrEnum):
    """A kind of thing. Those that are versions have ids such as `smollm2@3`."""

    DOCUMENT = "document"
    DOCUMENT_VERSION = "document_version"
    INDEX_VERSION = "index_version"
    PROMPT_VERSION = "prompt_version"
    DEPLOYMENT = "deployment"
    INFERENCE = "inference"
    FEEDBACK = "feedback"
    CURATION = "curation"
    """One completion of a curation: `<curation>@<number of its event>`."""
    DATASET_VERSION = "dataset_version"
    TRAINING_RUN = "training_run"
    MODEL_VERSION = "model_version"
    EVALUATION = "evaluation"
    ROLLOUT = "rollout"
    RETRIEVAL_EVALUATION = "retrieval_evaluation"
    HARNESS_RUN = "harness_run"
    JUDGE_VERSION = "judge_version"
    """A judge with the configuration that judges, as the evaluator pins it: `tone@2-0123456789ab`."""


class Direction(Enum):
    """Which way to look from a thing."""

    BACK = "back"
    """To what it came from."""
    FORWARD = "forward"
    """To what came of it."""


@dataclass(frozen=True, slots=True)
class Relation:
    """How things of one kind come from things of another. A `hub` is the source of far more than a few of them."""

    name: str
    source: Kind
    target: Kind
    hub: bool = False


VERSION_OF = Relation("version_of", Kind.DOCUMENT, Kind.DOCUMENT_VERSION)
EMBEDDED = Relation("embedded", Kind.MODEL_VERSION, Kind.INDEX_VERSION)
MEASURED = Relation("measured", Kind.INDEX_VERSION, Kind.RETRIEVAL_EVALUATION)
GIVEN_TO = Relation("given_to", Kind.DOCUMENT_VERSION, Kind.INFERENCE, hub=True)
CITED_BY = Relation("cited_by", Kind.DOCUMENT_VERSION, Kind.INFERENCE, hub=True)
SHOWN_TO = Relation("shown_to", Kind.DATASET_VERSION, Kind.INFERENCE, hub=True)
CAME_INTO = Relation("came_into", Kind.PROMPT_VERSION, Kind.PROMPT_VERSION)
PROMPTED = Relation("prompted", Kind.PROMPT_VERSION, Kind.INFERENCE, hub=True)
ANSWERED = Relation("answered", Kind.MODEL_VERSION, Kind.INFERENCE, hub=True)
ANSWERED_IN = Relation("answered_in", Kind.ROLLOUT, Kind.INFERENCE, hub=True)
REACTED_TO = Relation("reacted_to", Kind.INFERENCE, Kind.FEEDBACK)
EXAMPLE_OF = Relation("example_of", Kind.FEEDBACK, Kind.CURATION)
CURATED = Relation("curated", Kind.DEPLOYMENT, Kind.CURATION)
PUBLISHED_AS = Relation("published_as", Kind.CURATION, Kind.DATASET_VERSION)
TRAINED_ON = Relation("trained_on", Kind.DATASET_VERSION, Kind.TRAINING_RUN)
BASE_OF = Relation("base_of", Kind.MODEL_VERSION, Kind.TRAINING_RUN)
REWARDED = Relation("rewarded", Kind.MODEL_VERSION, Kind.TRAINING_RUN)
JUDGED = Relation("judged", Kind.JUDGE_VERSION, Kind.TRAINING_RUN)
TAUGHT = Relation("taught", Kind.MODEL_VERSION, Kind.TRAINING_RUN)
REGISTERED = Relation("registered", Kind.TRAINING_RUN, Kind.MODEL_VERSION)
ADAPTED = Relation("adapted", Kind.MODEL_VERSION, Kind.MODEL_VERSION)
DERIVED = Relation("derived", Kind.MODEL_VERSION, Kind.MODEL_VERSION)
EVALUATED_INDEX = Relation("evaluated_index", Kind.INDEX_VERSION, Kind.EVALUATION)
EVALUATED_PROMPT = Relation("evaluated_prompt", Kind.PROMPT_VERSION, Kind.EVALUATION)
EVALUATED = Relation("evaluated", Kind.MODEL_VERSION, Kind.EVALUATION)
PROBED = Relation("probed", Kind.MODEL_VERSION, Kind.HARNESS_RUN)
PROBED_DEPLOYMENT = Relation("probed_deployment", Kind.DEPLOYMENT, Kind.HARNESS_RUN)
HELD_OUT_FOR = Relation("held_out_for", Kind.DATASET_VERSION, Kind.EVALUATION)
COMPARED = Relation("compared", Kind.DEPLOYMENT, Kind.EVALUATION)
ALLOWED = Relation("allowed", Kind.EVALUATION, Kind.ROLLOUT)
ROLLED_OUT_INDEX = Relation("rolled_out_index", Kind.INDEX_VERSION, Kind.ROLLOUT)
ROLLED_OUT_PROMPT = Relation("rolled_out_prompt", Kind.PROMPT_VERSION, Kind.ROLLOUT)
ROLLED_OUT = Relation("rolled_out", Kind.MODEL_VERSION, Kind.ROLLOUT)
ROLLS_OUT = Relation("rolls_out", Kind.DEPLOYMENT, Kind.ROLLOUT)

RELATIONS = tuple(value for value in list(globals().values()) if isinstance(value, Relation))

RELATION_OF = {relation.name: relation for relation in RELATIONS}
"""By name: names are stored, so they are never changed."""


def relations_from(kind: Kind) -> tuple[Relation, ...]:
    """Return how other things come from things of this kind."""
    return tuple(relation for relation in RELATIONS if relation.source is kind)
