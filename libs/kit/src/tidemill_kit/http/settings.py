"""Settings of a service that serves HTTP."""

from pydantic import Field

from tidemill_core.transport_security import is_loopback
from tidemill_kit.http.callers import ANY_HOST
from tidemill_kit.runtime.separated import Separated
from tidemill_kit.runtime.settings import ServiceSettings, env_prefix


class HttpSettings(ServiceSettings):
    """Read under the service's prefix, as all its settings."""

    http_port: int = Field(ge=0, le=65535)
    """The port of the HTTP API; 0 picks a free one."""
    http_hosts: Separated = ()
    """Host names (separated by commas) that the HTTP API serves, beside IP addresses and localhost.

    `*` for all. Empty: on the loopback interface no other name, on other interfaces all.
    """
    http_idle_s: float = Field(75.0, gt=0)
    """How long a connection may wait for its next request."""
    http_header_s: float = Field(10.0, gt=0)
    """How long a request may take up to its last header."""
    http_max_connections: int = Field(1024, ge=1)
    """Open HTTP connections; a further one closes the one that has been idle longest."""
    max_body_bytes: int = Field(4 * 1024 * 1024, ge=1024)
    """The largest body of an HTTP request."""
    cors_origins: Separated = ()
    """Origins (separated by commas) whose pages may call the HTTP API from a browser, `*` for all."""

    @property
    def served_hosts(self) -> tuple[str, ...]:
        """The host names that are served, see `callers.check_host`."""
        return self.http_hosts or (() if is_loopback(self.host) else (ANY_HOST,))

    def variable(self, field: str) -> str:
        """Return the name of a field's environment variable."""
        return (env_prefix(type(self)) + field).upper()


class RpcHttpSettings(HttpSettings):
    """Of a service that can serve its RPCs as JSON."""

    http_rpcs: bool = False
    """True serves every unary RPC as JSON, too."""
