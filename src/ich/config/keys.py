"""Every key of the config with its default, choices and meaning, from the schema itself."""

import types
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from ich.config import Experiment


class Key(NamedTuple):
    """One value of the config.

    Attributes:
        name: dotted, e.g. `split.unit`; of the items of a list `train.phases[].epochs`.
        default: as YAML; empty where the value must be given.
        choices: the words that it takes, if it takes certain words only.
        meaning: one sentence or more, with units.
    """

    name: str
    default: str
    choices: tuple[str, ...]
    meaning: str


def config_keys() -> Iterator[Key]:
    """All keys, in the order of the schema."""
    return _keys(Experiment, None, "", "")


WITHOUT_EFFECT = {"preprocess.workers", "copy.threads", "executor"}  # who does the work changes no byte


def differences(was: Mapping[str, Any], now: Mapping[str, Any], sections: Collection[str]) -> Iterator[str]:
    """Where two configs (as they are dumped) differ in some sections: "split.unit patient, now slice"."""
    before, after = _flat(was), _flat(now)
    for key in before | after:
        if key.partition(".")[0] in sections and key not in WITHOUT_EFFECT and before.get(key) != after.get(key):
            yield f"{key} {before.get(key, 'not set')}, now {after.get(key, 'not set')}"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _keys(model: type[BaseModel], defaults: BaseModel | None, prefix: str, about: str) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        default = getattr(defaults, name) if defaults is not None else field.default
        meaning = " ".join(part for part in (about, field.description) if part)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, default if isinstance(default, BaseModel) else None, f"{key}.", meaning)
            continue
        required = field.is_required() and defaults is None
        yield Key(key, "" if required else _yaml(default), _choices(field.annotation), meaning)
        for item in get_args(field.annotation):
            if isinstance(item, type) and issubclass(item, BaseModel):
                yield from _keys(item, None, f"{key}[].", "")


def _choices(annotation: Any) -> tuple[str, ...]:
    """Words of a Literal, alone or among other things that the key takes; a number beside them is `number`."""
    if get_origin(annotation) is Literal:
        return tuple(str(word) for word in get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [_choices(part) or ("number",) for part in get_args(annotation) if part is not type(None)]
        return tuple(word for part in parts for word in part) if any(part != ("number",) for part in parts) else ()
    return tuple(dict.fromkeys(word for part in get_args(annotation) for word in _choices(part)))


def _yaml(value: Any) -> str:
    plain = _plain(value)
    if plain is None:
        return "not set"
    return yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=10_000).removesuffix("\n...\n").strip()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
