"""gRPC: one edge around every RPC, and channels to other services."""
