from services.evaluator.tests.evaluations.test_grpc import settings
from tidemill_evaluator.settings import EvaluatorSettings
from tidemill_evaluator.suites.domain.limits import Limits


def test_the_defaults_are_the_limits_of_the_domain() -> None:
    assert settings().limits == Limits()


def test_buckets_of_datasets_are_joined_by_commas() -> None:
    named = settings().model_dump() | {"dataset_buckets": "one, two,"}

    assert settings().dataset_buckets == ("tidemill-ingest-datasets", "tidemill-ingest-exchange")
    assert EvaluatorSettings.model_validate(named).dataset_buckets == ("one", "two")
