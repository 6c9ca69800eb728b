"""Recipes: tables and stages, every field described, mistakes told with what is known."""

import ast
import inspect
import json
from dataclasses import dataclass, fields
from typing import ClassVar

import pytest

from captioner.errors import DataError
from train import loop
from train.recipe import GROUPS, Recipe, flat
from train.settings import Group, recipe_names
from train.stages import KINDS
from train.stages.base import PhotoStage, Stage

from .test_train import squares, trainer  # noqa: F401 (a fixture)

TWICE = {
    "stage": [
        {"kind": "cross_entropy", "epochs": 8},
        {"kind": "cross_entropy", "name": "polish", "epochs": 2, "lr": 1e-4},
    ]
}


def described(kind: type) -> set[str]:
    """The fields of a class that have a text under them, in the class or one that it extends."""
    found = set()
    for base in (b for b in kind.__mro__ if b is not object):
        (made,) = ast.parse(inspect.cleandoc(inspect.getsource(base))).body
        for statement, after in zip(made.body, made.body[1:], strict=False):
            text = getattr(getattr(after, "value", None), "value", None)
            if isinstance(statement, ast.AnnAssign) and isinstance(text, str):
                found.add(statement.target.id)
    return found


@pytest.mark.parametrize("kind", [*GROUPS.values(), *KINDS.values()])
def test_every_field_is_described_where_it_stands(kind):
    assert {f.name for f in fields(kind)} <= described(kind)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_is_what_its_json_says(name):
    given = {"stage.distil.teachers": "here=1"} if name == "builtin-distil" else {}
    recipe = Recipe.load(name, given)
    assert Recipe.build(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert Recipe.load(name, {k: str(v) for k, v in flat(recipe.to_dict()).items()}) == recipe


def test_a_kind_that_comes_twice_is_known_by_its_names():
    recipe = Recipe.build(TWICE, {"stage.polish.lr": "3e-4", "model.width": "64"})
    first, second = recipe.stages
    assert (first.name, first.lr) == ("cross_entropy", 6e-4)
    assert (second.name, second.lr, second.epochs) == ("polish", 3e-4, 2)
    assert recipe.model.width == 64


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({}, "has no stage: give it .*text, cross_entropy, scst, distil"),
        ({"stage": {"kind": "text"}}, "two pairs of brackets"),
        ({"stage": [{"epochs": 3}]}, "one of text, cross_entropy, scst, distil; not None"),
        ({"stage": [{"kind": "polish"}]}, "not 'polish'"),
        ({"stage": [{"kind": "text"}, {"kind": "text"}]}, "Two stages are named 'text'"),
        ({"stage": [{"kind": "text", "name": "a/b"}]}, "letters, digits"),
        ({"stage": [{"kind": "text", "epochs": 3}]}, "stage.text has no field 'epochs'; known: na"),
        ({"stage": [{"kind": "distil"}]}, "--set stage.distil.teachers=FOLDER=WEIGHT"),
        ({"stage": [{"kind": "scst", "samples": 1}]}, "stage.scst.samples must be at least 2"),
        ({"stage": [{"kind": "scst", "baseline": "best"}]}, "must be mean or greedy, not 'best'"),
        ({**TWICE, "epochs": 3}, "no table 'epochs'; known: model, data"),
        ({**TWICE, "model": 3}, r"model must be a table, \[model\]"),
        ({**TWICE, "model": {"width": True}}, "model.width must be a whole number, not True"),
        ({**TWICE, "model": {"width": 1.5}}, "model.width must be a whole number, not 1.5"),
        ({**TWICE, "model": {"dropout": "inf"}}, "model.dropout must be a number"),
        ({**TWICE, "model": {"encoder": 5}}, "model.encoder must be a text"),
        ({**TWICE, "run": {"compile": "maybe"}}, "run.compile must be true or false"),
        ({**TWICE, "data": {"features": "warm"}}, "cached or live, not 'warm'"),
        ({**TWICE, "validation": {"photos": 1}}, "validation.photos must be at least 2"),
    ],
)
def test_a_mistake_in_a_recipe_is_a_sentence(content, sentence):
    with pytest.raises(DataError, match=sentence):
        Recipe.build(content)


@dataclass
class Parrot(PhotoStage):
    """A stage of somebody's own: cross-entropy by another name."""

    KIND: ClassVar[str] = "parrot"
    epochs: int = 1
    lr: float = 1e-3
    begun: ClassVar[list[str]] = []

    def begin(self, model):
        self.begun.append(self.name)

    def terms(self, setup, step, piece):
        return setup.batches.terms("parrot", piece, piece.rows)

    def figure(self, losses, seconds):
        return f"squawks {len(losses)}"

    def card(self):
        return ["It repeats."]


def test_the_loop_trains_a_stage_that_it_has_never_heard_of(squares, tmp_path):  # noqa: F811
    run = trainer(squares, tmp_path, {"stage.text.steps": 0, "validation.previews": 0})
    run.recipe.stages = [Parrot("polly"), Parrot("poll", epochs=0), Parrot("jack")]
    run.progress["stage"] = "polly"
    run.run()
    assert [entry["stage"] for entry in run.progress["log"]] == ["polly", "jack"]
    assert Parrot.begun == ["polly", "jack"]
    assert "polly 2/2  squawks 2" in (tmp_path / "log.txt").read_text()
    card = (tmp_path / "last" / "MODEL_CARD.md").read_text()
    assert "## Stage polly\nIt repeats." in card and "Stage poll\n" not in card


def test_the_loop_knows_no_stage_by_name():
    words = set(inspect.getsource(loop).replace("-", "_").split())
    assert not any(name in word for word in words for name in KINDS if name != "text")
    assert not any(isinstance(kind, type) and issubclass(kind, Stage) and kind is not Stage
                   for kind in vars(loop).values())  # fmt: skip


def test_groups_say_their_own_names():
    assert all(name == group.TABLE for name, group in GROUPS.items())
    assert all(issubclass(kind, Group) and kind().name == name for name, kind in KINDS.items()
               if name != "distil")  # fmt: skip
