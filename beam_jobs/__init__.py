"""The data jobs on Apache Beam, each `python -m beam_jobs.NAME`.

The arithmetic on blocks of rows is in `tfcausal.stats`; here is how blocks are read,
brought together and written.
"""

import logging

# Beam warns on import that it misses Google's client, which local jobs do not need; an
# error would then no longer be one line.
logging.getLogger().addFilter(
    lambda record: "apitools not found" not in record.getMessage()
)
