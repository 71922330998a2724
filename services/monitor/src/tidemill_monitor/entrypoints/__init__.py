"""How monitor is reached: events, gRPC, and what it does by itself."""
