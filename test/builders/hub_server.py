# Copyright 2026 the gld_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A Hugging Face Hub in small, on localhost: what huggingface_hub asks for, and statistics below /raw."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


class HubServer:
    """`files[repository][path]` and `raw[path]` are served. `requests` lists (method, path, Range header).

    cut: {path of a file: bytes after which its next GET breaks off}, forgotten once it happened; a negative number
    breaks off every time.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.raw: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self) -> None:
        """Stop answering; once more does nothing."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def got(self, path: str) -> list[str | None]:
        """The Range headers of all GET requests of a file's content."""
        return [span for method, asked, span in self.requests if method == "GET" and asked.endswith(path)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_hub: HubServer

    def log_message(self, *args) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.server_hub, unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, path, self.headers.get("Range")))
        if match := re.fullmatch(r"/raw/(.+)", path):
            self.content(match[1], hub.raw.get(match[1]), "")
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/]+)", path):
            if self.known(match[1], match[3]):
                listing = [entry(name, data) for name, data in hub.files[match[1]].items()]
                info = {"id": match[1], "sha": COMMIT, "siblings": [{"rfilename": file["path"]} for file in listing]}
                self.answer(200, json.dumps(listing if match[2] == "tree" else info).encode())
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            if self.known(match[1], match[2]):
                self.content(match[3], hub.files[match[1]].get(match[3]), COMMIT)
        else:
            self.answer(404)

    def known(self, repository: str, revision: str) -> bool:
        if repository not in self.server_hub.files:
            self.answer(404, headers={"X-Error-Code": "RepoNotFound"})
        elif revision not in ("main", COMMIT):
            self.answer(404, headers={"X-Error-Code": "RevisionNotFound"})
        else:
            return True
        return False

    def content(self, path: str, data: bytes | None, commit: str) -> None:
        if data is None:
            return self.answer(404, headers={"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        etag = hashlib.sha256(data).hexdigest()
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if span := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(span[1])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return self.answer(206, data[start:], headers, path)
        self.answer(200, data, headers, path)

    def answer(self, code: int, body: bytes = b"", headers: dict[str, str] | None = None, path: str = "") -> None:
        self.send_response(code)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = self.server_hub.cut.get(path)
        if cut is None:
            self.wfile.write(body)
            return
        self.wfile.write(body[: abs(cut)])
        self.close_connection = True
        if cut > 0:
            del self.server_hub.cut[path]


def entry(path: str, data: bytes) -> dict:
    """A file of a repository's tree listing."""
    digest = hashlib.sha256(data).hexdigest()
    return {"type": "file", "path": path, "size": len(data), "oid": digest[:40]}
