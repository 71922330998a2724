"""The one way by which services call addresses by HTTP: resolved, checked, connected to what was checked."""
