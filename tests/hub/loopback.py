"""A Hub on this machine: the protocol that the real `huggingface_hub` client speaks, over HTTP.

Clients are subprocesses with `HF_ENDPOINT` set to `LoopbackHub.url`, because the client reads it
when it is imported. Repositories live in memory, as a list of commits whose files are bytes.
"""

import base64
import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from card_rules import find_card_errors

TOKEN = "hf_loopback"
LFS_SUFFIXES = (".safetensors", ".bin", ".gif", ".png", ".mp4", ".wav")


@dataclass
class Repository:
    """Commits by id, and the branches, tags and pull requests that point at them."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def commit(self, ref: str, files: dict[str, bytes], message: str) -> str:
        content = [(path, hashlib.sha256(data).hexdigest()) for path, data in sorted(files.items())]
        sha = hashlib.sha1(repr((content, len(self.commits))).encode()).hexdigest()
        self.commits[sha] = files
        self.refs[ref] = sha
        self.log.append(message)
        return sha

    def resolve(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.refs.get(revision)


class LoopbackHub:
    """The state of the Hub, and what tests ask of it."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.url = ""
        self.upload_delay = 0.0  # seconds that storing a blob takes: time to kill a client
        self.corrupted: set[tuple[str, str]] = set()  # (repository, path): one byte is changed
        self.lock = threading.Lock()

    def create(self, repo_id: str, private: bool = False) -> Repository:
        repository = self.repositories.setdefault(repo_id, Repository(private))
        if not repository.refs:
            repository.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"}, "initial")
        return repository

    def add_folder(self, repo_id: str, folder: Path, message: str = "Add files") -> None:
        """Put a folder there without a client, as the new content of `main`."""
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        self.create(repo_id).commit("main", files, message)

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        repository = self.repositories[repo_id]
        files = repository.commits[repository.refs[revision]]
        return {path: data for path, data in files.items() if path != ".gitattributes"}


@contextmanager
def serve() -> Iterator[LoopbackHub]:
    """Run a Hub on a free port of this machine."""
    hub = LoopbackHub()

    class Handler(HubHandler):
        pass

    Handler.hub = hub
    server = HubServer(("127.0.0.1", 0), Handler)
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


