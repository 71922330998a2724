"""LiteLLM's proxy for comparison, in an environment of its own that is made by `litellm/requirements.lock`."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.bench._load import Target

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent / "litellm"
ENVIRONMENT = ROOT / ".tidemill" / "bench" / "litellm"
KEY = "sk-bench"
_START_S = 180


def installed() -> Path:
    """Return the folder of its programs, after installing it where that has not been done for this lock."""
    lock, done = HERE / "requirements.lock", ENVIRONMENT / "installed.lock"
    if not done.exists() or done.read_bytes() != lock.read_bytes():
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "-p", sys.executable, ENVIRONMENT], check=True)  # noqa: S603
        python = ENVIRONMENT / "bin" / "python"
        subprocess.run([uv, "pip", "sync", "--quiet", "--require-hashes", "-p", python, lock], check=True)  # noqa: S603
        done.write_bytes(lock.read_bytes())
    return ENVIRONMENT / "bin"


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
    (folder / "durable_log.py").write_bytes(
        (HERE / "durable_log.py").read_bytes()
    )  # LiteLLM imports it from beside the file
    environment = {
        **os.environ,
        "DURABLE_LOG": str(folder / "litellm.sqlite"),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the internet
        "LITELLM_TELEMETRY": "False",
        "LITELLM_LOG": "ERROR",
    }
    where = ["--host", "127.0.0.1", "--port", str(port)]
    command: list[str | Path] = [installed() / "litellm", "--config", config, *where]
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
