"""Start inference: settings -> logging -> app."""

import os

from tidemill_inference.app import build_app
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.logging import configure_logging
from tidemill_kit.service import run
from tidemill_kit.settings import load

if __name__ == "__main__":
    settings = load(InferenceSettings)
    configure_logging(settings)
    run(build_app(settings, environment=os.environ))
