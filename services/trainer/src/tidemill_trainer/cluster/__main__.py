"""`python -m tidemill_trainer.cluster <training.json>`: one machine of a training on several."""

import asyncio
import json
import sys
from pathlib import Path

from tidemill_core.errors import TidemillError
from tidemill_trainer.cluster.pod import Pod, PodSettings, StoreSettings
from tidemill_trainer.cluster.spec import ClusterSpec


def main() -> None:
    """Fetch what the training reads, and become its torchrun agent; reports are JSON lines on standard output."""
    pod = Pod(spec=ClusterSpec.read(Path(sys.argv[1])), settings=PodSettings())
    if pod.is_done:
        _report("done")
        return
    try:
        job_file = asyncio.run(pod.prepare(StoreSettings()))
    except TidemillError as error:
        _report("failed", reason=error.reason, message=error.message)
        raise SystemExit(1) from None
    pod.become_agent(job_file)


def _report(event: str, **facts: str) -> None:
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")


if __name__ == "__main__":
    main()
