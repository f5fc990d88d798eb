"""The one exception that means "what you gave us does not fit", and its wording.

Every message follows one form: what must hold, what was found and where, what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """The user's input, options or files are wrong; nothing was written.

    Command lines print its message in one line and exit with 2. Every other exception
    is a bug and keeps its traceback.
    """


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Builds the error for a misspelt name, with the nearest known one as advice.

    Args:
        kind: What the name stands for, such as "Method" or "Option".
        name: What was given.
        known: All names that exist.
    Returns:
        The exception, for the caller to raise.
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    advice = f" Did you mean `{close[0]}`?" if close else ""
    all_names = f"Known: {', '.join(names)}." if names else "There is none."
    return InputError(f"Unknown {kind} `{name}`.{advice} {all_names}")
