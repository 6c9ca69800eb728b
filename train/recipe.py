"""A recipe: every setting of a training run, from a TOML file and the command line.

    [model]
    width = 384

    [[stage]]
    kind = "text"
    steps = 350

    [[stage]]
    kind = "cross_entropy"
    epochs = 8

`train.settings` describes the tables, `train.stages` the kinds of stages.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from captioner.errors import DataError

from .settings import RECIPES, Group, Tables, recipe_names
from .stages import KINDS, Stage

GROUPS: dict[str, type[Group]] = {
    f.name: f.type for f in fields(Tables) if isinstance(f.type, type) and issubclass(f.type, Group)
}


@dataclass
class Recipe(Tables):
    """The tables, and the stages of the run one after the other."""

    stages: list[Stage] = field(default_factory=list)

    @classmethod
    def load(cls, name: str, changes: Mapping[str, Any] | None = None) -> "Recipe":
        """A recipe by name (a file of train/recipes) or path.

        Args:
            changes: other values for some fields, by names such as `model.width` and
                `stage.scst.lr`.

        Raises DataError for an unknown recipe, table, stage or field, and a value of a wrong type.
        """
        path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            known = ", ".join(recipe_names())
            raise DataError(f"There is no recipe {name!r}; known: {known}.") from error
        except (OSError, ValueError) as error:
            raise DataError(f"The recipe {path} cannot be read: {error}.") from error
        return cls.build({"name": path.stem, **values}, changes or {})

    @classmethod
    def build(cls, values: Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> "Recipe":
        """A recipe from the content of its file."""
        tables: dict[str, dict[str, Any]] = {}
        for table, content in values.items():
            if table in ("name", "stage"):
                continue
            if table not in GROUPS:
                raise _unknown_table(table)
            if not isinstance(content, dict):
                raise DataError(f"{table} must be a table, [{table}], not {content!r}.")
            tables[table] = dict(content)
        stages = _stages(values.get("stage", []))
        title = values.get("name", cls.name)
        for path, value in (changes or {}).items():
            if path == "name":
                title = value
            else:
                table, name = _place(path, stages)
                content = stages if table.startswith("stage.") else tables
                content.setdefault(table, {})[name] = value
        groups: dict[str, Any] = {
            table: GROUPS[table].filled(content, table) for table, content in tables.items()
        }
        return cls(
            name=str(title),
            stages=[_stage(table, content) for table, content in stages.items()],
            **groups,
        )

    def to_dict(self) -> dict[str, Any]:
        """What `build` takes, with every field."""
        tables = {table: asdict(getattr(self, table)) for table in GROUPS}
        return {
            "name": self.name, **tables,
            "stage": [{"kind": stage.KIND, **asdict(stage)} for stage in self.stages],
        }  # fmt: skip


def flat(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """`Recipe.to_dict()` as `changes`: every field by the name that the command line has for it."""
    found = {"name": recipe["name"]}
    for table in GROUPS:
        found |= {f"{table}.{name}": value for name, value in recipe[table].items()}
    for stage in recipe["stage"]:
        found |= {
            f"stage.{stage['name']}.{name}": value
            for name, value in stage.items()
            if name not in ("kind", "name")
        }
    return found


def _stages(content: Any) -> dict[str, dict[str, Any]]:
    """The [[stage]] tables of a file by `stage.NAME`."""
    if not isinstance(content, list) or not all(isinstance(stage, dict) for stage in content):
        raise DataError("The stages of a recipe are [[stage]] tables, in two pairs of brackets.")
    if not content:
        raise DataError(
            f"The recipe has no stage: give it [[stage]] tables, of kind {', '.join(KINDS)}."
        )
    found: dict[str, dict[str, Any]] = {}
    for stage in content:
        kind = stage.get("kind")
        if kind not in KINDS:
            raise DataError(f"The kind of a stage is one of {', '.join(KINDS)}; not {kind!r}.")
        name = stage.get("name") or kind
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise DataError(f"A stage's name is letters, digits, - and _; not {name!r}.")
        if f"stage.{name}" in found:
            raise DataError(f"Two stages are named {name!r}: give each a `name` of its own.")
        found[f"stage.{name}"] = stage | {"name": name}
    return found


def _stage(table: str, content: dict[str, Any]) -> Stage:
    kind = KINDS[content["kind"]]
    return kind.filled({k: v for k, v in content.items() if k != "kind"}, table)


def _place(path: str, stages: Mapping[str, Any]) -> tuple[str, str]:
    """`model.width` -> ("model", "width"); `stage.scst.lr` -> ("stage.scst", "lr"). Raises
    DataError where the recipe has no such table or stage."""
    table, dot, name = path.rpartition(".")
    if table in stages and name in ("kind", "name"):
        raise DataError(f"{path} cannot be set: a stage keeps what its recipe file calls it.")
    if table in GROUPS or table in stages:
        return table, name
    if table.startswith("stage."):
        has = ", ".join(stage.removeprefix("stage.") for stage in stages)
        raise DataError(f"The recipe has no stage {table.removeprefix('stage.')!r}; it has {has}.")
    if dot:
        raise _unknown_table(table)
    kinds: dict[str, type[Group]] = {**GROUPS, **{t: KINDS[s["kind"]] for t, s in stages.items()}}
    found = [f"{t}.{name}" for t, kind in kinds.items() if name in [f.name for f in fields(kind)]]
    raise DataError(
        f"A field has its table's name before it: {' or '.join(found)}, not {path!r}."
        if found
        else f"There is no field {path!r}; fields are named as in model.width and stage.scst.lr."
    )


def _unknown_table(table: str) -> DataError:
    return DataError(f"A recipe has no table {table!r}; known: {', '.join(GROUPS)}, stage.")
