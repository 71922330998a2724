"""`python -m tidemill_evaluator`."""

from tidemill_evaluator.app import build_app
from tidemill_evaluator.settings import EvaluatorSettings
from tidemill_kit.runtime.logging import configure_logging
from tidemill_kit.runtime.settings import load
from tidemill_kit.service.app import run


def main() -> None:
    """Run evaluator until it receives SIGTERM or SIGINT."""
    settings = load(EvaluatorSettings)
    configure_logging(settings)
    run(build_app(settings))


if __name__ == "__main__":
    main()
