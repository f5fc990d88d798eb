"""Readers of the forms in which raw interactions come, block after block."""
