"""Start rag: settings -> logging -> app."""

if __name__ == "__main__":
    # Imported here, because the child process of the vector store imports this module too, and needs none of it.
    import tidemill_kit.runtime.unused_libraries  # noqa: F401 - before anything imports them
    from tidemill_kit.runtime.logging import configure_logging
    from tidemill_kit.runtime.settings import load
    from tidemill_kit.service.app import run
    from tidemill_rag.app import build_app
    from tidemill_rag.settings import RagSettings

    settings = load(RagSettings)
    configure_logging(settings)
    run(build_app(settings))
