from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dinotxt.inference.classifier import ZeroShotClassifier
from dinotxt.inference.encoder import Encoder


def test_the_best_label_comes_first(client: TestClient, pictures: dict[str, Path]) -> None:
    answer = client.post(
        "/v1/classify",
        files={"image": pictures["green"].read_bytes()},
        data={"labels": ["red, green", "blue"], "templates": "{}"},
    )
    assert answer.status_code == 200
    labels = answer.json()["labels"]
    assert labels[0]["label"] == "green"
    assert sum(label["probability"] for label in labels) == pytest.approx(1)


def test_the_answer_equals_the_classifier_of_the_library(
    client: TestClient, colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    labels = ["red", "green | blue", "blue"]
    expected = ZeroShotClassifier(colour_encoder, labels, templates="simple")(pictures["half"])
    answer = client.post(
        "/v1/classify",
        files={"image": pictures["half"].read_bytes()},
        data={"labels": labels, "templates": "simple"},
    )
    found = [(one["label"], one["probability"]) for one in answer.json()["labels"]]
    assert found == [(one.label, one.probability) for one in expected.labels]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image": "http://127.0.0.1/x.jpg", "labels": "a"}, "image: send a file in this field"),
        ({"labels": "a"}, "image: this field is missing."),
    ],
)
def test_a_form_without_a_picture_is_refused_in_words(
    client: TestClient, fields: dict[str, str], message: str
) -> None:
    answer = client.post("/v1/classify", data=fields)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].startswith(message)


def test_what_is_wrong_with_a_picture_is_said_in_words(client: TestClient) -> None:
    answer = client.post("/v1/classify", files={"image": b"words"}, data={"labels": "a"})
    message = answer.json()["error"]["message"]
    assert message.startswith("The picture cannot be used: it is not a picture in one of")
