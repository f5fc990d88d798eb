"""What Beam's workers get of an object."""

from typing import TypeVar

from apache_beam.internal import cloudpickle_pickler

Sent = TypeVar("Sent")


def as_sent(value: Sent) -> Sent:
    """Returns an object as a worker finds it.

    Beam sends pickles to its own workers, whatever a job would rather do; only here
    and there is one ever read, and it never comes from a file.
    """
    found: Sent = cloudpickle_pickler.loads(cloudpickle_pickler.dumps(value))
    return found
