"""Keras layers with weights."""
