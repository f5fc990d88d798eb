"""Signatures, export, verification, indexes, and a client of exported models."""
