"""Start inference: settings -> logging -> app."""

import os

# Threads that wait for each other sleep instead of spinning: beside other busy processes a spinning engine stands
# still (2 cores, load 10: no answer in 150 s, against 2.4 tokens/s asleep).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from tidemill_inference.app import build_app
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.logging import configure_logging
from tidemill_kit.service import run
from tidemill_kit.settings import load

if __name__ == "__main__":
    settings = load(InferenceSettings)
    configure_logging(settings)
    run(build_app(settings, environment=os.environ))
