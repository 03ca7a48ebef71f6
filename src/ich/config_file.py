"""Read a config file, replace keys from the command line, and say what is wrong with it in one line."""

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from ich.config import Experiment
from ich.errors import ConfigError


def load(path: Path, overrides: dict[str, str] | None = None) -> Experiment:
    """Read and check a config file.

    Args:
        path: YAML file.
        overrides: dotted key -> text, e.g. {"split.unit": "slice"}; the text is read as YAML.

    Raises:
        ConfigError: the file cannot be read, or a key or value is wrong; the message names key, value and fix.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"config file {path} does not exist; configs/ holds three to start from") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path} cannot be read: {error}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: 2024-99-99 looks like a date
        raise ConfigError(f"config file {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"config file {path} must hold keys and values, such as `workspace: work/demo`")
    for key, text in (overrides or {}).items():
        _set(tree, key, text)
    return validate(tree, str(path))


def validate(tree: dict[str, Any], source: str) -> Experiment:
    """Check a config given as nested dictionaries; `source` is named in the error."""
    try:
        return Experiment.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{source}: " + "; ".join(_describe(item) for item in error.errors())) from error


def _set(tree: dict[str, Any], key: str, text: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--{key}: {parent} is a value, not a section")
    try:
        tree[last] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        tree[last] = text


def _describe(item: Any) -> str:
    """One pydantic error as one clause: key, value, rule, fix."""
    location = [
        str(part) for part in item["loc"] if not str(part).startswith(("literal[", "constrained-", "function-"))
    ]
    key = ".".join(location) or "config"
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(location[-1], _keys_beside(location), n=1)
        return f"unknown key {key}" + (f"; did you mean {near[0]}?" if near else "; remove it")
    if item["type"] == "missing":
        return f"{key} is missing; add it"
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    return f"{key}: {item['msg'][0].lower()}{item['msg'][1:]}, got {item['input']!r}"


def _keys_beside(location: list[str]) -> list[str]:
    model: Any = Experiment
    for part in location[:-1]:
        field = model.model_fields.get("copy_" if part == "copy" else part)
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            return []
        model = field.annotation
    return [field.alias or name for name, field in model.model_fields.items()]
