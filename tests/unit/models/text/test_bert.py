import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from dinotxt.models.config import PretrainedTextConfig
from dinotxt.models.text.bert import Bert, load_bert
from dinotxt.models.text.pretrained_text import PretrainedTextEncoder

transformers = pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}


def save(folder: Path, *, pooler: bool = True, **changes: Any) -> Any:
    model = transformers.BertModel(
        transformers.BertConfig(**SIZES, **changes), add_pooling_layer=pooler
    ).eval()
    for value in model.parameters():  # biases and norms that start at 0 and 1 would hide errors
        torch.nn.init.normal_(value, std=0.3)
    model.save_pretrained(folder)
    return model


def load(folder: Path) -> Bert:
    model = load_bert(folder)
    assert model is not None
    return model.eval()


@pytest.mark.parametrize("pooler", [True, False])
def test_tokens_and_names_are_those_of_transformers(tmp_path: Path, pooler: bool) -> None:
    theirs = save(tmp_path, pooler=pooler, layer_norm_eps=1e-3)
    ours = load(tmp_path)
    names = [name for name, _ in ours.named_parameters()]
    assert names == [name for name, _ in theirs.named_parameters()]
    ids = torch.randint(0, 50, (6, 9))
    mask = torch.arange(9) < torch.tensor([[9], [1], [4], [7], [2], [9]])
    expected = theirs(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    got = ours(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(got[mask], expected[mask], rtol=1e-5, atol=1e-5)
    full = ours(input_ids=ids).last_hidden_state
    torch.testing.assert_close(full, theirs(input_ids=ids).last_hidden_state, rtol=1e-5, atol=1e-5)


def test_a_model_with_heads_of_its_own_is_read_without_them(tmp_path: Path) -> None:
    model = transformers.BertForMaskedLM(transformers.BertConfig(**SIZES)).eval()
    model.save_pretrained(tmp_path)
    ids = torch.randint(0, 50, (2, 5))
    expected = model.bert(input_ids=ids).last_hidden_state
    torch.testing.assert_close(load(tmp_path)(input_ids=ids).last_hidden_state, expected)


def test_the_tower_takes_it_and_leaves_transformers_alone(tmp_path: Path) -> None:
    save(tmp_path)
    code = (
        "import sys; from dinotxt.models.config import PretrainedTextConfig as Config;"
        "from dinotxt.models.text.pretrained_text import PretrainedTextEncoder as Encoder;"
        f"Encoder(Config(name={str(tmp_path)!r}), 8); assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "changes", [{"hidden_act": "relu"}, {"is_decoder": True}], ids=["activation", "decoder"]
)
def test_another_kind_of_bert_is_left_to_transformers(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    save(tmp_path, **changes)
    assert load_bert(tmp_path) is None
    config = PretrainedTextConfig(name=str(tmp_path), trainable_layers=1, dropout=0.5)
    encoder = PretrainedTextEncoder(config, 8)
    assert isinstance(encoder.encoder, transformers.BertModel)
    layer = encoder.encoder.encoder.layer[2]
    assert (layer.attention.self.dropout.p, layer.output.dropout.p) == (0, 0.5)


def test_other_folders_are_left_to_transformers(tmp_path: Path) -> None:
    assert load_bert(tmp_path) is None
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert load_bert(tmp_path) is None
