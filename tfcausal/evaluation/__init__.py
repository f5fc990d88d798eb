"""Ranking metrics under a named protocol, out-of-distribution sets, disentanglement."""
