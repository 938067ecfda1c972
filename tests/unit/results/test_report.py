import json
from dataclasses import replace

from dinotxt.results.report import PublishedFigure, Report


def _report() -> Report:
    return Report(
        task="segmentation",
        model="lite",
        data="camvid",
        n=2,
        metrics={"miou": 0.25, "iou": {"road": 0.25, "a|b": float("nan")}},
        ci={"miou": (0.2, 0.3)},
        protocol={"mode": "window"},
    )


def test_json_holds_the_keys_of_the_contract_and_null_for_nan() -> None:
    content = json.loads(_report().to_json())
    assert list(content) == ["task", "model", "data", "n", "metrics", "ci", "protocol"]
    assert content["metrics"]["iou"] == {"road": 0.25, "a|b": None}
    assert content["ci"]["miou"] == [0.2, 0.3]


def test_markdown_has_aligned_tables_and_names_absent_classes() -> None:
    text = _report().to_markdown()
    assert "| miou   | 0.2500 | 0.2000 to 0.3000 |" in text
    assert "| a\\|b  | absent |" in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert all(len({len(line) for line in table.strip().split("\n")}) == 1 for table in tables)


def test_published_figures_stand_beside_the_measured_one() -> None:
    figures = (
        PublishedFigure("TCL", "miou", 0.149, "Table 6"),
        PublishedFigure("dino.txt", "miou", 0.206, "Table 6"),
    )
    report = replace(_report(), published=figures)
    assert json.loads(report.to_json())["published"][1] == {
        "model": "dino.txt",
        "metric": "miou",
        "value": 0.206,
        "source": "Table 6",
    }
    table = report.to_markdown().split("\n\n")[-1].splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]
    assert cells[0] == ["model", "miou", "source"]
    assert cells[2] == ["lite (measured here)", "0.2500", ""]
    assert cells[4] == ["dino.txt", "0.2060", "Table 6"]
