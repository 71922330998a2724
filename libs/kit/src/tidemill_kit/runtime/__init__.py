"""What every module of a process uses: settings, logs, traces and metrics."""