class HubServer(ThreadingHTTPServer):
    """Takes it calmly that a client was killed."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], (BrokenPipeError, ConnectionResetError)):
            super().handle_error(request, client_address)


class HubHandler(BaseHTTPRequestHandler):
    """The routes."""

    protocol_version = "HTTP/1.1"
    hub: LoopbackHub

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._handle("GET")

    def do_HEAD(self) -> None:
        self._handle("HEAD")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_PUT(self) -> None:
        self._handle("PUT")

    def do_DELETE(self) -> None:
        self._handle("DELETE")

    def _handle(self, method: str) -> None:
        split = urlsplit(self.path)
        parts = [unquote(part) for part in split.path.split("/")[1:]]
        query = {key: values[0] for key, values in parse_qs(split.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = self._read_chunked() if self.headers.get("Transfer-Encoding") else b""
        body = body or self.rfile.read(length)
        match (method, parts):
            case ("GET", ["api", "whoami-v2"]):
                self._reply({"type": "user", "name": "org", "orgs": [], "auth": {}})
            case ("POST", ["api", "validate-yaml"]):
                errors = find_card_errors(json.loads(body)["content"])
                listed = [{"message": error} for error in errors]
                self._reply({"errors": listed, "warnings": []}, status=400 if errors else 200)
            case ("POST", ["api", "repos", "create"]):
                self._create(json.loads(body))
            case ("DELETE", ["api", "repos", "delete"]):
                request = json.loads(body)
                owner = request.get("organization") or "org"
                self.hub.repositories.pop(f"{owner}/{request['name']}", None)
                self._reply({})
            case ("PUT", ["blobs", oid]):
                time.sleep(self.hub.upload_delay)
                status = 200 if hashlib.sha256(body).hexdigest() == oid else 400
                self.hub.blobs[oid] = body
                self._reply(b"", status=status)
            case ("POST", [owner, name, "info", "lfs", "objects", "batch"]):
                self._answer_lfs_batch(json.loads(body))
            case (_, ["api", "models", owner, name, *rest]):
                self._handle_model(method, f"{owner}/{name}", rest, query, body)
            case ("GET" | "HEAD", [owner, name, "resolve", revision, *path]):
                self._resolve(f"{owner}/{name}", revision, "/".join(path))
            case _:
                self._reply({"error": f"no route for {method} {self.path}"}, status=404)

    def _handle_model(
        self, method: str, repo_id: str, rest: list[str], query: dict[str, str], body: bytes
    ) -> None:
        repository = self._find(repo_id)
        if repository is None:
            return
        match (method, rest):
            case ("GET", [] | ["revision", _]):
                self._describe(repo_id, repository, rest[1] if rest else "main")
            case ("GET", ["tree", revision, *_]):
                sha = repository.resolve(revision)
                if sha is None:
                    self._not_found("RevisionNotFound")
                else:
                    self._reply([_entry(*item) for item in repository.commits[sha].items()])
            case ("GET", ["refs"]):
                refs = repository.refs.items()
                branches = [
                    {"name": name, "ref": f"refs/heads/{name}", "targetCommit": sha}
                    for name, sha in refs
                    if not name.startswith("refs/pr/")
                ]
                self._reply({"branches": branches, "tags": [], "converts": []})
            case ("POST", ["branch" | "tag", name]):
                request = json.loads(body) if body else {}
                start = request.get("startingPoint") or "main"
                new = request.get("tag", name)
                source = name if "tag" in request else start
                repository.refs[new] = repository.resolve(source) or repository.refs["main"]
                self._reply({})
            case ("POST", ["preupload", _]):
                files = json.loads(body)["files"]
                self._reply({"files": [_upload_mode(file["path"]) for file in files]})
            case ("POST", ["commit", revision]):
                self._commit(repo_id, repository, revision, query, body)
            case _:
                self._reply({"error": f"no route for {method} {self.path}"}, status=404)

    def _create(self, request: dict[str, Any]) -> None:
        repo_id = f"{request.get('organization') or 'org'}/{request['name']}"
        exists = repo_id in self.hub.repositories
        self.hub.create(repo_id, request.get("visibility") == "private")
        answer = {"url": f"{self.hub.url}/{repo_id}", "id": repo_id, "name": repo_id}
        self._reply(answer, status=409 if exists else 200)

    def _describe(self, repo_id: str, repository: Repository, revision: str) -> None:
        sha = repository.resolve(revision)
        if sha is None:
            self._not_found("RevisionNotFound")
            return
        entries = [_entry(*item) for item in repository.commits[sha].items()]
        siblings = [{"rfilename": entry["path"], **_describe_blob(entry)} for entry in entries]
        self._reply(
            {
                "_id": repo_id,
                "id": repo_id,
                "modelId": repo_id,
                "sha": sha,
                "private": repository.private,
                "siblings": siblings,
                "tags": [],
            }
        )

    def _answer_lfs_batch(self, request: dict[str, Any]) -> None:
        objects = [
            {
                "oid": item["oid"],
                "size": item["size"],
                "actions": {"upload": {"href": f"{self.hub.url}/blobs/{item['oid']}"}},
            }
            for item in request["objects"]
            if item["oid"] not in self.hub.blobs
        ]
        self._reply({"transfer": "basic", "objects": objects})

    def _commit(
        self,
        repo_id: str,
        repository: Repository,
        revision: str,
        query: dict[str, str],
        body: bytes,
    ) -> None:
        lines = [json.loads(line) for line in body.decode().splitlines() if line]
        message = lines[0]["value"]["summary"]
        with self.hub.lock:
            sha = repository.resolve(revision)
            if sha is None:
                self._not_found("RevisionNotFound")
                return
            files = dict(repository.commits[sha])
            for line in lines[1:]:
                value = line["value"]
                match line["key"]:
                    case "file":
                        files[value["path"]] = base64.b64decode(value["content"])
                    case "lfsFile":
                        files[value["path"]] = self.hub.blobs[value["oid"]]
                    case "deletedFile":
                        del files[value["path"]]
            errors = find_card_errors(files["README.md"].decode()) if "README.md" in files else []
            if errors:
                self._reply({"error": "\n".join(errors)}, status=400)
                return
            answer = {}
            if query.get("create_pr"):
                number = sum(ref.startswith("refs/pr/") for ref in repository.refs) + 1
                revision = f"refs/pr/{number}"
                answer["pullRequestUrl"] = f"{self.hub.url}/{repo_id}/discussions/{number}"
            new = repository.commit(revision, files, message)
        self._reply(
            {"commitUrl": f"{self.hub.url}/{repo_id}/commit/{new}", "commitOid": new} | answer
        )

    def _resolve(self, repo_id: str, revision: str, path: str) -> None:
        repository = self._find(repo_id)
        if repository is None:
            return
        sha = repository.resolve(revision)
        if sha is None:
            self._not_found("RevisionNotFound")
            return
        data = repository.commits[sha].get(path)
        if data is None:
            self._not_found("EntryNotFound", {"X-Repo-Commit": sha})
            return
        etag = hashlib.sha256(data).hexdigest()
        headers = {"X-Repo-Commit": sha, "ETag": f'"{etag}"'}
        if path.endswith(LFS_SUFFIXES):
            headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data))}
        if (repo_id, path) in self.hub.corrupted:
            data = data[:-1] + bytes([data[-1] ^ 1])
        start = int((self.headers.get("Range") or "bytes=0-").split("=")[1].split("-")[0])
        self._reply(data[start:], status=206 if start else 200, headers=headers)

    def _find(self, repo_id: str) -> Repository | None:
        repository = self.hub.repositories.get(repo_id)
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repository is None or (repository.private and not allowed):
            self._reply({"error": "not found"}, 401, {"X-Error-Code": "RepoNotFound"})
            return None
        return repository

    def _not_found(self, code: str, headers: dict[str, str] | None = None) -> None:
        self._reply({"error": code}, 404, {"X-Error-Code": code} | (headers or {}))

    def _reply(
        self,
        content: Any,
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(data)}.items():
            self.send_header(name, str(value))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _read_chunked(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)


def _entry(path: str, data: bytes) -> dict[str, Any]:
    oid = hashlib.sha256(data).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": oid}
    if path.endswith(LFS_SUFFIXES):
        entry["lfs"] = {"oid": oid, "size": len(data), "pointerSize": 130}
    return entry


def _describe_blob(entry: dict[str, Any]) -> dict[str, Any]:
    blob = {"size": entry["size"], "blobId": entry["oid"]}
    if "lfs" in entry:
        blob["lfs"] = {"sha256": entry["oid"], "size": entry["size"], "pointerSize": 130}
    return blob


def _upload_mode(path: str) -> dict[str, Any]:
    mode = "lfs" if path.endswith(LFS_SUFFIXES) else "regular"
    return {"path": path, "uploadMode": mode, "shouldIgnore": False}
