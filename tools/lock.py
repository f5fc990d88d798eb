"""Prints requirements.lock: exact pins of everything tfcausal's extras need here."""

import re
from importlib.metadata import distribution

from packaging.requirements import Requirement

EXTRAS = ("dev", "plots", "serving")


def pins(name: str, extras: tuple[str, ...], found: dict[str, str]) -> None:
    """Adds a distribution's requirements, and theirs, to `found`."""
    for text in distribution(name).requires or []:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is not None and not any(
            marker.evaluate({"extra": extra}) for extra in (*extras, "")
        ):
            continue
        key = re.sub(r"[-_.]+", "-", requirement.name).lower()
        seen = key in found
        found[key] = distribution(requirement.name).version
        if not seen or requirement.extras:
            pins(requirement.name, tuple(requirement.extras), found)


if __name__ == "__main__":
    versions: dict[str, str] = {}
    pins("tfcausal", EXTRAS, versions)
    print("# Exact versions that work together. `make lock` writes this file.")
    for distribution_name, version in sorted(versions.items()):
        print(f"{distribution_name}=={version}")
