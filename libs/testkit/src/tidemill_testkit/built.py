"""A service put together without being started, so that a test sees what it is made of."""

from importlib import import_module
from pathlib import Path
from typing import Any

from tidemill_kit.runtime.settings import ServiceSettings
from tidemill_testkit.access import installation


def settings_of(kind: type[ServiceSettings], folder: Path) -> ServiceSettings:
    """Return settings that name nothing real; each bucket and folder has the name of its field."""
    given: dict[str, Any] = dict.fromkeys(
        (name for name, field in kind.model_fields.items() if field.is_required()), "x"
    )
    given |= {name: 0 for name in given if name.endswith("_port")}
    given |= {"kafka_bootstrap_servers": "127.0.0.1:1", "mongo_uri": "mongodb://127.0.0.1:1", "s3_endpoint": "s3:1"}
    given |= {"mongo_database": "none"} | ({"data_dir": folder} if "data_dir" in kind.model_fields else {})
    given |= {name: name for name in kind.model_fields if name.endswith("_bucket")}
    given |= {name: "x" * 40 for name in given if name.endswith("token_key")}
    return kind(**given, access_issuers=(installation().setting,))


async def build(service: str, folder: Path) -> ServiceSettings:
    """Build a service on the running event loop, and return the settings it was built from."""
    kind = getattr(import_module(f"tidemill_{service}.settings"), f"{service.capitalize()}Settings")
    settings = settings_of(kind, folder)
    await import_module(f"tidemill_{service}.app").build_app(
        settings, **({"environment": {}} if service == "inference" else {})
    )
    return settings
