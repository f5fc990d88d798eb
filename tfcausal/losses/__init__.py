"""Losses as pure functions of tensors, for Keras 3 scripts on any backend too."""
