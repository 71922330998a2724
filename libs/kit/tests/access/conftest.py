"""The fixtures of the gRPC tests: a service is tested through its port."""

from libs.kit.tests.grpc.conftest import _traced, lines

__all__ = ["_traced", "lines"]
