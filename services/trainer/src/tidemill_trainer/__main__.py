"""Start trainer: settings -> logging -> app."""

import tidemill_kit.runtime.unused_libraries  # noqa: F401 - before anything imports them
from tidemill_kit.runtime.logging import configure_logging
from tidemill_kit.runtime.settings import load
from tidemill_kit.service.app import run
from tidemill_trainer.app import build_app
from tidemill_trainer.settings import TrainerSettings

if __name__ == "__main__":
    settings = load(TrainerSettings)
    configure_logging(settings)
    run(build_app(settings))
