"""``dinotxt doctor``: what is installed, what is missing and how to get it."""

import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dinotxt.cli import options
from dinotxt.cli.session import EXIT_FAILED, Session, session
from dinotxt.files import cache_dir

_FOR_DEVELOPERS = {"all", "bench", "dev", "docs"}
_VARIABLES = (
    "DINOTXT_CACHE",
    "DINOTXT_WEIGHTS",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
)
_REQUIREMENT = re.compile(
    r"^([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?[^;]*(?:;.*extra == ['\"]([^'\"]+))?"
)
_LEAST_BYTES = 1 << 30


Stored = Annotated[
    str | None,
    typer.Argument(metavar="[PATH]", help="What to check against the hashes it was written with."),
]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is missing or wrong.

    Attributes:
        what: In a sentence.
        fix: What to do, as a command where there is one.
        is_error: Whether dinotxt cannot be used at all as it is.
    """

    what: str
    fix: str
    is_error: bool = False


def doctor(
    path: Stored = None, *, json_path: options.Json = None, quiet: options.Quiet = False
) -> None:
    """Print what is installed and missing; or check an index, cache, run, model or export."""
    with session("doctor", json_path, quiet) as current:
        if path is not None:
            _verify(current, Path(path).expanduser())
            return
        content: dict[str, Any] = {
            "machine": machine(),
            "packages": packages(),
            "devices": devices(),
            "extras": extras(),
            "models": models(),
            "folders": folders(),
            "environment": environment(),
        }
        found = findings(content)
        _show(current.console, content)
        _show_findings(current.console, found)
        current.finish({**content, "findings": [asdict(finding) for finding in found]})
        if any(finding.is_error for finding in found):
            raise typer.Exit(EXIT_FAILED)


def _verify(current: Session, path: Path) -> None:
    from dinotxt.cli.verification import verify

    checked, damaged = verify(path)
    for skip in damaged:
        current.console.print(f"damaged: {skip.path}: {skip.reason}", markup=False, soft_wrap=True)
    current.console.print(f"{checked} files checked, {len(damaged)} damaged", highlight=False)
    content = {"checked": checked, "damaged": [asdict(skip) for skip in damaged]}
    current.finish(content, done=checked)
    if damaged:
        raise typer.Exit(EXIT_FAILED)


def packages() -> dict[str, str | None]:
    """Return the version of each package that dinotxt needs; None where it is missing."""
    return {name: _version(name) for name, extra in _requirements() if extra is None}


def extras() -> list[dict[str, Any]]:
    """Return each extra with the packages it lacks and how to install it."""
    wanted: dict[str, list[str]] = {}
    for name, extra in _requirements():
        if extra is not None and extra not in _FOR_DEVELOPERS and name != "dinotxt":
            wanted.setdefault(extra, []).append(name)
    rows = []
    for extra, names in sorted(wanted.items()):
        missing = [name for name in names if _version(name) is None]
        fix = f'pip install "dinotxt[{extra}]"' if missing else None
        rows.append({"extra": extra, "missing": missing, "fix": fix})
    return rows


def devices() -> list[dict[str, Any]]:
    """Return what torch and ONNX Runtime can compute on."""
    found: list[dict[str, Any]] = []
    try:
        import torch
    except ImportError:
        torch = None  # type: ignore[assignment]
    if torch is not None:
        threads = f"{torch.get_num_threads()} threads, {_processor()}"
        found.append({"engine": "torch", "device": "cpu", "detail": threads})
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            detail = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
            found.append({"engine": "torch", "device": f"cuda:{index}", "detail": detail})
    try:
        import onnxruntime
    except ImportError:
        return found
    for provider in onnxruntime.get_available_providers():
        device = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "cuda"}.get(provider)
        if device is not None:
            found.append({"engine": "onnxruntime", "device": device, "detail": provider})
    return found


def machine() -> dict[str, Any]:
    """Return the system, the cores that may be used and the memory in bytes."""
    affinity = getattr(os, "sched_getaffinity", None)
    names = ("SC_PAGE_SIZE", "SC_PHYS_PAGES")
    has_memory = all(name in getattr(os, "sysconf_names", {}) for name in names)
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "memory": os.sysconf(names[0]) * os.sysconf(names[1]) if has_memory else None,
    }


def models() -> list[dict[str, Any]]:
    """Return the named models and whether their files are here; none without torch."""
    try:
        from dinotxt.checkpoints.registry import list_models
    except ImportError:
        return []
    keys = ("name", "available", "source")
    return [{key: model[key] for key in keys} for model in list_models()]


def folders() -> list[dict[str, Any]]:
    """Return the folder of the cache: whether it can be written and what is free there."""
    path = cache_dir()
    existing = next(place for place in (path, *path.parents) if place.exists())
    return [
        {
            "name": "cache",
            "path": str(path),
            "writable": existing.is_dir() and os.access(existing, os.W_OK),
            "free": shutil.disk_usage(existing).free,
        }
    ]


def environment() -> dict[str, str]:
    """Return the variables that dinotxt heeds, where they are set."""
    return {name: os.environ[name] for name in _VARIABLES if name in os.environ}


def findings(content: dict[str, Any]) -> list[Finding]:
    """Return what is missing or wrong in what was found."""
    return [
        *_package_findings(content["packages"]),
        *(
            Finding(f"extra {row['extra']} lacks {', '.join(row['missing'])}", row["fix"])
            for row in content["extras"]
            if row["missing"]
        ),
        *(
            Finding(f"model {model['name']} is not on this machine", _model_fix(model))
            for model in content["models"]
            if not model["available"]
        ),
        *_folder_findings(content["folders"]),
        *_environment_findings(content["environment"]),
    ]


def _package_findings(found: dict[str, str | None]) -> Iterator[Finding]:
    if not found:
        yield Finding("dinotxt runs from a folder and is not installed", "pip install -e .")
    for name, known in found.items():
        if known is None:
            yield Finding(f"{name} is missing", f"pip install {name}", is_error=True)


def _folder_findings(found: list[dict[str, Any]]) -> Iterator[Finding]:
    for folder in found:
        if not folder["writable"]:
            what = f"{folder['path']} cannot be written: downloads and labels are not kept"
            yield Finding(what, "set DINOTXT_CACHE to a folder that can", is_error=True)
        if folder["free"] < _LEAST_BYTES:
            what = f"{folder['path']} has {folder['free'] / 2**30:.1f} GiB free"
            yield Finding(what, "make room, or set DINOTXT_CACHE to another disk")


def _environment_findings(found: dict[str, str]) -> Iterator[Finding]:
    weights = found.get("DINOTXT_WEIGHTS")
    if weights and not Path(weights).is_dir():
        yield Finding(f"DINOTXT_WEIGHTS={weights} is no folder", "unset it, or make the folder")


def _model_fix(model: dict[str, Any]) -> str:
    if model["name"] == "lite":
        return "pip install --force-reinstall dinotxt"
    if "ask Meta" in model["source"]:
        return "ask Meta for the files and set DINOTXT_WEIGHTS to their folder"
    return f"dinotxt models fetch {model['name']}"


def _requirements() -> Iterator[tuple[str, str | None]]:
    """Yield (package, extra) of dinotxt's own metadata; the extra is None for what is needed."""
    import importlib.metadata

    try:
        stated = importlib.metadata.requires("dinotxt") or []
    except importlib.metadata.PackageNotFoundError:
        return
    for text in stated:
        match = _REQUIREMENT.match(text)
        if match is not None:
            yield match[1], match[3]


