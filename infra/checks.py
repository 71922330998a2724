"""Runs the checks and the tests of the repository, and prints how long each took.

`python infra/checks.py` runs all of them but the tests marked `long`, `--quick` those that need no server, `--of rag`
the tests of one service or library, long ones too (with `--quick` its quick ones), and names (`ruff mypy`, `long`) the
named ones. One that fails does not keep the others from running, and each prints what it found when it is done. Tests
run in several processes. All tests wait for their servers as much as they compute: the checks run beside them, one
after the other. Quick tests are a check like the others: they are collected by one process, and meanwhile those that
take longest run on the other processors; then they wait for half of their time.
"""

import argparse
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sysconfig.get_path("scripts"))

TESTS, QUICK_TESTS, LONG_TESTS = "tests", "quick", "long"
QUICK_FOLDERS = ("libs", "examples", "infra", "services")
MAX_TEST_PROCESSES = 6
"""They share one broker, one MongoDB server and one object store."""
MEMORY_OF_SERVERS_GB, MEMORY_OF_PROCESS_GB = 8, 2
"""The servers of the tests take 1 GB, each of two stacks with all services 2 and a training 0.7, and mypy 1.3."""
RUNNING: list[subprocess.Popen[str]] = []
STOPPED = threading.Event()


def main() -> int:
    """Run the checks and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checks", nargs="*", help="those to run; all where none is named")
    parser.add_argument("--quick", action="store_true", help="only what needs no server")
    parser.add_argument("--of", metavar="NAME", default="", help="only the tests of this service or library")
    arguments = parser.parse_args()
    known = commands(arguments.of)
    if unknown := [name for name in arguments.checks if name not in known]:
        parser.error(f"there is no check {unknown[0]}: there are {', '.join(known)}")
    if arguments.of and not folder_of(arguments.of).is_dir():
        parser.error(f"there is no part {arguments.of}: see the folders of services/, libs/ and examples/")
    if not (names := [QUICK_TESTS if arguments.quick else TESTS] if arguments.of else arguments.checks):
        names = [name for name in known if name not in {LONG_TESTS, TESTS if arguments.quick else QUICK_TESTS}]
    return run_all({name: known[name] for name in names})


def commands(part: str) -> dict[str, list[str]]:
    """Return the command of each check, the longest first; tests may be of one part."""
    pytest = [sys.executable, "-m", "pytest", "--quiet", "--durations=10"]
    in_processes = [*pytest, "--processes", str(test_processes())]
    folders = [str(folder_of(part))] if part else []
    return {
        QUICK_TESTS: [*pytest, "--quick", "--processes", str(3 * cores()), *(folders or QUICK_FOLDERS)],
        "ruff": [str(BIN / "ruff"), "check", "--quiet", "."],
        "format": [str(BIN / "ruff"), "format", "--quiet", "--check", "."],
        "mypy": [sys.executable, "-m", "mypy", "."],
        "words": [sys.executable, "infra/words.py"],
        "imports": [sys.executable, "infra/imports.py"],
        "bars": [sys.executable, "infra/bars.py", "--missed"],
        "buf": [str(BIN / "buf"), "lint", "protos"],
        "breaking": [str(BIN / "buf"), "breaking", "protos", "--against", "protos/baseline.binpb"],
        "protos": [sys.executable, "infra/protos/generate.py", "--check"],
        TESTS: [*in_processes, *(["--long", "with", *folders] if part else [])],
        LONG_TESTS: [*in_processes, "--long", "only"],
    }


def folder_of(part: str) -> Path:
    """Return the folder of a service, a library or an example, or where a service of this name would be."""
    places = (ROOT / "services" / part, ROOT / "libs" / part, ROOT / "examples" / part, ROOT / part)
    return next((place for place in places if place.is_dir()), places[0])


def test_processes() -> int:
    """Return how many processes run tests: three for each core, as far as memory reaches, since tests often wait."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1000**3
    capacity = int((memory_gb - MEMORY_OF_SERVERS_GB) / MEMORY_OF_PROCESS_GB)
    return max(1, min(3 * cores(), capacity, MAX_TEST_PROCESSES))


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def run_all(chosen: dict[str, list[str]]) -> int:
    """Run all tests here and the checks beside them, print the outcome of each, and return the exit code."""
    begin = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    at_once = 1 if TESTS in chosen else cores() + 1
    with ThreadPoolExecutor(max_workers=at_once) as queue:
        beside = {name: queue.submit(run, name, command) for name, command in chosen.items() if name != TESTS}
        results = {name: run(name, chosen[name]) for name in chosen if name == TESTS}
        results = {name: each.result() for name, each in beside.items()} | results
    say("\n" + "\n".join(f"{name:14} {seconds:6.1f} s  {outcome}" for name, (seconds, outcome) in results.items()))
    say(f"{'in all':14} {time.monotonic() - begin:6.1f} s")
    return 0 if all(outcome == "passed" for _, outcome in results.values()) else 1


def run(name: str, command: list[str]) -> tuple[float, str]:
    """Run one check; what tests print is shown as it comes, what another prints when it is done."""
    if STOPPED.is_set():
        return 0.0, "not run"
    begin = time.monotonic()
    output = None if name in {TESTS, LONG_TESTS} else subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output and subprocess.STDOUT, text=True) as process:  # noqa: S603 - our own commands
        RUNNING.append(process)
        printed, _ = process.communicate()
    outcome = "passed" if process.returncode == 0 else "FAILED"
    say(f"--- {name}: {outcome}\n{printed or ''}".rstrip())
    return time.monotonic() - begin, outcome


def stop(number: int, _frame: object) -> None:
    """Begin nothing more; end what runs on SIGTERM, as Ctrl-C does by itself. Tests stop their servers then."""
    STOPPED.set()
    for process in RUNNING:
        if number == signal.SIGTERM and process.poll() is None:
            process.terminate()


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
