import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from dinotxt.inference.dense.modes import MODES, find_mode
from dinotxt.inference.encoder import Encoder
from dinotxt.inference.segmenter import Segmenter

LABELS = ["red", "green", "blue"]


def _post(client: TestClient, picture: Path, **fields: object) -> Any:
    data = {"labels": LABELS, "templates": "simple", **fields}
    return client.post("/v1/segment", files={"image": picture.read_bytes()}, data=data)


def _decode(content: bytes) -> NDArray[np.generic]:
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("mode", list(MODES))
def test_the_label_map_equals_that_of_the_library(
    client: TestClient, colour_encoder: Encoder, pictures: dict[str, Path], mode: str
) -> None:
    look = find_mode(mode, colour_encoder.defaults, crops=100 if mode == "highres" else None)
    segmenter = Segmenter(colour_encoder, LABELS, mode=look, templates="simple")
    expected = segmenter(pictures["half"])
    answer = _post(client, pictures["half"], mode=mode).json()
    label_map = _decode(base64.b64decode(answer["label_map"]))
    assert np.array_equal(label_map, expected.label_map)
    assert (answer["width"], answer["height"]) == (48, 40)
    assert {one["label"]: one["area"] for one in answer["labels"]} == expected.areas


def test_png_rle_and_json_hold_the_same_map(client: TestClient, pictures: dict[str, Path]) -> None:
    from_png = _decode(_post(client, pictures["half"], output="png").content)
    regions = _post(client, pictures["half"], output="rle").json()["labels"]
    for position, region in enumerate(regions):
        counts = region["counts"]
        mask = np.repeat(np.arange(len(counts)) % 2, counts).reshape((40, 48), order="F")
        assert np.array_equal(mask == 1, from_png == position)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_photos_that_lie_on_their_side_are_labelled_and_drawn_upright(
    client: TestClient, tmp_path: Path, kind: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn: what is below comes to the left
    picture = Image.new("RGB", (48, 32), "red")
    picture.paste("blue", (0, 16, 48, 32))
    path = tmp_path / "photo"
    picture.save(path, kind, exif=exif)
    answer = _post(client, path).json()
    assert (answer["width"], answer["height"]) == (32, 48)
    label_map = _decode(base64.b64decode(answer["label_map"]))
    assert (label_map[:, :12] == LABELS.index("blue")).all()
    assert (label_map[:, 20:] == LABELS.index("red")).all()
    assert _decode(_post(client, path, output="overlay").content).shape[1] >= 32


@pytest.mark.parametrize("opacity", [0.0, 0.8])
def test_the_overlay_equals_that_of_the_library(
    client: TestClient, colour_encoder: Encoder, pictures: dict[str, Path], opacity: float
) -> None:
    segmentation = Segmenter(colour_encoder, LABELS, templates="simple")(pictures["half"])
    expected = segmentation.overlay(pictures["half"], opacity)
    answer = _post(client, pictures["half"], output="overlay", opacity=opacity)
    assert answer.headers["content-type"] == "image/png"
    assert np.array_equal(_decode(answer.content), np.asarray(expected))


def test_a_stream_reports_progress_and_ends_with_the_result(
    client: TestClient, pictures: dict[str, Path]
) -> None:
    answer = _post(client, pictures["half"], mode="window", output="rle", stream="true")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert all("progress" in line for line in lines[:-1])
    assert lines[0]["progress"]["total"] >= 1
    assert (
        lines[-1]["result"] == _post(client, pictures["half"], mode="window", output="rle").json()
    )


def test_a_stream_of_a_bad_picture_is_a_plain_error(client: TestClient) -> None:
    answer = client.post(
        "/v1/segment", files={"image": b"nothing"}, data={"labels": "red", "stream": "true"}
    )
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "unusable"


def test_an_unknown_mode_names_those_that_exist(
    client: TestClient, pictures: dict[str, Path]
) -> None:
    answer = _post(client, pictures["half"], mode="telepathy")
    assert answer.status_code == 422
    assert "whole, window" in answer.json()["error"]["message"]


def test_highres_takes_as_many_views_as_are_asked_for(
    client: TestClient, pictures: dict[str, Path]
) -> None:
    fields = {"mode": "highres", "output": "rle", "stream": "true"}
    for crops in (3, 7):
        lines = _post(client, pictures["half"], crops=crops, **fields).text.splitlines()
        assert json.loads(lines[0])["progress"]["total"] == crops
    refusal = _post(client, pictures["half"], crops=801, mode="highres")
    assert refusal.status_code == 422
    assert "800" in refusal.json()["error"]["message"]
