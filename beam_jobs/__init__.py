"""The data jobs on Apache Beam, each `python -m beam_jobs.NAME`.

The arithmetic on blocks of rows is in `tfcausal.stats`; here is how blocks are read,
brought together and written.
"""

import logging

# Beam warns on import that it misses Google's client, which local jobs do not need, and
# in RunInference that it cannot tell a model's memory, which nobody asks for. An error
# would then no longer be one line.
_NEEDLESS = ("apitools not found", "memory usage cannot be fetched")
logging.getLogger().addFilter(
    lambda record: not any(words in record.getMessage() for words in _NEEDLESS)
)
