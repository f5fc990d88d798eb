"""The optimiser, schedules, checkpoints and the loop's defaults."""
