"""A Hub on the loopback: the part of its HTTP API that the real huggingface_hub client needs to publish and fetch."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
import yaml
from huggingface_hub import constants
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

TOKEN = "hf_may_read_and_write_everything"
REPO_ROOT = Path(__file__).resolve().parents[2]
LFS_SUFFIXES = (".safetensors", ".parquet", ".bin", ".pkl", ".pt", ".png", ".jpg")


@dataclass(frozen=True)
class StoredFile:
    """One file of a commit; its bytes lie under their SHA-256."""

    sha256: str
    size: int
    git_oid: str
    is_lfs: bool


@dataclass
class Repo:
    """A repo: branch -> commit, commit -> path -> file."""

    private: bool = False
    gated: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, StoredFile]] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, StoredFile]) -> str:
        state = json.dumps([len(self.commits), branch, sorted((path, file.sha256) for path, file in files.items())])
        sha = hashlib.sha1(state.encode()).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        return sha


class HubError(Exception):
    """An answer other than 200, with the headers by which the client tells one error from the other."""

    def __init__(self, status: int, code: str, message: str):
        self.status, self.code, self.message = status, code, message


class HubServer:
    """Serves repos from `folder` at `url` until `stop()`; `requests` lists what was asked of it."""

    def __init__(self, folder: Path):
        self.blobs = folder / "blobs"
        self.blobs.mkdir(parents=True)
        self.repos: dict[tuple[str, str], Repo] = {}
        self.requests: list[tuple[str, str]] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.cdn_url = f"http://localhost:{port}/cdn"  # another host, as where the Hub keeps its large files
        self._server = uvicorn.Server(uvicorn.Config(self._app(), log_level="error", timeout_graceful_shutdown=1))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)

    def stop(self) -> None:
        """From now on connections are refused."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    # What tests do without a client.

    def add_repo(
        self,
        repo_id: str,
        files: dict[str, bytes],
        *,
        repo_type: str = "model",
        branch: str = "main",
        private: bool = False,
        gated: bool = False,
    ) -> str:
        """A commit whose files are exactly `files`, in a repo that is made if need be; gives the commit's SHA."""
        repo = self.repos.setdefault((f"{repo_type}s", repo_id), Repo(private=private, gated=gated))
        return repo.commit(branch, {path: self._store(path, content) for path, content in files.items()})

    def files(self, repo_id: str, *, repo_type: str = "model", branch: str = "main") -> dict[str, bytes]:
        """Path -> bytes of what a branch holds."""
        repo = self.repos[f"{repo_type}s", repo_id]
        stored = repo.commits[repo.branches[branch]]
        return {path: (self.blobs / file.sha256).read_bytes() for path, file in stored.items()}

    def env(self, home: Path, **more: str) -> dict[str, str]:
        """The environment of a client process whose Hub this is and whose cache and token live in `home`."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        return {
            **inherited,
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "PYTHONPATH": str(REPO_ROOT),
            **more,
        }

    def connect(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        """What `env` does, for this very process, as long as the test lasts."""
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        for name, value in {
            "ENDPOINT": self.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": self.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
        }.items():
            monkeypatch.setattr(constants, name, value)
        # transformers keeps the client of its first request, whose server may be gone, and asks it again and again.
        monkeypatch.setattr("transformers.utils.hub._hf_api", None)

    # The API.

    def _app(self):
        api, files = "/api/{kind}/{owner}/{name}", "/{owner}/{name}"
        app = Starlette(
            routes=[
                Route("/api/repos/create", self._create_repo, methods=["POST"]),
                Route("/api/validate-yaml", self._validate_yaml, methods=["POST"]),
                Route(api, self._info),
                Route(api + "/revision/{revision}", self._info),
                Route(api + "/tree/{revision}", self._tree),
                Route(api + "/branch/{revision}", self._create_branch, methods=["POST"]),
                Route(api + "/preupload/{revision}", self._preupload, methods=["POST"]),
                Route(api + "/commit/{revision}", self._commit, methods=["POST"]),
                *(
                    route
                    for prefix in ("", "/{kind}")
                    for route in (
                        Route(prefix + files + ".git/info/lfs/objects/batch", self._lfs_batch, methods=["POST"]),
                        Route(prefix + files + "/resolve/{revision}/{path:path}", self._resolve),
                    )
                ),
                Route("/lfs/{oid}", self._lfs_upload, methods=["PUT"]),
                Route("/lfs/{oid}/verify", self._lfs_verify, methods=["POST"]),
                Route("/cdn/{oid}", self._cdn),
            ],
            exception_handlers={HubError: _error_response},
        )

        async def logged(scope, receive, send):
            if scope["type"] == "http":
                self.requests.append((scope["method"], scope["path"]))
            await app(scope, receive, send)

        return logged

    def _find(self, request: Request, *, writes: bool = False, reads_files: bool = False) -> Repo:
        """The repo that a request is about, if its sender may see it; refusals are those of the real Hub."""
        is_known = _is_known(request)
        repo = self.repos.get((request.path_params.get("kind", "models"), _repo_id(request)))
        if repo is None or (repo.private and not is_known):
            raise HubError(404 if is_known else 401, "RepoNotFound", "Repository not found")
        if reads_files and repo.gated and not is_known:
            raise HubError(401, "GatedRepo", "Access to this repo is restricted")
        if writes and not is_known:
            raise HubError(403, "", "Forbidden: this needs a token that may write")
        return repo

    @staticmethod
    def _commit_of(repo: Repo, request: Request) -> str:
        revision = request.path_params.get("revision", "main")
        sha = repo.branches.get(revision, revision)
        if sha not in repo.commits:
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha

    async def _create_repo(self, request: Request) -> Response:
        if not _is_known(request):
            raise HubError(401, "", "Invalid username or password.")
        body = await request.json()
        kind, repo_id = f"{body.get('type', 'model')}s", f"{body.get('organization') or 'me'}/{body['name']}"
        url = f"{self.url}/{'' if kind == 'models' else kind + '/'}{repo_id}"
        if (kind, repo_id) in self.repos:
            return JSONResponse({"error": "You already created this repo", "url": url}, status_code=409)
        repo = self.repos[kind, repo_id] = Repo(private=body.get("visibility") == "private")
        repo.commit("main", {})
        return JSONResponse({"url": url})

    async def _validate_yaml(self, request: Request) -> Response:
        block = re.match(r"---\n(.*?)\n---\n", (await request.json())["content"], re.DOTALL)
        try:
            metadata = yaml.safe_load(block[1]) if block else {}
        except yaml.YAMLError as error:
            return JSONResponse({"errors": [{"message": str(error)}], "warnings": []}, status_code=400)
        warnings = [] if metadata else [{"message": "empty or missing yaml metadata in repo card"}]
        return JSONResponse({"errors": [], "warnings": warnings})

    def _info(self, request: Request) -> Response:
        repo = self._find(request)
        sha = self._commit_of(repo, request)
        return JSONResponse(
            {
                "id": _repo_id(request),
                "sha": sha,
                "private": repo.private,
                "gated": "auto" if repo.gated else False,
                "siblings": [{"rfilename": path} for path in sorted(repo.commits[sha])],
            }
        )

    def _tree(self, request: Request) -> Response:
        repo = self._find(request)
        files = repo.commits[self._commit_of(repo, request)]
        return JSONResponse([_tree_entry(path, file) for path, file in sorted(files.items())])

    def _create_branch(self, request: Request) -> Response:
        repo, branch = self._find(request, writes=True), request.path_params["revision"]
        if branch in repo.branches:
            raise HubError(409, "", f"Reference already exists: {branch}")
        repo.branches[branch] = repo.branches["main"]
        return Response()

    async def _preupload(self, request: Request) -> Response:
        repo = self._find(request, writes=True)
        present = repo.commits[self._commit_of(repo, request)]
        return JSONResponse(
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if _is_lfs(file["path"]) else "regular",
                        "shouldIgnore": False,
                        "oid": _comparable_oid(present.get(file["path"])),
                    }
                    for file in (await request.json())["files"]
                ]
            }
        )

    async def _lfs_batch(self, request: Request) -> Response:
        self._find(request, writes=True)
        return JSONResponse(
            {
                "transfer": "basic",
                "objects": [self._lfs_instruction(wanted) for wanted in (await request.json())["objects"]],
            }
        )

    def _lfs_instruction(self, wanted: dict) -> dict:
        instruction = {"oid": wanted["oid"], "size": wanted["size"]}
        if not (self.blobs / wanted["oid"]).exists():
            href = f"{self.url}/lfs/{wanted['oid']}"
            instruction["actions"] = {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}
        return instruction

    async def _lfs_upload(self, request: Request) -> Response:
        content = await request.body()
        if hashlib.sha256(content).hexdigest() != request.path_params["oid"]:
            raise HubError(400, "", "the bytes do not have the promised SHA-256")
        (self.blobs / request.path_params["oid"]).write_bytes(content)
        return Response()

    async def _lfs_verify(self, request: Request) -> Response:
        promised, blob = await request.json(), self.blobs / request.path_params["oid"]
        if not blob.exists() or blob.stat().st_size != promised["size"]:
            raise HubError(404, "", "no such upload")
        return JSONResponse({"message": "Verified"})

    async def _commit(self, request: Request) -> Response:
        repo, branch = self._find(request, writes=True), request.path_params["revision"]
        files = dict(repo.commits[self._commit_of(repo, request)])
        for line in (await request.body()).splitlines():
            operation = json.loads(line)
            value = operation["value"]
            match operation["key"]:
                case "file":
                    files[value["path"]] = self._store(value["path"], base64.b64decode(value["content"]))
                case "lfsFile":
                    files[value["path"]] = self._store(value["path"], (self.blobs / value["oid"]).read_bytes())
                case "deletedFile":
                    del files[value["path"]]
        sha = repo.commit(branch, files)
        return JSONResponse({"commitUrl": f"{self.url}/{_repo_id(request)}/commit/{sha}", "commitOid": sha})

    def _store(self, path: str, content: bytes) -> StoredFile:
        sha256 = hashlib.sha256(content).hexdigest()
        (self.blobs / sha256).write_bytes(content)
        git_oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return StoredFile(sha256, len(content), git_oid, _is_lfs(path))

    def _resolve(self, request: Request) -> Response:
        repo = self._find(request, reads_files=True)
        sha = self._commit_of(repo, request)
        file = repo.commits[sha].get(request.path_params["path"])
        if file is None:
            raise HubError(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        if not file.is_lfs:
            return FileResponse(self.blobs / file.sha256, headers={**headers, "ETag": f'"{file.git_oid}"'})
        headers |= {"X-Linked-ETag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
        return RedirectResponse(f"{self.cdn_url}/{file.sha256}", status_code=302, headers=headers)

    def _cdn(self, request: Request) -> Response:
        if "authorization" in request.headers:
            raise HubError(400, "", "the token must not leave the Hub")
        return FileResponse(self.blobs / request.path_params["oid"])


def _repo_id(request: Request) -> str:
    return f"{request.path_params['owner']}/{request.path_params['name']}"


def _is_known(request: Request) -> bool:
    sent = request.headers.get("authorization")
    if sent not in (None, f"Bearer {TOKEN}"):
        raise HubError(401, "", "Invalid credentials in Authorization header")
    return sent is not None


def _is_lfs(path: str) -> bool:
    return path.endswith(LFS_SUFFIXES)


def _comparable_oid(file: StoredFile | None) -> str | None:
    """By which the client sees that a file has not changed."""
    return file and (file.sha256 if file.is_lfs else file.git_oid)


def _tree_entry(path: str, file: StoredFile) -> dict:
    entry = {"type": "file", "path": path, "size": file.size, "oid": file.git_oid}
    if file.is_lfs:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 134}
    return entry


def _error_response(_request: Request, error: HubError) -> Response:
    headers = {"X-Error-Code": error.code, "X-Error-Message": error.message}
    return JSONResponse({"error": error.message}, status_code=error.status, headers=headers)


def run_client(code: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, whose environment is all that huggingface_hub knows; see `HubServer.env`."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=env, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def hub_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """An empty Hub on the loopback."""
    server = HubServer(tmp_path_factory.mktemp("hub"))
    yield server
    server.stop()
