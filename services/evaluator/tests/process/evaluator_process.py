"""Evaluator as a real process on the stack's servers."""

from dataclasses import dataclass

from tidemill_testkit.service_process import ServiceProcess


@dataclass(kw_only=True)
class EvaluatorProcess(ServiceProcess):
    """Can be killed and restarted on the same database and bucket."""

    service = "evaluator"

    stub_services: str

    @property
    def bucket(self) -> str:
        return self.database

    @property
    def datasets(self) -> str:
        return f"{self.database}-datasets"

    def _settings(self) -> dict[str, str]:
        return {
            "EXCHANGE_BUCKET": self.bucket,
            "DATASET_BUCKETS": self.datasets,
            "INFERENCE_ADDRESS": self.stub_services,
            "INGEST_ADDRESS": self.stub_services,
            "RAG_ADDRESS": self.stub_services,
            "TRAINER_ADDRESS": self.stub_services,
            "ANSWER_PAUSE_S": "0.1",
            "LEASE_TTL_S": "2.0",
            "MIN_QUESTIONS": "4",
            "EVALUATION_POLL_INTERVAL_S": "0.5",
        }
