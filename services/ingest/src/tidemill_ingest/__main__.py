"""Start ingest: settings -> logging -> app."""

import os

import tidemill_kit.runtime.unused_libraries  # noqa: F401 - before anything imports them
from tidemill_ingest.app import build_app
from tidemill_ingest.settings import IngestSettings
from tidemill_kit.runtime.logging import configure_logging
from tidemill_kit.runtime.settings import load
from tidemill_kit.service.app import run

if __name__ == "__main__":
    settings = load(IngestSettings)
    configure_logging(settings)
    run(build_app(settings, environment=os.environ))
