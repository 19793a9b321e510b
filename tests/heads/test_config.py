"""Parameters of the tasks: a value that does not fit is named, and no other one beside it."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from math import inf, nan

import pytest
from unitrack_edge.errors import RequestError
from unitrack_edge.heads.config import SotConfig
from unitrack_edge.tracking.registry import TASKS

NUMBERS = [
    (task, parameter.name)
    for task, spec in TASKS.items()
    for parameter in fields(spec.config)
    if isinstance(getattr(spec.config(), parameter.name), float | int)
    and not isinstance(parameter.default, bool)
]


@pytest.mark.parametrize(("task", "name"), NUMBERS)
def test_the_one_that_is_wrong_is_named(task, name):
    usual = TASKS[task].config()
    refused = False
    for value in (-7, 0, 1e9, nan, inf):
        try:
            replace(usual, **{name: value})
        except RequestError as error:
            refused = True
            said = re.split(r": expected|, expected|, which", str(error))[0] + " "
            named = [
                other
                for other in usual.__dataclass_fields__
                if said.startswith(f"--{task}-{other.replace('_', '-')} ")
                or f" got {other.replace('_', ' ')} " in said
            ]
            assert named == [name], said
    assert refused


CHOICES = [
    (task, parameter.name, parameter.metadata["choices"])
    for task, spec in TASKS.items()
    for parameter in fields(spec.config)
    if parameter.metadata.get("choices")
]


@pytest.mark.parametrize(("task", "name", "choices"), CHOICES)
def test_a_value_that_is_none_of_the_choices_is_refused(task, name, choices):
    said = f"{task}: got {name.replace('_', ' ')} 'other', expected one of {', '.join(choices)}"
    with pytest.raises(RequestError, match=f"^{said}$"):
        TASKS[task].config(**{name: "other"})


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        ({"focus": "off", "crop": 240}, "--sot-crop 240"),
        ({"focus": "off", "margin": 2.0}, "--sot-margin 2.0"),
        ({"padding": 2.0}, "--sot-padding 2.0"),
        ({"scale_step": 1.1}, "--sot-scale-step 1.1"),
        ({"scale_penalty": 0.5}, "--sot-scale-penalty 0.5"),
    ],
)
def test_what_the_other_focus_uses_is_named_alone(given, flag):
    with pytest.raises(RequestError, match=f"^{flag}: expected none, since focus"):
        SotConfig(**given)
