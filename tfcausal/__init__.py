"""Causal recommendation on TensorFlow."""
