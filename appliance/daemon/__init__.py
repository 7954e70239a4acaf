"""The process: start and stop order, signals, systemd, device facts."""