def _version(name: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _show(console: Console, content: dict[str, Any]) -> None:
    machine = content["machine"]
    memory = f", {machine['memory'] / 2**30:.0f} GiB" if machine["memory"] else ""
    about = f"Python {machine['python']}, {machine['platform']}, {machine['cores']} cores{memory}"
    versions = [f"{name} {known or 'MISSING'}" for name, known in content["packages"].items()]
    rows = [
        ("machine", about),
        ("packages", ", ".join(versions) or "not installed as a package"),
        *((f"{one['engine']} on {one['device']}", one["detail"]) for one in content["devices"]),
        *(
            (f"extra {one['extra']}", "lacks " + ", ".join(one["missing"]))
            if one["missing"]
            else (f"extra {one['extra']}", "there")
            for one in content["extras"]
        ),
        *(
            (f"model {one['name']}", "there" if one["available"] else f"not here: {one['source']}")
            for one in content["models"]
        ),
        *(
            (one["name"], f"{one['path']}, {one['free'] / 2**30:.0f} GiB free")
            for one in content["folders"]
        ),
        *content["environment"].items(),
    ]
    table = Table(show_header=False, pad_edge=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(escape(name), escape(text))
    console.print(table)


def _show_findings(console: Console, findings: Sequence[Finding]) -> None:
    console.print()
    if not findings:
        console.print("Nothing is missing.", style="green")
    for finding in findings:
        style = "red" if finding.is_error else "yellow"
        console.print(finding.what, style=style, markup=False, highlight=False, soft_wrap=True)
        console.print(f"    {finding.fix}", markup=False, highlight=False, soft_wrap=True)
