"""Fetches and makes what the stack needs and packages do not bring: `python -m tidemill_local.fetch jars | models`."""

import argparse
import sys

from tidemill_local import class_archive, jars, models
from tidemill_local.errors import StackError
from tidemill_local.places import JARS, MODELS


def main() -> int:
    """Fetch what the command line names and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["jars", "models"])
    try:
        if parser.parse_args().what == "jars":
            jars.ensure(JARS, _say)
            class_archive.ensure(JARS, _say)
        else:
            models.ensure(MODELS, _say)
    except StackError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _say(sentence: str) -> None:
    sys.stdout.write(f"      {sentence}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
