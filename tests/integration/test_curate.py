"""``dinotxt curate``: every verb, bad input, the report."""

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from dinotxt.cli.main import app
from dinotxt.config import load_config
from dinotxt.curation.config import CurationConfig
from dinotxt.curation.pipeline import curate
from dinotxt.data.order.curated import CuratedPairs
from dinotxt.errors import ConfigError, DataError
from dinotxt.files import one_writer


def _run(settings: dict[str, Any], verb: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    path = Path(settings["output"]).parent / "curation.yaml"
    path.write_text(yaml.safe_dump(settings))
    command = ["curate", verb, str(path), *arguments, "--json", "-"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code in (0, 1, 3), result.output
    return result.exit_code, json.loads(result.stdout) if result.exit_code != 1 else {}


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("verb", "stage"),
    [("metadata", "metadata"), ("match", "match"), ("balance", "balance"), ("embed", "embed"),
     ("cluster", "cluster"), ("draw", "draw"), ("run", "run")],
)  # fmt: skip
def test_every_verb_reports_what_came_in_and_out(
    settings: dict[str, Any], verb: str, stage: str
) -> None:
    code, result = _run(settings, verb)
    assert code == 0
    assert {"stage", "n_in", "n_out", "reasons", "files", "complete"} <= result.keys()
    assert result["stage"] == stage
    assert result["complete"] is True
    assert result["n_in"] - result["n_out"] == sum(result["reasons"].values())
    assert all(Path(file).is_file() for file in result["files"])


def test_a_draw_is_sorted_and_what_training_reads(settings: dict[str, Any]) -> None:
    code, result = _run(settings, "draw", "--epoch", "3")
    assert code == 0
    ids = np.load(Path(settings["output"]) / "draws" / "epoch-3.npy")
    assert ids.dtype == np.uint64
    assert (np.diff(ids) > 0).all()
    assert len(ids) == result["kept"] == result["n_out"]
    assert result["epoch"] == 3
    assert result["kept"] <= min(result["kept_text"], result["kept_image"])
    curated = CuratedPairs(settings["output"])
    every = np.sort(np.concatenate([records["pair_id"] for records in curated.tables()]))
    assert every[curated.keeps(every, 3)].tolist() == ids.tolist()
    assert not curated.keeps([12345], 3).any()
    assert every[curated.keeps(every, 4)].tolist() != ids.tolist()


def test_unmatched_captions_are_never_kept_by_text(settings: dict[str, Any]) -> None:
    _, matched = _run(settings, "match")
    assert matched["reasons"] == {"no metadata entry matched": 60}
    _, drawn = _run(settings, "draw", "draw.mode=text")
    assert drawn["kept"] == drawn["kept_text"] <= 60


def test_modes_share_one_output(settings: dict[str, Any]) -> None:
    kept = {}
    for mode in ("text", "both", "image", "none"):
        code, result = _run(settings, "draw", f"draw.mode={mode}")
        assert code == 0
        assert result["n_in"] - result["n_out"] == sum(result["reasons"].values())
        kept[mode] = set(np.load(Path(settings["output"]) / "draws" / "epoch-0.npy").tolist())
    assert kept["both"] == kept["text"] & kept["image"]
    assert len(kept["none"]) == 120


def test_the_target_is_met_on_average(settings: dict[str, Any]) -> None:
    _, result = _run(settings, "cluster")
    assert result["details"]["expected"] == pytest.approx(60, abs=1e-3)
    curated = []
    for epoch in range(20):
        _, drawn = _run(settings, "draw", "draw.mode=image", "--epoch", str(epoch))
        curated.append(drawn["kept"])
    assert np.mean(curated) == pytest.approx(60, abs=6)


def test_a_manifest_holds_the_kept_pairs(settings: dict[str, Any], tmp_path: Path) -> None:
    _, drawn = _run(settings, "draw", "--manifest", str(tmp_path / "kept.jsonl"))
    rows = [json.loads(line) for line in (tmp_path / "kept.jsonl").read_text().splitlines()]
    assert sorted(row["pair_id"] for row in rows) == np.load(drawn["files"][0]).tolist()
    assert {"key", "caption", "path", "offset", "size"} <= rows[0].keys()
    for suffix in ("csv", "parquet"):
        path = tmp_path / f"kept.{suffix}"
        assert _run(settings, "draw", "--manifest", str(path))[0] == 0
        assert path.stat().st_size > 0
    assert _run(settings, "draw", "--manifest", str(tmp_path / "kept.xlsx"), "--epoch", "9")[0] == 1
    assert not (Path(settings["output"]) / "draws" / "epoch-9.npy").exists()


def test_the_report_names_every_step_and_shows_pictures(settings: dict[str, Any]) -> None:
    _, result = _run(settings, "run")
    folder = Path(settings["output"]) / "report"
    report = json.loads((folder / "report.json").read_text())
    assert [stage["stage"] for stage in report["stages"]] == [
        "pairs", "metadata", "match", "balance", "embed", "cluster", "sample", "keep",
    ]  # fmt: skip
    assert report["draw"]["kept"] == result["kept"]
    assert -1 <= report["joint"]["correlation"] <= 1
    assert {"kept", "dropped by text"} <= report["examples"].keys()
    markdown = (folder / "report.md").read_text()
    assert "| balance | 120 |" in markdown
    assert "Metadata: 100 numbers, 86,554 wordnet." in markdown
    assert "Clusters by level: 8, 3;" in markdown
    assert "Both balances keep" in markdown
    page = (folder / "index.html").read_text()
    assert "data:image/jpeg;base64," in page
    assert "<svg" in page
    _run(settings, "run", "draw.mode=text")
    assert "Both balances" not in (folder / "report.md").read_text()


def test_a_second_run_does_nothing_again(settings: dict[str, Any]) -> None:
    _run(settings, "run")
    folder = Path(settings["output"])
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*/stage.json")}
    _run(settings, "run")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*/stage.json")} == before


@pytest.mark.parametrize(
    "change",
    ["text.threshold=7", "image.target=0.4", "image.levels=[7,3]", "match.normalize=casefold",
     "metadata.size=100", "seed=1"],
)  # fmt: skip
def test_a_changed_configuration_is_refused_with_the_difference(
    settings: dict[str, Any], change: str
) -> None:
    config = load_config(CurationConfig, settings)
    curate(config, "draw")
    key, _, value = change.partition("=")
    parts = key.split(".")
    changed = json.loads(json.dumps(settings))
    target = changed
    for part in parts[:-1]:
        target = target.setdefault(part, {})
    target[parts[-1]] = yaml.safe_load(value)
    before = _digests(config.output)
    with pytest.raises(ConfigError, match=parts[-1]):
        curate(load_config(CurationConfig, changed), "draw")
    assert _digests(config.output) == before


def test_a_torn_shard_marks_the_run_incomplete_until_it_is_mended(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    torn = tmp_path / "00001.tar"
    content = torn.read_bytes()
    torn.write_bytes(content[:9000])
    code, result = _run(settings, "run")
    assert code == 3
    assert result["complete"] is False
    assert any(skip["path"] == str(torn) for skip in result["skipped"])
    assert "Incomplete" in (tmp_path / "out" / "report" / "report.md").read_text()
    torn.write_bytes(content)
    code, result = _run(settings, "run")
    assert (code, result["complete"]) == (0, True)
    clean = {**settings, "output": str(tmp_path / "clean")}
    _run(clean, "run")
    mended, fresh = _digests(tmp_path / "out"), _digests(tmp_path / "clean")
    draws = "draws/epoch-0.npy"
    assert mended[draws] == fresh[draws]


@pytest.mark.parametrize("verb", ["metadata", "match", "balance"])
def test_every_step_names_a_shard_that_is_missing(settings: dict[str, Any], verb: str) -> None:
    settings["input"] = str(Path(settings["input"]).parent / "{00000..00003}.tar")
    settings["metadata"] = {"sources": ["captions"]}
    code, result = _run(settings, verb)
    assert code == 3
    assert result["complete"] is False
    assert [Path(skip["path"]).name for skip in result["skipped"]] == ["00003.tar"]


def test_the_figures_of_a_step_are_printed(settings: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "curation.yaml"
    path.write_text(yaml.safe_dump(settings))
    result = CliRunner().invoke(app, ["curate", "metadata", str(path)])
    assert "composition: numbers 100, wordnet 86,554" in result.stdout
    result = CliRunner().invoke(app, ["curate", "balance", str(path)])
    assert "threshold: 6" in result.stdout


def test_the_device_may_be_found(settings: dict[str, Any]) -> None:
    settings["image"]["device"] = "auto"
    code, result = _run(settings, "cluster")
    assert (code, result["complete"]) == (0, True)


def test_an_unreadable_picture_is_a_reason(settings: dict[str, Any], tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "00003.tar", "w") as tar:
        for name, content in (("z.png", b"no picture"), ("z.txt", b"a dog")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    code, result = _run(settings, "embed")
    assert code == 3
    assert result["reasons"] == {"unreadable picture": 1}
    assert [skip["reason"] for skip in result["skipped"]] == ["unreadable picture"]
    assert result["complete"] is True
    _, drawn = _run(settings, "draw", "draw.mode=image")
    assert drawn["kept"] < 121


@pytest.mark.parametrize(
    ("change", "message"),
    [({"image": {"target": 500}}, "pool has 120 pairs"),
     ({"image": {"levels": [61, 3]}}, "cannot make 61 clusters")],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_pictures_are_embedded(
    settings: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    settings["image"] = {**settings["image"], **change["image"]}
    with pytest.raises(DataError, match=message):
        curate(load_config(CurationConfig, settings), "cluster")
    assert not (Path(settings["output"]) / "embed").exists()


@pytest.mark.parametrize(
    ("output", "message"),
    [("taken", "taken is a file"), ("taken/below", r"taken.* stopped: .*another `output`")],
)
def test_an_output_that_cannot_be_written_is_told_in_one_message(
    settings: dict[str, Any], tmp_path: Path, output: str, message: str
) -> None:
    (tmp_path / "taken").touch()
    settings["output"] = str(tmp_path / output)
    with pytest.raises(DataError, match=message):
        curate(load_config(CurationConfig, settings), "metadata")


def test_the_folder_of_the_configuration_is_not_taken_as_output(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    settings["output"] = str(own)
    for name in ("config.yaml", ".notes.abcdefgh.tmp"):
        (own / name).write_text("mine")
    with pytest.raises(DataError, match=r"own holds other files \(config\.yaml\)"):
        curate(load_config(CurationConfig, settings), "metadata")
    assert sorted(path.name for path in own.iterdir()) == [".notes.abcdefgh.tmp", "config.yaml"]


def test_a_curation_deletes_only_its_own_unfinished_files(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    config = load_config(CurationConfig, settings)
    curate(config, "metadata")
    (config.output / "notes").mkdir()
    stranger = config.output / "notes" / ".draft.abcdefgh.tmp"
    own = config.output / "metadata" / ".entries.txt.abcdefgh.tmp"
    for path in (stranger, own):
        path.touch()
    curate(config, "metadata")
    assert stranger.exists()
    assert not own.exists()


def test_two_curations_of_one_output_do_not_meet(settings: dict[str, Any]) -> None:
    config = load_config(CurationConfig, settings)
    with (
        one_writer(config.output, "curate"),
        pytest.raises(DataError, match=r"is being written by `dinotxt curate` \(process"),
    ):
        curate(config, "metadata")


def test_a_full_disk_is_told_and_the_run_goes_on_later(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(CurationConfig, settings)
    whole = replace(config, output=tmp_path / "whole")
    curate(whole, "run")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    for module in ("text.match", "pictures.embed", "pictures.level", "keep"):
        with monkeypatch.context() as patch:
            patch.setattr(f"dinotxt.curation.{module}.save_array", full)
            with pytest.raises(DataError, match="No space left on device"):
                curate(config, "run")
    curate(config, "run")
    written, expected = _digests(config.output), _digests(whole.output)
    assert written == expected


def test_plan_prints_a_row_a_stage_for_any_pool(settings: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(settings))
    result = CliRunner().invoke(app, ["plan", str(path), "--pairs", "1000000", "--json", "-"])
    assert result.exit_code == 0
    content = json.loads(result.stdout)
    assert [row["stage"] for row in content["rows"]] == [
        "pairs", "match", "balance", "embed", "cluster level 1", "cluster level 2", "draw", "total",
    ]  # fmt: skip
    assert content["rows"][-1]["core_hours"] > 0
    unread = CliRunner().invoke(app, ["plan", str(path)])
    assert unread.exit_code == 1
    assert "--pairs" in unread.stderr
    keys = ("read_rate", "match_rate", "balance_rate", "kmeans_gflops", "draw_rate")
    figures = {key: {"value": 1e6} for key in keys}
    (tmp_path / "rates.json").write_text(json.dumps({"figures": figures}))
    command = ["plan", str(path), "--pairs", "36000000", "--rates", str(tmp_path / "rates.json")]
    measured = CliRunner().invoke(app, [*command, "--json", "-"])
    assert json.loads(measured.stdout)["rows"][1]["core_hours"] == 0.01
