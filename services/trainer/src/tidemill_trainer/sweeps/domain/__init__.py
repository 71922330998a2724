"""Domain of sweeps: pure, without I/O."""
