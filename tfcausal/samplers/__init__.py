"""Who is a negative: ids together with their probability and their cause."""
