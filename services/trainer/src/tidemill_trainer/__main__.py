"""`python -m tidemill_trainer`."""

from tidemill_kit.runtime.logging import configure_logging
from tidemill_kit.runtime.settings import load
from tidemill_kit.service.app import run
from tidemill_trainer.app import build_app
from tidemill_trainer.settings import TrainerSettings


def main() -> None:
    """Run trainer until it receives SIGTERM or SIGINT."""
    settings = load(TrainerSettings)
    configure_logging(settings)
    run(build_app(settings))


if __name__ == "__main__":
    main()
