"""Every lesson runs under --fast without a network, meets its claims, leaves a record and a picture."""
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lessons.__main__ import find_lessons, title
from tinygrad_edu import threads

ROOT = Path(__file__).resolve().parents[1]
LESSONS = find_lessons(ROOT / "lessons")

# Python imports a module of this name at its start. A lesson may talk to its own processes, never to an address.
NO_NETWORK = '''
import socket

def guard(method):
    def connect(self, *arguments):
        if self.family != getattr(socket, "AF_UNIX", None):
            raise OSError("the network is blocked in this test")
        return method(self, *arguments)
    return connect

def refuse(*arguments, **options):
    raise OSError("the network is blocked in this test")

for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, guard(getattr(socket.socket, name)))
socket.getaddrinfo = refuse
'''


def run_offline(arguments, folder, threads=None):
    """Run Python with sockets blocked and its output in `folder`; the time limit only ends what would never end."""
    (folder / "sitecustomize.py").write_text(NO_NETWORK)
    search = os.pathsep.join([str(folder), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": search, "TINYGRAD_EDU_OUT": str(folder)}
    if threads:
        environment |= {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=folder, env=environment, timeout=240,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def lesson_runs(request, tmp_path_factory):
    """{(lesson, seed): (its folder, the future of its process)} of the chosen tests; as many run at once as there are cores."""
    chosen = [(item.callspec.params["path"], item.callspec.params["seed"]) for item in request.session.items
              if item.originalname in ("test_lesson", "test_lesson_on_another_seed")]
    pool = ThreadPoolExecutor(threads.thread_count())
    folders = [tmp_path_factory.mktemp(path.stem) for path, _ in chosen]
    yield {key: (folder, pool.submit(run_offline, [key[0], "--fast", "--seed", key[1]], folder, threads=1))
           for key, folder in zip(chosen, folders)}
    pool.shutdown(cancel_futures=True)


def check(run, seed):
    """The record of a run must hold a claim at least, all judged claims met, and a picture that was written."""
    folder, process = run[0], run[1].result()
    assert process.returncode == 0, process.stdout
    record = json.loads(next(folder.glob("[0-9]*.json")).read_text(encoding="utf-8"))
    assert record["fast"] and record["seed"] == seed
    assert any(claim["met"] for claim in record["claims"])
    assert (folder / record["figure"]).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson(lesson_runs, path, seed):
    check(lesson_runs[path, seed], seed)


@pytest.mark.deep
@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson_on_another_seed(lesson_runs, path, seed):
    check(lesson_runs[path, seed], seed)


def test_every_lesson_has_a_title_and_a_number_of_its_own():
    assert all(title(path) for path in LESSONS)
    numbers = [path.stem.partition("_")[0] for path in LESSONS]
    assert len(set(numbers)) == len(numbers) and "00" in numbers


@pytest.mark.parametrize("call", ["socket.create_connection(('127.0.0.1', 9))",
                                  "socket.socket().connect(('127.0.0.1', 9))",
                                  "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
                                  "urllib.request.urlopen('http://example.org')"])
def test_the_network_really_is_blocked(call, tmp_path):
    process = run_offline(["-c", f"import socket, urllib.request; {call}"], tmp_path)
    assert process.returncode == 1 and "the network is blocked in this test" in process.stdout
