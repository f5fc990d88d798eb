"""`python -m tfcausal.cli`, for where the console script is not on the path."""

from tfcausal.cli import main

main()
