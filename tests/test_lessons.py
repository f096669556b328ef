"""Every lesson runs under --fast without a network, meets its claims, leaves a record and a picture."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lessons.__main__ import find_lessons, title

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


def run_offline(arguments, folder):
    """Run Python with sockets blocked and its output in `folder`; the time limit only ends what would never end."""
    (folder / "sitecustomize.py").write_text(NO_NETWORK)
    search = os.pathsep.join([str(folder), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": search, "TINYGRAD_EDU_OUT": str(folder)}
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=folder, env=environment, timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def check(path, folder, seed):
    """Run one lesson; its record must hold a claim at least, all judged claims met, and a picture that was written."""
    process = run_offline([path, "--fast", "--seed", seed], folder)
    assert process.returncode == 0, process.stdout
    record = json.loads((folder / f"{path.stem}.json").read_text(encoding="utf-8"))
    assert record["fast"] and record["seed"] == seed
    assert any(claim["met"] for claim in record["claims"])
    assert (folder / record["figure"]).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson(path, tmp_path):
    check(path, tmp_path, seed=0)


@pytest.mark.deep
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lesson_on_another_seed(path, tmp_path):
    check(path, tmp_path, seed=1)


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
