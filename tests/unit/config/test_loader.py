from dataclasses import FrozenInstanceError, field, replace
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from dinotxt.config import configuration, differences, dump_yaml, load_config
from dinotxt.errors import ConfigError


@configuration
class Head:
    num_blocks: int = 2


@configuration
class Small:
    kind: Literal["small"] = "small"
    width: int = 8


@configuration
class Large:
    kind: Literal["large"] = "large"
    layers: int = 3


@configuration
class Run:
    output: str
    lr: float = 1e-3
    head: Head = Head()
    text: Annotated[Small | Large, Field(discriminator="kind")] = Small()


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_overrides_win_over_the_file_and_the_file_over_its_base(tmp_path: Path) -> None:
    _write(tmp_path / "base.yaml", "output: a\nlr: 1\nhead: {num_blocks: 1}\n")
    file = _write(tmp_path / "run.yaml", "base: base.yaml\nlr: 2\n")
    run = load_config(Run, file, ["head.num_blocks=5"])
    assert (run.output, run.lr, run.head.num_blocks) == ("a", 2.0, 5)


def test_scientific_notation_is_a_number() -> None:
    assert load_config(Run, {"output": "a"}, ["lr=5e-4"]).lr == 5e-4


def test_another_kind_replaces_the_whole_branch(tmp_path: Path) -> None:
    _write(tmp_path / "base.yaml", "output: a\ntext: {kind: small, width: 4}\n")
    file = _write(tmp_path / "run.yaml", "base: base.yaml\ntext: {kind: large}\n")
    assert load_config(Run, file).text == Large(layers=3)


def test_an_override_inside_a_branch_keeps_its_kind() -> None:
    tree = {"output": "a", "text": {"kind": "large", "layers": 9}}
    assert load_config(Run, tree, ["text.layers=4"]).text == Large(layers=4)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lrr=1", r"lrr: unknown key; did you mean `lr`\?"),
        ("head.num_block=1", r"head\.num_block: unknown key; did you mean `num_blocks`\?"),
        ("text.widht=1", r"^text\.widht: unknown key; did you mean `width`\?"),
        ("text={kind: large, layrs: 1}", r"^text\.layrs: unknown key; did you mean `layers`\?"),
        ("text.kind=middle", r"text: .*'small', 'large'"),
        ("zzz=1", r"zzz: unknown key; known keys: head, lr, output, text"),
        ("lr=fast", r"lr: .*got 'fast'"),
        ("no_equals_sign", r"write `dotted\.key=value`"),
    ],
)
def test_a_wrong_override_names_the_path_and_the_nearest_key(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(Run, {"output": "a"}, [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n", "key: value"),
        ("a: [\n", "not valid YAML"),
        ("base: run.yaml\n", "circle"),
        ("output: a\noptim: {lr: 1, lr: 2}\n", "the key `lr` comes twice; remove one"),
        ("? [1]\n: 2\n", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(Run, _write(tmp_path / "run.yaml", text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_config(Run, tmp_path / "none.yaml")


@configuration
class Ordered:
    low: Annotated[int, Field(ge=0)] = 0
    high: int = 1

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low must not be above high")


@configuration
class Outer:
    limits: Ordered = field(default_factory=Ordered)


def test_a_rule_over_a_branch_is_told_without_the_branch() -> None:
    with pytest.raises(ConfigError, match=r"^limits: low must not be above high$"):
        load_config(Outer, {"limits": {"low": 3}})


def test_a_rule_over_the_whole_is_told_without_a_path() -> None:
    with pytest.raises(ConfigError, match=r"^low must not be above high$"):
        load_config(Ordered, {"low": 3})


def test_ranges_and_rules_hold_for_what_is_made_by_hand_too() -> None:
    with pytest.raises(ConfigError, match=r"^low: .*greater than or equal to 0 \(got -1\)$"):
        Ordered(low=-1)
    with pytest.raises(ConfigError, match=r"^low must not be above high$"):
        replace(Ordered(), low=2)
    with pytest.raises(ConfigError, match=r"^hihg: unknown key; did you mean `high`\?$"):
        Ordered(hihg=2)  # type: ignore[call-arg]
    with pytest.raises(FrozenInstanceError):
        Ordered().low = 1  # type: ignore[misc]


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match="output: Field required"):
        load_config(Run, {})


def test_a_dumped_configuration_reads_back_equal(tmp_path: Path) -> None:
    run = Run(output="x", lr=7e-4)
    assert load_config(Run, _write(tmp_path / "a.yaml", dump_yaml(run))) == run


def test_differences_name_each_changed_key() -> None:
    old, new = {"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}
    assert differences(old, new) == ["a.c: 2 -> 3", "d: (absent) -> 4"]
