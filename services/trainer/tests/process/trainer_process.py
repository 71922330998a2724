"""Trainer as a real process on the stack's servers."""

from dataclasses import dataclass
from pathlib import Path

from tidemill_testkit.service_process import ServiceProcess


@dataclass(kw_only=True)
class TrainerProcess(ServiceProcess):
    """Can be killed and restarted on the same database, bucket and folder."""

    service = "trainer"

    hub: str = "http://127.0.0.1:9"
    ingest: str = "127.0.0.1:9"
    evaluator: str = "127.0.0.1:9"
    lease_s: float = 4.0

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def bucket(self) -> str:
        return self.database

    def _settings(self) -> dict[str, str]:
        return {
            "EXCHANGE_BUCKET": self.bucket,
            "DATA_DIR": str(self.data_dir),
            "DATASET_BUCKETS": self.bucket,
            "INGEST_ADDRESS": self.ingest,
            "EVALUATOR_ADDRESS": self.evaluator,
            "RUN_CHECKPOINT_STEPS": "10",
            "RUN_DEVICE": "cpu",
            "RUN_POLL_INTERVAL_S": "0.3",
            "RUN_THREADS": "1",
            "HUGGING_FACE_ENDPOINT": self.hub,
            "LEASE_TTL_S": str(self.lease_s),
            "IMPORT_POLL_INTERVAL_S": "0.3",
        }
