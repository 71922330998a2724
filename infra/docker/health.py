"""Exits with 0 when the service of this container is ready: its gRPC health says SERVING.

With TLS it calls `localhost`, which the service's certificate has to name, and presents that certificate.
"""

import os
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

TIMEOUT_S = 4


def main() -> int:
    """Ask once and return the exit code."""
    with _channel(f"{os.environ['SERVICE'].upper()}_") as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            reply = check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError:
            return 1
    return 0 if reply.status == health_pb2.HealthCheckResponse.SERVING else 1


def _channel(prefix: str) -> grpc.Channel:
    port = os.environ[f"{prefix}GRPC_PORT"]
    if not os.environ.get(f"{prefix}TLS_CERT_FILE"):
        return grpc.insecure_channel(f"127.0.0.1:{port}")
    certificate, key = (Path(os.environ[f"{prefix}TLS_{each}_FILE"]).read_bytes() for each in ("CERT", "KEY"))
    authorities = os.environ.get(f"{prefix}TLS_CA_FILE")
    roots = Path(authorities).read_bytes() if authorities else certificate
    return grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(roots, key, certificate))


if __name__ == "__main__":
    sys.exit(main())
