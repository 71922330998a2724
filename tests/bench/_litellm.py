"""LiteLLM's proxy for comparison, in an environment of its own that is made by `litellm/requirements.lock`."""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.bench._load import Target
from tests.environments import installed

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent / "litellm"
ENVIRONMENT = ROOT / ".tidemill" / "bench" / "litellm"
KEY = "sk-bench"
_START_S = 180


@contextmanager
def litellm_proxy(provider: str, port: int, folder: Path) -> Iterator[tuple[Target, int]]:
    """Run the proxy with one worker, a key and its log; yield where it answers, and the id of its process."""
    parameters = {"model": "openai/mock", "api_base": provider, "api_key": "none"}
    config = folder / "litellm.yaml"
    config.write_text(
        json.dumps(
            {
                "model_list": [{"model_name": "bench", "litellm_params": parameters}],
                "litellm_settings": {"callbacks": "durable_log.logger", "num_retries": 0},
                "general_settings": {"master_key": KEY},
            }
        ),
        encoding="utf-8",
    )
    shutil.copy(HERE / "durable_log.py", folder)  # LiteLLM imports it from beside its configuration
    environment = {
        **os.environ,
        "DURABLE_LOG": str(folder / "litellm.sqlite"),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the internet
        "LITELLM_TELEMETRY": "False",
        "LITELLM_LOG": "ERROR",
    }
    where = ["--host", "127.0.0.1", "--port", str(port)]
    programs = installed(HERE / "requirements.lock", ENVIRONMENT)
    command: list[str | Path] = [programs / "litellm", "--config", config, *where]
    with (folder / "litellm.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - what was installed by the lock
            [*command, "--num_workers", "1"], env=environment, stdout=log, stderr=log, cwd=folder
        )
        try:
            _wait(process, f"http://127.0.0.1:{port}/health/liveliness", folder / "litellm.log")
            yield Target("LiteLLM", f"http://127.0.0.1:{port}/v1", KEY, "bench"), process.pid
        finally:
            process.terminate()
            process.wait(30)


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310 - of our own
            return
        assert process.poll() is None, log.read_text(encoding="utf-8")[-2000:]
        assert time.monotonic() < deadline, "LiteLLM's proxy did not start"
        time.sleep(0.2)
