"""gRPC as a client uses it: channels, the context of a call, and errors on the wire."""
