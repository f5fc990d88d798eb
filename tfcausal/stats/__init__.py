"""Arithmetic on blocks of rows, in numpy and pyarrow only."""
