"""Run by test_checkpoints.py: children save checkpoints without a pause, and are killed, `kill -9`, at random moments.

    python killed_saves.py FOLDER KILLS [naive]

Every number of checkpoint i is i, so a mixture of two shows. A child reports each finished save through a pipe. After each kill
the file must load, be whole, and be no older than the last save that was reported. With "naive" children write straight to the
file. Prints one line: how many kills were survived, how many left a temporary file.
"""
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from tinygrad_edu import io, nn
from tinygrad_edu.io import checkpoints


def save_for_ever(path, step, pipe):
    """The child's life."""
    model = nn.Linear(512, 256)
    while True:
        step += 1
        for p in model.parameters():
            p.data[...] = step
        io.save_checkpoint(path, model=model, step=step, history=np.full(1000, step))
        os.write(pipe, step.to_bytes(8, "little"))


def survives(path, seconds, step):
    """Kill a child after its first save and some `seconds`. Returns the step of what it left, None if that is damaged."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        save_for_ever(path, step, there)
    os.close(there)
    confirmed = os.read(here, 8)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(here, 1 << 16):
        confirmed += more
    os.close(here)

    model = nn.Linear(512, 256)
    try:
        values = io.load_checkpoint(path, model=model)
    except io.CheckpointError:
        return None
    numbers = np.concatenate([p.data.reshape(-1) for p in model.parameters()] + [values["history"]])
    whole = (numbers == values["step"]).all() and values["step"] >= int.from_bytes(confirmed[-8:], "little")
    return values["step"] if whole else None


def main(folder, kills, naive=False):
    if naive:
        checkpoints.write_atomically = lambda path, write: write(path)
    path, draw, step, survived, left = Path(folder) / "run.safetensors", random.Random(0), 0, 0, 0
    for _ in range(int(kills)):
        reached = survives(path, draw.uniform(0, 0.02), step)
        survived += reached is not None
        step = step + 1000 if reached is None else reached
        left += len(list(path.parent.glob(".run.*")))
        for leftover in path.parent.glob(".run.*"):
            leftover.unlink()
    print(survived, left)


main(*sys.argv[1:])
