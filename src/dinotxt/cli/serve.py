"""``dinotxt serve``: classify, segment and search over HTTP, with a web page."""

import os
from typing import Annotated

import typer

from dinotxt.cli.index import Collection
from dinotxt.cli.options import (
    Device,
    Engine,
    Json,
    Model,
    NumWorkers,
    Quiet,
    Size,
    TrustCode,
    load_encoder,
)
from dinotxt.cli.search import open_index
from dinotxt.cli.session import session
from dinotxt.errors import ConfigError, import_extra


def serve(
    *,
    index: Annotated[
        str | None,
        typer.Option(metavar="INDEX|URL", help="Of `dinotxt index`, or a database to search."),
    ] = None,
    collection: Collection = "pictures",
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar="DINOTXT_TOKEN", help="Ask every client for this bearer token."),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Also answer to this host name. Repeats."),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Pictures or texts a forward pass, over all clients.")
    ] = 32,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds until a request is given up.")
    ] = 120.0,
    max_megabytes: Annotated[int, typer.Option(min=1, help="The largest request.")] = 32,
    model: Model = "lite",
    device: Device = "auto",
    engine: Engine = "auto",
    trust_code: TrustCode = False,
    size: Size = None,
    num_workers: NumWorkers = None,
    json_path: Json = None,
    quiet: Quiet = False,
) -> None:
    """Serve a model over HTTP: an API and a web page, for this machine unless told otherwise."""
    with session("serve", json_path, quiet) as current:
        if token == "":
            raise ConfigError("The token is empty: fill --token or DINOTXT_TOKEN in, or unset it.")
        for module in ("fastapi", "uvicorn", "prometheus_client", "python_multipart"):
            import_extra(module, extra="serve")

        from dinotxt.config import load_config
        from dinotxt.serving.app import create_app
        from dinotxt.serving.config import ServeConfig
        from dinotxt.serving.server import run

        config = load_config(
            ServeConfig,
            {
                "host": host,
                "port": port,
                "token": token,
                "allowed_hosts": allowed_host or (),
                "batch_size": batch_size,
                "decode_threads": num_workers or min(os.cpu_count() or 1, 8),
                "limits": {"timeout": timeout, "max_bytes": max_megabytes << 20},
            },
        )
        encoder = load_encoder(
            model, device=device, engine=engine, trust_code=trust_code, size=size
        )
        searched = open_index(index, collection, encoder) if index else None

        def on_ready(url: str) -> None:
            if token is None and not config.is_loopback:
                warning = "warning: everyone who reaches this machine can use it: give --token."
                current.errors.print(warning, style="yellow")
            current.console.print(f"{encoder.name} is served at {url}", markup=False)
            current.finish({"url": url, "model": encoder.name, "index": index})

        run(create_app(encoder, config, index=searched), config, on_ready=on_ready)
