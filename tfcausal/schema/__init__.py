"""Contracts shared by Beam workers and TensorFlow: columns, folders, protocols."""
