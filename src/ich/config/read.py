"""Read a config file, replace keys from the command line, and say what is wrong with it in one line."""

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from ich.config import Evaluate, Experiment
from ich.config.keys import config_keys
from ich.errors import ConfigError, one_line, printable

_LONGEST_VALUE = 80  # characters of a wrong value that are shown


class _Loader(yaml.SafeLoader):
    """YAML without its traps: a key that stands twice is an error, and 007, 1.10 and 2024-06-01 stay the text they are.

    The schema makes a number of such a text where it wants one, so a run can be called 007.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuse duplicate keys, of which PyYAML would silently keep the last."""
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise yaml.YAMLError(
                    f"key {key.value} in line {line} stands in line {lines[key.value]} already; keep one of them"
                )
            lines[key.value] = line
        return node


def _number(loader: _Loader, node: yaml.ScalarNode) -> int | float | str:
    number: int | float = yaml.SafeLoader.yaml_constructors[node.tag](loader, node)
    return number if str(number) == node.value else str(node.value)


_Loader.add_constructor("tag:yaml.org,2002:int", _number)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: node.value)


def load(path: Path, overrides: dict[str, str] | None = None) -> Experiment:
    """Read and check a config file.

    Args:
        path: YAML file.
        overrides: dotted key -> text, e.g. {"split.unit": "slice"}; the text is read as YAML.

    Raises:
        ConfigError: the file cannot be read, or a key or value is wrong; the message names key, value and fix.
    """
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError as error:
        raise ConfigError(
            f"config file {path} does not exist; the folder configs of the source tree holds three to start from"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path} cannot be read: {error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: !!int abc; RecursionError: [[[[...
        raise ConfigError(f"config file {path} is not valid YAML: {one_line(error)}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"config file {path} must hold keys and values, such as `workspace: work/demo`")
    for key, text in (overrides or {}).items():
        _set(tree, key, text)
    return validate(tree, str(path))


def parse_overrides(tokens: tuple[str, ...]) -> dict[str, str]:
    """`--key.of.config value` or `--key.of.config=value` -> {"key.of.config": "value"}.

    Raises:
        ConfigError: a token is not a key, or a key has no value.
    """
    result, rest = {}, list(tokens)
    while rest:
        token = rest.pop(0)
        if not token.startswith("--"):
            raise ConfigError(f"{token!r} is not an option; overrides look like --split.unit slice")
        key, equals, value = token[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ConfigError(f"--{key} has no value; write --{key} VALUE")
            value = rest.pop(0)
        result[key.replace("-", "_")] = value
    return result


def validate(tree: dict[str, Any], source: str) -> Experiment:
    """Check a config given as nested dictionaries; `source` is named in the error."""
    _refuse_odd_text(tree, source)
    try:
        return Experiment.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{source}: " + "; ".join(_describe(item) for item in error.errors())) from error


_WITHOUT_CONFIG = ("threshold", "bootstrap", "local_prevalence", "mistakes")


def read_evaluate(overrides: dict[str, str]) -> Evaluate:
    """The settings of an evaluation without a config: defaults, and keys of `evaluate` that replace them.

    Raises:
        ConfigError: another key, or a value that it does not take.
    """
    tree: dict[str, Any] = {}
    for key, text in overrides.items():
        if key.removeprefix("evaluate.") not in _WITHOUT_CONFIG:
            known = ", ".join(f"--{name}" for name in _WITHOUT_CONFIG)
            raise ConfigError(f"--{key} needs a config (-c CONFIG); without one there are {known}")
        _set(tree, f"evaluate.{key.removeprefix('evaluate.')}", text)
    try:
        return Evaluate.model_validate(tree.get("evaluate", {}))
    except ValidationError as error:
        raise ConfigError("evaluate: " + "; ".join(_describe(item) for item in error.errors())) from error


def _refuse_odd_text(value: Any, source: str) -> None:
    """Bytes of the command line that are not UTF-8 come as text that no file can hold."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            _refuse_odd_text(part, source)
    elif isinstance(value, str) and not _is_text(value):
        raise ConfigError(f"{source}: {printable(Path(value))} is not UTF-8; rename it")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def in_section(name: str, overrides: dict[str, str]) -> dict[str, str]:
    """Complete the keys of a step's own section: of `ich phantom --headers clinical`, to `phantom.headers`.

    A key that stands at the top of the config, such as `name`, means that one.
    """
    section = _section(Experiment, name)
    own = set(_keys(section) if section else ()) - set(_keys(Experiment))
    return {f"{name}.{key}" if key.partition(".")[0] in own else key: text for key, text in overrides.items()}


def _set(tree: dict[str, Any], key: str, text: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        if tree.get(parent) is None:  # not there, or an empty section
            tree[parent] = {}
        tree = tree[parent]
        if not isinstance(tree, dict):
            raise ConfigError(f"--{key}: {parent} is a value, not a section")
    try:
        tree[last] = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError):
        tree[last] = text
    except RecursionError as error:
        raise ConfigError(f"--{key}: the value is nested too deep") from error


def _describe(item: Any) -> str:
    """One pydantic error as one clause: key, value, rule, fix."""
    location = [
        str(part) for part in item["loc"] if not str(part).startswith(("literal[", "constrained-", "function-"))
    ]
    key = ".".join(location) or "config"
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(location[-1], _keys_beside(location), n=1)
        near = near or [known.name for known in config_keys() if known.name.endswith(f".{location[-1]}")]
        return f"unknown key {key}" + (f"; did you mean {near[0]}?" if near else "; remove it")
    if item["type"] == "missing":
        return f"{key} is missing; add it"
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    return f"{key}: {item['msg'][0].lower()}{item['msg'][1:]}, got {_shown(item['input'])}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _keys_beside(location: list[str]) -> list[str]:
    model: type[BaseModel] | None = Experiment
    for part in location[:-1]:
        model = _section(model, part) if model else None
    return _keys(model) if model else []


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _section(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The schema under a key; None for a value, or for no key of that name."""
    fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    found = fields.get(key)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None
