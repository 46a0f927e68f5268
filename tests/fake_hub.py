"""A server on this machine that answers as the Hugging Face Hub does, and keeps repositories in memory."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit


class FakeHub:
    """Repositories by name, each a mapping from path to content, and the requests that were made.

    Attributes:
        repositories: files of each repository.
        commits: the messages of the commits to each.
        endpoint: the address of the server.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.commits: dict[str, list[str]] = {}
        self.endpoint = ""

    def revision(self, name: str) -> str:
        """The commit that a repository is at."""
        return hashlib.sha1(f"{name} {len(self.commits[name])}".encode()).hexdigest()

    def commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        """Take over the files of a commit."""
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.commits[name].append(value["summary"])
            elif line["key"] == "file":
                self.repositories[name][value["path"]] = base64.b64decode(value["content"])
            else:
                raise AssertionError(f"unknown entry of a commit: {line['key']}")


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def log_message(self, *args: Any) -> None:
        """Nothing is printed."""

    def answer(self, value: Any, status: int = 200, **headers: str) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if path == "/api/repos/create":
            values = json.loads(body)
            name = "/".join(filter(None, (values.get("organization"), values["name"])))
            self.hub.repositories.setdefault(name, {})
            self.hub.commits.setdefault(name, [])
            self.answer({"url": f"{self.hub.endpoint}/{name}"})
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif match := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
            files = json.loads(body)["files"]
            modes = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            self.answer({"files": [{"path": file["path"], **modes} for file in files]})
        elif match := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            self.hub.commit(match[1], [json.loads(line) for line in body.splitlines()])
            oid = self.hub.revision(match[1])
            self.answer({"commitUrl": f"{self.hub.endpoint}/{match[1]}/commit/{oid}", "commitOid": oid})
        else:
            self.answer({"error": f"unknown {path}"}, 404)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/[^/]+)?", path):
            if match[1] in self.hub.repositories:
                files = [{"rfilename": name} for name in self.hub.repositories[match[1]]]
                self.answer({"id": match[1], "sha": self.hub.revision(match[1]), "siblings": files})
                return
        elif re.fullmatch(r"/api/models/.+/tree/[^/]+/.+", path):  # folders, of which there are none
            self.answer({}, 404, X_Error_Code="EntryNotFound")
            return
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/[^/]+", path):
            files = self.hub.repositories.get(match[1], {})
            rows = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in files.items()
            ]
            self.answer(rows)
            return
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            data = self.hub.repositories.get(match[1], {}).get(match[2])
            if data is not None:
                etag = f'"{hashlib.sha1(data).hexdigest()}"'
                self.answer(data, ETag=etag, X_Repo_Commit=self.hub.revision(match[1]))
                return
            self.answer({}, 404, X_Error_Code="EntryNotFound")
            return
        self.answer({}, 404, X_Error_Code="RepoNotFound")

    do_HEAD = do_GET


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """A hub whose server runs inside the `with` block."""
    hub = FakeHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield hub
        server.shutdown()
        thread.join()
