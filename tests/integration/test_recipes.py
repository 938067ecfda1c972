"""Every recipe of the package, loaded and trained for two steps on tiny towers."""

import json
import math
import re
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest
import timm
import tokenizers
from PIL import Image
from pydantic import TypeAdapter
from tokenizers import models, pre_tokenizers

from dinotxt.config import differences, to_json
from dinotxt.files import read_json
from dinotxt.inference.defaults import read_defaults
from dinotxt.models.config import ModelConfig, PretrainedTextConfig
from dinotxt.recipes import recipe_names, recipe_path
from dinotxt.text.tokenizer import Tokenizer
from dinotxt.training.config import ModelStartConfig, TrainConfig
from dinotxt.training.trainer import Trainer

transformers = pytest.importorskip("transformers")

CLIP = Tokenizer.clip
TINY_VIT = "{embed_dim: 32, depth: 1, num_heads: 2, img_size: %d}"
OF_THE_PAPER = [name for name in recipe_names() if name.startswith(("table", "vit", "lit-"))]


@pytest.fixture(autouse=True)
def _one_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read CLIP's vocabulary once for all recipes."""
    monkeypatch.setattr(Tokenizer, "clip", _clip)


@cache
def _clip(context_length: int) -> Tokenizer:
    return CLIP(context_length)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures with captions, and a tiny BERT with its tokenizer."""
    path = tmp_path_factory.mktemp("recipes")
    rows = ["path,caption"]
    for number in range(4):
        Image.new("RGB", (32, 32), (60 * number, 0, 0)).save(path / f"{number}.png")
        rows.append(f"{number}.png,picture {number}")
    (path / "pairs.csv").write_text("\n".join(rows) + "\n")
    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "picture", *"0123"])}
    backend = tokenizers.Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    (path / "bert").mkdir()
    backend.save(str(path / "bert" / "tokenizer.json"))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
    bert = transformers.BertConfig(vocab_size=20, num_attention_heads=2, **sizes)
    transformers.BertModel(bert).save_pretrained(path / "bert")
    return path


def tiny(name: str, folder: Path, output: Path) -> TrainConfig:
    """Load a recipe with towers, data and steps made small, and everything else as it is."""
    recipe = TrainConfig.from_yaml(name)
    changes = [
        f"output={output}",
        "steps=2",
        "batch_size=4",
        "model.backbone.weights=random",
        "optim.warmup_steps=1",
        "data={train: %s, val: null, curation: null, num_workers: 0}" % (folder / "pairs.csv"),
    ]
    if recipe.model.backbone.name.startswith("vit_"):
        size = 2 * int(recipe.model.backbone.name.split("patch")[1].split("_")[0].split(".")[0])
        changes += [f"model.backbone.options={TINY_VIT % size}", f"data.size={size}"]
    else:
        changes.append("data.size=64")
    if isinstance(recipe.model.text_encoder, PretrainedTextConfig):
        changes.append(f"model.text_encoder.name={folder / 'bert'}")
        changes.append(f"model.text_encoder.trainable_layers={min(1, _trained(recipe))}")
    else:
        changes += [f"model.text_encoder.{key}=1" for key in ("layers", "heads")]
        changes.append("model.text_encoder.width=32")
    if recipe.start is not None:
        changes.append("model.vision_head.dim=32")  # the width of the text encoder
    if isinstance(recipe.start, ModelStartConfig):
        first = Trainer(tiny("lite", folder, output.parent / "first"), device="cpu").fit()
        changes.append(f"start.path={first.path / 'model'}")
    if recipe.teachers is not None:
        changes.append("teachers=null")  # it needs the classifier of the real backbone
    return TrainConfig.from_yaml(name, *changes)


def _trained(recipe: TrainConfig) -> int:
    assert isinstance(recipe.model.text_encoder, PretrainedTextConfig)
    return recipe.model.text_encoder.trainable_layers


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_trains_on_tiny_towers(name: str, folder: Path, tmp_path: Path) -> None:
    config = tiny(name, folder, tmp_path / "run")
    recipe = TrainConfig.from_yaml(name)
    assert replace(config.model.vision_head, dim=recipe.model.vision_head.dim) == (
        recipe.model.vision_head
    )
    assert config.loss == recipe.loss
    run = Trainer(config, device="cpu").fit()
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    losses = [line["loss"] for line in map(json.loads, lines) if "loss" in line]
    assert len(losses) == 2
    assert all(math.isfinite(loss) and loss >= 0 for loss in losses)


@pytest.mark.parametrize("name", OF_THE_PAPER)
def test_the_published_weights_that_a_recipe_names_exist(name: str) -> None:
    backbone = TrainConfig.from_yaml(name).model.backbone
    assert timm.is_model(backbone.name)
    if backbone.weights == "pretrained":
        assert timm.models.is_model_pretrained(backbone.name)


@pytest.mark.parametrize(
    ("name", "before", "keys"),
    [
        ("table3-avg-pool", "table3-reference", {"model.vision_head.pooling"}),
        ("table3-65k", "table3-avg-pool", {"batch_size"}),
        ("table3-1-block", "table3-65k", {"model.vision_head.num_blocks"}),
        ("table3-2-blocks", "table3-1-block", {"model.vision_head.num_blocks"}),
        (
            "table3-text-large",
            "table3-2-blocks",
            {f"model.text_encoder.{key}" for key in ("width", "layers", "heads")},
        ),
        ("table3-curation", "table3-text-large", {"data.curation"}),
        ("table4-none", "table4-image", {"data.curation"}),
        ("table5-336", "table3-curation", {"data.size"}),
        ("table2-avg", "table2-max", {"model.vision_head.pooling"}),
        ("table2-cls-max", "table3-avg-pool", {"model.vision_head.pooling"}),
        ("table9-projected", "table3-reference", {"model.vision_head.cls_projection"}),
        ("table1-dino-b8", "table3-reference", {"model.backbone.name"}),
    ],
)
def test_a_row_differs_from_the_one_before_in_what_the_table_says(
    name: str, before: str, keys: set[str]
) -> None:
    old, new = (to_json(TrainConfig.from_yaml(one)) for one in (before, name))
    changed = {line.partition(":")[0] for line in differences(old, new)}
    assert changed - {"output"} == keys


def test_the_recipes_hold_what_the_paper_states() -> None:
    reference, best = (TrainConfig.from_yaml(f"table3-{one}") for one in ("reference", "curation"))
    assert (reference.steps, reference.batch_size) == (50_000, 32_768)
    assert (best.steps, best.batch_size) == (50_000, 65_536)
    assert best.model.vision_head.pooling == "cls_avg"
    assert TrainConfig.from_yaml("table1-clip").model.backbone.frozen is False
    text = TrainConfig.from_yaml("lit-cc12m").model.text_encoder
    assert isinstance(text, PretrainedTextConfig)


@pytest.mark.parametrize("name", [one for one in OF_THE_PAPER if one != "vits14"])
def test_what_the_paper_does_not_state_is_marked_in_the_file(name: str) -> None:
    """A value is stated, marked as inferred, or comes from the file named as base."""
    text = recipe_path(name).read_text("utf-8")
    assert "inferred" in text or "base:" in text
    if "lr:" in text and name != "table1-clip":
        lines = [line for line in text.splitlines() if "lr:" in line]
        assert all("inferred" in line for line in lines)


def test_the_guide_names_every_recipe_of_the_paper_and_no_other() -> None:
    guide = Path(__file__).parents[2] / "docs" / "guides" / "scaling-out.md"
    named = set(re.findall(r"`((?:table|lit-)[\w-]+)`", guide.read_text("utf-8")))
    assert named == {name for name in recipe_names() if name.startswith(("table", "lit-"))}


def test_the_shipped_lite_model_says_what_its_recipe_says() -> None:
    recipe = TrainConfig.from_yaml("lite-cls")
    saved = read_json(Path(str(files("dinotxt"))) / "weights" / "lite" / "config.json")
    assert read_defaults(saved["extra"]) == recipe.inference
    shipped = TypeAdapter(ModelConfig).validate_python(saved["model"])
    assert shipped == recipe.model
