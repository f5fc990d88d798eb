"""What every job shares: its command line, its folders, its report."""
