"""A harness runs for a bounded time, and ends with a report or a reason."""

import os
import time
from pathlib import Path

import pytest

from libs.cli.tests.harnesses.reports import TARGET, garak_eval
from tidemill_cli.harnesses.environments import python_of
from tidemill_cli.harnesses.garak import Garak
from tidemill_cli.harnesses.harness import INSTALL_FAILED, STOPPED, TIMED_OUT, Found, HarnessFailed
from tidemill_cli.harnesses.running import run_harness, version_of


def environment(folder: Path, script: str) -> Path:
    """Return an environment whose Python is a shell script."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    python.chmod(0o755)
    return folder


def run(folder: Path, script: str, *, time_limit_s: float = 20.0) -> Found:
    python = python_of(Garak(), environment(folder / "env", script), say=lambda _: None)
    (folder / "run").mkdir()
    return run_harness(Garak(tests=("dan",)), python, folder / "run", TARGET, time_limit_s=time_limit_s, online=False)


def test_a_report_is_read_without_the_token_it_may_have(tmp_path: Path) -> None:
    line = f'{{"entry_type": "init", "key": "{TARGET.token}"}}'

    found = run(tmp_path, f"printf '%s\\n' '{line}' '{garak_eval(passed=1, total=2)}' > run.report.jsonl")

    assert [(each.passed, each.total) for each in found.scores] == [(1, 2)]
    assert TARGET.token.encode() not in found.report
    assert b'"key": "***"' in found.report


def test_a_harness_sees_no_secret_of_the_users_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_CREDENTIAL", "another secret")

    with pytest.raises(HarnessFailed):
        run(tmp_path, "env > seen; exit 1")

    seen = (tmp_path / "run" / "seen").read_text("utf-8")
    assert "another secret" not in seen
    assert "HF_HUB_OFFLINE=1" in seen
    assert f"HOME={tmp_path / 'run'}" in seen


def test_a_harness_trusts_the_ca_of_the_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("own", "usual"):
        (tmp_path / name).write_text(f"{name} authority\n", encoding="utf-8")
    monkeypatch.setenv("TIDEMILL_TLS_CA_FILE", str(tmp_path / "own"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "usual"))

    with pytest.raises(HarnessFailed):
        run(tmp_path, 'cat "$SSL_CERT_FILE" "$REQUESTS_CA_BUNDLE" > seen; exit 1')

    seen = (tmp_path / "run" / "seen").read_text("utf-8")
    assert seen.split("\n\n")[0] == "own authority"
    assert seen.count("own authority") == seen.count("usual authority") == 2


def test_an_environment_whose_python_cannot_run_is_missing(tmp_path: Path) -> None:
    with pytest.raises(HarnessFailed, match="cannot be started") as failed:
        run_harness(
            Garak(tests=("dan",)), tmp_path / "gone" / "python", tmp_path, TARGET, time_limit_s=20.0, online=False
        )
    assert failed.value.reason == INSTALL_FAILED


def test_one_that_fails_is_said_with_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(HarnessFailed, match=r"exit code 3.*--keep FOLDER.*harness\.log.*--online") as failed:
        run(tmp_path, "echo oh no; exit 3")
    assert failed.value.reason == STOPPED
    assert (tmp_path / "run" / "harness.log").read_text("utf-8") == "oh no\n"


def test_one_that_was_killed_is_said_by_its_signal(tmp_path: Path) -> None:
    with pytest.raises(HarnessFailed, match="was killed by signal 9"):
        run(tmp_path, "kill -9 $$")


def test_one_that_does_not_end_is_ended_with_what_it_started(tmp_path: Path) -> None:
    with pytest.raises(HarnessFailed, match=r"did not end within 0\.2 s") as failed:
        run(tmp_path, "sleep 60 & echo $! > child; wait", time_limit_s=0.2)

    assert failed.value.reason == TIMED_OUT
    child = int((tmp_path / "run" / "child").read_text("utf-8"))
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and state_of(child) != "Z":
        assert time.monotonic() < deadline
        os.sched_yield()


def state_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_an_environment_without_python_is_none(tmp_path: Path) -> None:
    with pytest.raises(HarnessFailed, match="no bin/python") as failed:
        python_of(Garak(), tmp_path, say=lambda _: None)
    assert failed.value.reason == INSTALL_FAILED


def test_an_index_that_cannot_be_reached_is_said_and_tried_again_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, tried = list[str](), tmp_path / "tried"
    uv = environment(tmp_path / "with", f"echo again >> {tried}; exit 2") / "bin" / "python"
    uv.rename(uv.with_name("uv"))
    monkeypatch.setattr("sys.executable", str(uv.with_name("python3")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    for _ in range(2):
        with pytest.raises(HarnessFailed, match=r"could not be installed \(exit code 2\)"):
            python_of(Garak(), None, say=said.append)

    assert tried.read_text("utf-8").count("again") == len(said) == 2


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = tmp_path / "tried"
    makes = 'mkdir -p "$5/bin"; touch "$5/bin/python"'
    script = f'echo "$1" >> {tried}; [ "$1" = pip ] || {{ {makes}; }}'
    uv = environment(tmp_path / "with", script) / "bin" / "python"
    uv.rename(uv.with_name("uv"))
    monkeypatch.setattr("sys.executable", str(uv.with_name("python3")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    pythons = {python_of(Garak(), None, say=lambda _: None) for _ in range(2)}

    assert tried.read_text("utf-8").split() == ["venv", "pip"]
    next(iter(pythons)).unlink()
    python_of(Garak(), None, say=lambda _: None)
    assert tried.read_text("utf-8").split() == ["venv", "pip"] * 2, "its Python was gone"
    assert [each.parent.parent.name.startswith("garak-") for each in pythons] == [True]


def test_a_version_that_is_not_known_is_empty(tmp_path: Path) -> None:
    python = environment(tmp_path, "echo 0.17.1") / "bin" / "python"

    assert version_of(Garak(), python) == "0.17.1"
    assert version_of(Garak(), tmp_path / "none") == ""
