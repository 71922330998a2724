"""The stack by hand: `python -m tidemill_local up | down | status | logs`. The `tidemill` command does the same."""

import argparse
import contextlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

from tidemill_local.errors import StackError
from tidemill_local.places import HOME
from tidemill_local.stack import LocalStack


def main() -> int:
    """Do what the command line asks and return the exit code."""
    arguments = _parser().parse_args()
    stack = LocalStack(arguments.folder, services=not arguments.servers_only, open_kafka=arguments.open_kafka)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            _run(stack, arguments)
    except StackError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _run(stack: LocalStack, arguments: argparse.Namespace) -> None:
    if arguments.action == "up":
        stack.up(_say)
        _say(f"Addresses: {stack.addresses_file}")
    elif arguments.action == "down":
        _say("Stopped; the data stays." if stack.down() else "Nothing runs.")
    elif arguments.action == "logs":
        for line in stack.logs(arguments.program, follow=arguments.follow):
            _say(f"{line.program}: {line.text}")
    else:
        _say(json.dumps(asdict(stack.status()), indent=2, default=str))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tidemill_local", description=__doc__)
    parser.add_argument("action", choices=["up", "down", "status", "logs"])
    parser.add_argument("program", nargs="?", help="whose log; all when left out")
    parser.add_argument("--folder", type=Path, default=HOME, help="where the stack keeps its data")
    parser.add_argument("--servers-only", action="store_true", help="start Kafka, MongoDB and S3 without the services")
    parser.add_argument("--open-kafka", action="store_true", help="let everyone do everything in Kafka: for tests")
    parser.add_argument("--follow", action="store_true", help="go on with the lines to come")
    return parser


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
