"""Start feedback: settings -> logging -> app."""

from tidemill_feedback.app import build_app
from tidemill_feedback.settings import FeedbackSettings
from tidemill_kit.logging import configure_logging
from tidemill_kit.service import run
from tidemill_kit.settings import load

if __name__ == "__main__":
    settings = load(FeedbackSettings)
    configure_logging(settings)
    run(build_app(settings))
