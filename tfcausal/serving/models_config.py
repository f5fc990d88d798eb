"""`models.config`: which models and versions TensorFlow Serving loads, with labels.

The format is TensorFlow Serving's own, ModelServerConfig as protobuf text. A client
asks for a version by its label, such as `stable`, and never for a number.
"""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tfcausal.errors import InputError, unknown_name
from tfcausal.schema.exported import versions
from tfcausal.schema.folders import sole_user
from tfcausal.schema.manifest import read_manifest

CONFIG_FILE = "models.config"
_BASE_PATH = "/models"
_LABEL = re.compile(r"[A-Za-z0-9_.-]+")
Labels = Mapping[str, Mapping[str, int]]
"""Model to label to version."""


def exported_models(root: Path) -> dict[str, list[int]]:
    """Returns the models under a folder with their finished versions, ascending."""
    found = {}
    for folder in sorted(path for path in root.glob("*") if path.is_dir()):
        finished = [
            version
            for version in versions(folder)
            if _is_of_kind(folder / str(version), "export")
        ]
        if finished:
            found[folder.name] = finished
    return found


def _is_of_kind(folder: Path, kind: str) -> bool:
    try:
        read_manifest(folder, kind=kind)
    except InputError:
        return False
    return True


def read_labels(root: Path) -> dict[str, dict[str, int]]:
    """Reads the labels in `root`/models.config; none where there is no such file.

    Raises:
        InputError: If it is no ModelServerConfig.
        ImportError: If tensorflow-serving-api is not installed.
    """
    if not (root / CONFIG_FILE).is_file():
        return {}
    return {
        one.name: dict(one.version_labels)
        for one in _read(root).model_config_list.config
        if one.version_labels
    }


def write_config(root: Path, labels: Labels, base_path: str | None = None) -> Path:
    """Writes `root`/models.config for all models exported there.

    The last version of a model is served, and all that have a label. What the file says
    of other models stays as it is.

    Args:
        root: Folder of all exported models.
        labels: Model to label to version; see `relabelled`.
        base_path: Where the server finds `root`; None for where the file says, or
            /models in a new one.
    Returns:
        The file.
    Raises:
        InputError: If nothing is exported there, a labelled model or version is not, or
            there is a file that is no ModelServerConfig.
        ImportError: If tensorflow-serving-api is not installed.
    """
    models = _require_models(root)
    proto, text_format = _protobuf()
    before = {one.name: one for one in _read(root).model_config_list.config}
    of_exports = {name: one for name, one in labels.items() if name not in before}
    _require_exported(
        of_exports | {name: labels.get(name, {}) for name in models}, models
    )
    if base_path is None:
        known = [before[name].base_path for name in models if name in before]
        base_path = str(PurePosixPath(known[0]).parent) if known else _BASE_PATH
    config = proto.ModelServerConfig()
    for name, finished in models.items():
        one = config.model_config_list.config.add()
        one.name = name
        one.base_path = str(PurePosixPath(base_path, name))
        one.model_platform = "tensorflow"
        of_model = labels.get(name, {})
        if of_model:
            served = sorted({finished[-1], *of_model.values()})
            one.model_version_policy.specific.versions.extend(served)
            for label in sorted(of_model):
                one.version_labels[label] = of_model[label]
        else:
            one.model_version_policy.latest.num_versions = 1
    others = [one for name, one in before.items() if name not in models]
    config.model_config_list.config.extend(others)
    path = root / CONFIG_FILE
    partial = root / f".{CONFIG_FILE}.partial"
    partial.write_text(text_format.MessageToString(config), encoding="utf-8")
    partial.replace(path)
    return path


def refresh_config(root: Path) -> Path | None:
    """Writes `root`/models.config anew if it is there, with what is exported now.

    Labels, and where the server finds the folder, stay as they are.

    Returns:
        The file, or None where there is none.
    Raises:
        InputError: If it is no ModelServerConfig, or a labelled version is gone.
        ImportError: If it is there and tensorflow-serving-api is not installed.
    """
    if not (root / CONFIG_FILE).is_file():
        return None
    with sole_user(root):
        return write_config(root, read_labels(root))


def change_labels(root: Path, changes: list[str], base_path: str | None = None) -> Path:
    """Writes `root`/models.config with some labels changed; two at once both count.

    Args:
        root: Folder of all exported models.
        changes: As `relabelled` takes them.
        base_path: As `write_config` takes it.
    Returns:
        The file.
    Raises:
        InputError: As `relabelled` and `write_config` do.
        ImportError: If tensorflow-serving-api is not installed.
    """
    _require_models(root)
    with sole_user(root):
        return write_config(root, relabelled(read_labels(root), changes), base_path)


def relabelled(labels: Labels, changes: list[str]) -> dict[str, dict[str, int]]:
    """Returns labels with changes such as `dice:stable=3`; `dice:stable=` takes it off.

    Raises:
        InputError: If a change has another form, or takes off what is not there.
    """
    changed = {name: dict(of_model) for name, of_model in labels.items()}
    given: set[tuple[str, str]] = set()
    for text in changes:
        name, _, rest = text.partition(":")
        label, equals, version = rest.partition("=")
        if (
            not (name and equals and _LABEL.fullmatch(label))
            or (version and not version.isdecimal())
            or (name, label) in given
        ):
            raise InputError(
                "`--label` must be MODEL:LABEL=VERSION, each label once and of "
                f"letters, digits, `_`, `.` and `-`; got {text}. Write it as --label "
                "dice:stable=3, or --label dice:stable= to take it off."
            )
        given.add((name, label))
        of_model = changed.setdefault(name, {})
        if version:
            of_model[label] = int(version)
        elif of_model.pop(label, None) is None:
            raise InputError(
                f"`--label {text}` must name a label that is there; {name} has "
                f"{', '.join(sorted(of_model)) or 'none'}."
            )
    return changed


def _read(root: Path) -> Any:
    """Returns the ModelServerConfig that is there, or an empty one."""
    path = root / CONFIG_FILE
    proto, text_format = _protobuf()
    config = proto.ModelServerConfig()
    if not path.is_file():
        return config
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), config)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(
            f"`{path}` must be a ModelServerConfig of TensorFlow Serving; got {error}. "
            "Mend or remove it."
        ) from error


def _require_models(root: Path) -> dict[str, list[int]]:
    models = exported_models(root)
    if not models:
        raise InputError(
            f"`{root}` must hold exported models; it holds none. Run `tfcausal export "
            f"--root={root}` first."
        )
    return models


def _require_exported(labels: Labels, models: Mapping[str, list[int]]) -> None:
    for name, of_model in labels.items():
        if of_model and name not in models:
            raise unknown_name("model", name, models)
        for label, version in of_model.items():
            if version not in models.get(name, []):
                there = ", ".join(map(str, models.get(name, []))) or "none"
                raise InputError(
                    f"`{name}:{label}` must be an exported version; got {version}, "
                    f"and there are: {there}."
                )


def _protobuf() -> tuple[Any, Any]:
    try:
        from google.protobuf import text_format
        from tensorflow_serving.config import model_server_config_pb2
    except ImportError as error:
        raise ImportError(
            "models.config needs `pip install tensorflow-serving-api`."
        ) from error
    return model_server_config_pb2, text_format
