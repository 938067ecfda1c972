"""A stand-in for the hub: the calls of its API that making, sending and getting a model take."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "1" * 40
REPOSITORY = "me/tiny"


@dataclass
class Hub:
    """What the stand-in was sent."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    created: list[dict[str, Any]] = field(default_factory=list)
    refused: bool = False

    def post(self, path: str, body: bytes) -> dict[str, Any]:
        """Answer a call that changes something."""
        if path == "/api/repos/create":
            self.created.append(json.loads(body))
            return {"url": f"{self.url}/{REPOSITORY}", "id": REPOSITORY, "name": REPOSITORY}
        if "/preupload/" in path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            return {"files": [{"path": name, **modes} for name in names]}
        if "/commit/" in path:
            for record in map(json.loads, body.decode().splitlines()):
                if record["key"] == "file":
                    content = base64.b64decode(record["value"]["content"])
                    self.files[record["value"]["path"]] = content
            address = f"{self.url}/{REPOSITORY}/commit/{COMMIT}"
            return {"commitUrl": address, "commitOid": COMMIT, "success": True}
        return {"errors": [], "warnings": []}

    def get(self, path: str) -> bytes | None:
        """Answer a call that reads: the list of files, or a file."""
        head, _, name = path.partition("/resolve/")
        if name:
            return self.files.get(name.split("/", 1)[1])
        if not head.startswith(f"/api/models/{REPOSITORY}"):
            return None
        if "/tree/" in head:
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                for name, content in self.files.items()
            ]
            return json.dumps(entries).encode()
        siblings = [{"rfilename": name} for name in self.files]
        return json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": siblings}).encode()


@contextmanager
def serving() -> Iterator[Hub]:
    """Run the stand-in on the loopback."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if hub.refused:
                self._answer(401, b'{"error": "no"}')
            else:
                self._answer(200, json.dumps(hub.post(self.path, body)).encode())

        def do_GET(self) -> None:
            content = hub.get(self.path)
            self._answer(404 if content is None else 200, content or b"")

        def do_HEAD(self) -> None:
            self.do_GET()

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
