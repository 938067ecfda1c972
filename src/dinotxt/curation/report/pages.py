"""The report as Markdown and as one HTML page without outside files."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from dinotxt.curation.report.examples import Example, thumbnail
from dinotxt.data.readers import ImageRef

_ROW, _LABEL, _BAR, _COUNTS = 18, 190, 420, 150
_CLUSTER_SIDE = 96
_TITLES = {
    "entries": "Most frequent entries, their captions",
    "clusters": "Largest clusters, their pairs",
}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 68rem; padding: 0 1rem }
table { border-collapse: collapse } th, td { border-bottom: 1px solid #ccc; padding: .25rem .75rem }
td:nth-child(2), td:nth-child(3) { text-align: right }
.pairs { display: flex; flex-wrap: wrap; gap: 1rem } figure { margin: 0; width: 160px }
figure img { width: 160px } figcaption { font-size: 13px } .warning { color: #a00 }
svg { max-width: 100%; height: auto } .wide { overflow-x: auto }
.cluster td { padding: .2rem .4rem; text-align: left } .cluster img { height: 72px; margin: 1px }
"""


def to_markdown(content: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    lines = ["# Curation report", "", *_warning(content)]
    for line in _summary(content):
        lines += [line, ""]
    lines += ["| stage | in | out | left out |", "|---|---:|---:|---|"]
    for name, n_in, n_out, reasons in _stage_rows(content):
        lines.append(f"| {name} | {n_in:,} | {n_out:,} | {reasons} |")
    for title, head in content["heads"].items():
        lines += ["", f"## {_TITLES[title]}", "", f"| {title} | before | after |"]
        lines.append("|---|---:|---:|")
        lines += [
            f"| {_label(row)} | {row['before']:,} | {row['after']:,.0f} |" for row in head[:20]
        ]
    for kind, examples in content["examples"].items():
        lines += ["", f"## Examples: {kind}", ""]
        lines += [
            f"- {_one_line(example['caption'])} ({example['key']}; text "
            f"{example['keep_text']:.3f}, image {example['keep_image']:.3f})"
            for example in examples
        ]
    return "\n".join(lines) + "\n"


def to_html(
    content: Mapping[str, Any],
    examples: Mapping[str, Sequence[Example]],
    of_clusters: Mapping[int, Sequence[ImageRef]],
) -> str:
    """Return the report as a page with bars and thumbnails."""
    parts = ["<!doctype html><html lang=en><meta charset=utf-8><title>Curation report</title>"]
    parts.append("<meta name=viewport content='width=device-width'>")
    parts.append(f"<style>{_STYLE}</style><h1>Curation report</h1>")
    parts += [f"<p class=warning>{html.escape(line)}</p>" for line in _warning(content) if line]
    parts += [f"<p>{html.escape(line)}</p>" for line in _summary(content)]
    parts.append("<div class=wide><table><tr><th>stage<th>in<th>out<th>left out</tr>")
    for name, n_in, n_out, reasons in _stage_rows(content):
        parts.append(f"<tr><td>{name}<td>{n_in:,}<td>{n_out:,}<td>{html.escape(reasons)}</tr>")
    parts.append("</table></div>")
    for title, head in content["heads"].items():
        parts.append(f"<h2>{_TITLES[title]} before (grey) and after</h2>{_bars(head[:30])}")
    parts.append(_cluster_table(content["heads"].get("clusters", []), of_clusters))
    for kind, found in examples.items():
        parts.append(f"<h2>Examples: {html.escape(kind)}</h2><div class=pairs>")
        parts += [_figure(example) for example in found]
        parts.append("</div>")
    return "\n".join(parts) + "\n</html>\n"


def _warning(content: Mapping[str, Any]) -> list[str]:
    if content["complete"]:
        return []
    names = [skip["path"] for skip in content["stages"][0]["skipped"]]
    shown = ", ".join(names[:10]) + (" and others" if len(names) > 10 else "")
    return [f"Incomplete: some of the input is missing or damaged ({shown}).", ""]


def _summary(content: Mapping[str, Any]) -> list[str]:
    draw, rates = content["draw"], content["keep_rates"]
    return [
        *_choices(content["stages"]),
        f"Epoch {draw['epoch']} (seed {content['seed']}, mode {content['mode']}) keeps "
        f"{draw['kept']:,} of {draw['n_in']:,} pairs ({rates['kept']:.1%}): text keeps "
        f"{draw['kept_text']:,} ({rates['text']:.1%}), image {draw['kept_image']:,} "
        f"({rates['image']:.1%}).",
        *(_together(content["joint"]) if content["mode"] == "both" else ()),
    ]


def _together(joint: Mapping[str, float]) -> list[str]:
    return [
        f"Both balances keep {joint['expected_both']:,.0f} pairs on average; independent ones "
        f"would keep {joint['if_independent']:,.0f} (ratio {joint['ratio']:.3f}, correlation of "
        f"the two probabilities {joint['correlation']:+.3f})."
    ]


def _choices(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the metadata are made of, the threshold, and the size of the clusters."""
    details = {stage["stage"]: stage.get("details", {}) for stage in stages}
    lines = []
    if "embed" in details:
        embed = details["embed"]
        lines.append(
            f"Pictures: {embed['rows']:,} different ones, vectors of {embed['width']:,} numbers."
        )
    if "metadata" in details:
        parts = ", ".join(f"{n:,} {name}" for name, n in details["metadata"]["composition"].items())
        lines.append(f"Metadata: {parts}.")
    if "balance" in details:
        balance = details["balance"]
        lines.append(
            f"Threshold of an entry: {balance['threshold']:,} captions; rarer entries own "
            f"{balance['tail_share']:.1%} of all matches."
        )
        flags = ", ".join(f"{count:,} {kind}" for kind, count in balance["flags"].items())
        lines.append(f"Captions that say little: {flags or 'none'}.")
    if "cluster" in details:
        cluster = details["cluster"]
        levels = ", ".join(f"{level:,}" for level in cluster["levels"])
        lines.append(
            f"Clusters by level: {levels}; the largest holds {cluster['largest_cluster']:,} "
            f"pictures, {cluster['empty_clusters']:,} are empty."
        )
    return lines


def _stage_rows(content: Mapping[str, Any]) -> list[tuple[str, int, int, str]]:
    stages = [*content["stages"], {"stage": "draw", **content["draw"]}]
    return [
        (
            stage["stage"],
            stage["n_in"],
            stage["n_out"],
            "; ".join(f"{reason}: {count:,}" for reason, count in stage["reasons"].items()),
        )
        for stage in stages
    ]


def _label(row: Mapping[str, Any]) -> str:
    return str(row.get("entry", row.get("cluster"))).replace("|", "\\|")


def _one_line(text: str) -> str:
    short = " ".join(text.split())
    return short if len(short) <= 120 else short[:117] + "..."


def _bars(head: Sequence[Mapping[str, Any]]) -> str:
    """Return two bars a row as SVG, before in grey and after on top of it, and both counts."""
    most = max((row["before"] for row in head), default=1)
    shapes = []
    for index, row in enumerate(head):
        y = index * _ROW
        for key, color in (("before", "#ccc"), ("after", "#2b7")):
            width = _BAR * row[key] / most
            shapes.append(
                f'<rect x="{_LABEL}" y="{y + 2}" height="{_ROW - 4}" width="{width:.1f}" '
                f'fill="{color}"/>'
            )
        label = html.escape(_label(row)[:26])
        counts = f"{row['before']:,} to {row['after']:,.0f}"
        shapes += [
            f'<text x="{_LABEL - 6}" y="{y + 13}" font-size="12" text-anchor="end">{label}</text>',
            f'<text x="{_LABEL + _BAR + 6}" y="{y + 13}" font-size="12">{counts}</text>',
        ]
    width, height = _LABEL + _BAR + _COUNTS, len(head) * _ROW
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'<svg {size} xmlns="http://www.w3.org/2000/svg">{"".join(shapes)}</svg>'


def _cluster_table(
    head: Sequence[Mapping[str, Any]], pictures: Mapping[int, Sequence[ImageRef]]
) -> str:
    """Return a row of thumbnails for each cluster of which there are pictures."""
    rows = []
    for row in head:
        small = [thumbnail(image, _CLUSTER_SIDE) for image in pictures.get(row["cluster"], ())]
        images = "".join(f'<img src="{address}" alt="">' for address in small if address)
        if images:
            rows.append(f"<tr><td>{_label(row)}<td>{images}</tr>")
    return f"<table class=cluster>{''.join(rows)}</table>" if rows else ""


def _figure(example: Example) -> str:
    picture = example.thumbnail()
    image = f'<img src="{picture}" alt="">' if picture else "<em>no picture</em>"
    return (
        f"<figure>{image}<figcaption>{html.escape(_one_line(example.caption))}<br>"
        f"text {example.keep_text:.3f}, image {example.keep_image:.3f}</figcaption></figure>"
    )
