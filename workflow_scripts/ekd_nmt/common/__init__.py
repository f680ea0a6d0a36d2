"""What everything else builds on: errors, signals, files, logs."""
