"""What the domain and the use cases of a service may know: no transport, no store, no logger."""
