from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from dinotxt.data.pictures.transform import Transform
from dinotxt.inference.encoder import Encoder
from dinotxt.serving.app import create_app
from dinotxt.serving.config import ServeConfig

TEXTS = ["red", "green blue", "red"]


def test_text_features_equal_those_of_the_library(
    client: TestClient, colour_encoder: Encoder
) -> None:
    answer = client.post("/v1/embed/texts", json={"texts": TEXTS})
    assert answer.json()["dim"] == colour_encoder.embed_dim
    found = np.array(answer.json()["embeddings"])
    assert np.allclose(found, colour_encoder.encode_text(TEXTS), atol=1e-6)


def test_a_text_is_encoded_once(client: TestClient, colour_towers: Any) -> None:
    for _ in range(3):
        client.post("/v1/embed/texts", json={"texts": TEXTS})
    assert colour_towers.num_texts == 2
    counts = client.get("/metrics").text
    assert 'dinotxt_cached_texts_total{outcome="hit"} 4.0' in counts


def test_image_features_equal_those_of_the_library(
    client: TestClient, colour_encoder: Encoder, pictures: dict[str, Path]
) -> None:
    paths = [pictures["red"], pictures["half"]]
    files = [("images", path.read_bytes()) for path in paths]
    found = np.array(client.post("/v1/embed/images", files=files).json()["embeddings"])
    assert np.allclose(found, colour_encoder.encode_image(paths), atol=1e-6)


@pytest.mark.parametrize("body", [{"texts": []}, {"texts": [1]}, {"text": ["a"]}, [], "x", None])
def test_a_body_of_another_shape_is_refused(client: TestClient, body: object) -> None:
    answer = client.post("/v1/embed/texts", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["status"] == 422


def test_half_a_surrogate_pair_is_refused(client: TestClient) -> None:
    body = b'{"texts": ["\\ud800"]}'
    answer = client.post(
        "/v1/embed/texts", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422


def test_thumbnails_and_pictures_of_one_request_each_get_their_own_features(
    colour_encoder: Encoder, pictures: dict[str, Path], tmp_path: Path
) -> None:
    Image.new("RGB", (20, 20), (0, 0, 255)).save(tmp_path / "thumbnail.png")
    config = replace(colour_encoder.transform.config, size=96, max_enlarge=4.0)
    encoder = replace(colour_encoder, transform=Transform(config))
    paths = [pictures["red"], tmp_path / "thumbnail.png", pictures["half"]]
    files = [("images", path.read_bytes()) for path in paths]
    with TestClient(create_app(encoder, ServeConfig()), base_url="http://localhost") as own:
        found = np.array(own.post("/v1/embed/images", files=files).json()["embeddings"])
    assert np.allclose(found, encoder.encode_image(paths), atol=1e-6)
