"""The folder of a stage: what went in, what came out and why the rest did not.

``inputs.json`` holds the configuration and the digests of the stages before; ``stage.json`` the
report, written last. A stage whose inputs changed is refused with the difference; one that was
left unfinished goes on.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dinotxt.config import differences
from dinotxt.errors import ConfigError
from dinotxt.files import read_json, sha256_file, write_json
from dinotxt.results.skip import Skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """What a stage did.

    Attributes:
        stage: Its name.
        n_in: Records that came in.
        n_out: Records that went on; ``n_in - n_out`` is the sum of the reasons.
        reasons: Records left out, by reason.
        files: What it wrote, relative to the output folder.
        complete: Whether all of the input was there and whole.
        skipped: The inputs that were missing or damaged.
        details: Figures of this stage alone.
    """

    stage: str
    n_in: int
    n_out: int
    reasons: Mapping[str, int]
    files: tuple[str, ...]
    complete: bool = True
    skipped: tuple[Skip, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "stage": self.stage,
            "n_in": self.n_in,
            "n_out": self.n_out,
            "reasons": dict(sorted(self.reasons.items())),
            "files": list(self.files),
            "complete": self.complete,
            "skipped": [{"path": skip.path, "reason": skip.reason} for skip in self.skipped],
            **({"details": dict(self.details)} if self.details else {}),
        }


class StageFolder:
    """One stage's folder below the output.

    Args:
        root: The output folder.
        name: The stage.
        config: The part of the configuration that decides its result.
        after: The stages whose results it reads.
        keeps_files: Whether its files stay good when an incomplete stage before is completed.
        follows: Whether it is simply redone when a stage before it is another.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        *,
        config: Mapping[str, Any],
        after: Iterable[str] = (),
        keeps_files: bool = False,
        follows: bool = False,
    ) -> None:
        self.root = root
        self.name = name
        self.path = root / name
        self._keeps_files = keeps_files
        self._follows = follows
        digests = {stage: sha256_file(root / stage / "stage.json") for stage in after}
        self._before = [read_report(root, stage) for stage in after]
        inputs = {name: dict(config), "upstream": digests}
        self._inputs: dict[str, Any] = json.loads(json.dumps(inputs, sort_keys=True))

    def finished(self) -> StageReport | None:
        """Return the report if the stage is done and whole; otherwise make ready to work.

        Raises:
            ConfigError: If there are results of other inputs.
        """
        marker, inputs = self.path / "stage.json", self.path / "inputs.json"
        if inputs.exists():
            changed = differences(read_json(inputs), self._inputs)
            report = read_report(self.root, self.name) if marker.exists() else None
            if not changed:
                return report if report is not None and report.complete else None
            self._refuse(changed, report)
            marker.unlink(missing_ok=True)
            if not self._keeps_files:
                shutil.rmtree(self.path)
        write_json(inputs, self._inputs)
        return None

    def finish(self, report: StageReport) -> StageReport:
        """Write the report; a stage after an incomplete one is incomplete."""
        complete = report.complete and all(before.complete for before in self._before)
        content = {**report.to_dict(), "complete": complete}
        write_json(self.path / "stage.json", content)
        return read_report(self.root, self.name)

    def relative(self, paths: Iterable[Path]) -> tuple[str, ...]:
        """Return paths relative to the output folder."""
        return tuple(path.relative_to(self.root).as_posix() for path in paths)

    def _refuse(self, changed: list[str], report: StageReport | None) -> None:
        upstream_only = all(line.startswith("upstream.") for line in changed)
        unfinished = report is None or not report.complete
        if upstream_only and (unfinished or self._follows):
            return
        lines = "\n".join(f"  {line}" for line in changed)
        raise ConfigError(
            f"{self.path} was made from other inputs:\n{lines}\n"
            f"Use another `output`, or delete {self.path} (and the stages after it) to redo it."
        )


def read_report(root: Path, name: str) -> StageReport:
    """Read the report of a stage.

    Raises:
        DataError: If the stage is not done.
    """
    content = read_json(root / name / "stage.json")
    return StageReport(
        stage=content["stage"],
        n_in=content["n_in"],
        n_out=content["n_out"],
        reasons=content["reasons"],
        files=tuple(content["files"]),
        complete=content["complete"],
        skipped=tuple(Skip(**skip) for skip in content["skipped"]),
        details=content.get("details", {}),
    )


def add_reasons(reasons: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Add up the reasons of many shards; those with no record are left out."""
    total: dict[str, int] = {}
    for one in reasons:
        for reason, count in one.items():
            if count:
                total[reason] = total.get(reason, 0) + count
    return total
