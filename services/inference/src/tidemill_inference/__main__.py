"""Start inference: settings -> logging -> app."""

import os

# Threads that wait for each other sleep after half a millisecond: one that spins for ever stands still beside other
# busy processes (2 cores, load 10: no answer in 150 s), and one that sleeps at once has two thirds of the speed.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

if __name__ == "__main__":  # the processes for prompts run this file too, and need no models
    import uvloop

    import tidemill_kit.runtime.unused_libraries  # noqa: F401 - before anything imports them
    from tidemill_inference.app import build_app
    from tidemill_inference.settings import InferenceSettings
    from tidemill_kit.runtime.logging import configure_logging
    from tidemill_kit.runtime.settings import load
    from tidemill_kit.service.app import run

    settings = load(InferenceSettings)
    configure_logging(settings)
    run(build_app(settings, environment=os.environ), loop_factory=uvloop.new_event_loop)
