"""The switch between the faces of a kernel."""
import os
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Tensor, faces, functional as F
from tinygrad_edu.kernels import normalization


def node_of_a_layer_norm(dtype="float32"):
    return F.layer_norm(Tensor(np.ones((2, 3), dtype), requires_grad=True), 3).creator


@pytest.mark.parametrize("face, file", [("arrays", "kernels.normalization"), ("loops", "kernels.loops.normalization")])
def test_the_switch_chooses_the_class(face, file):
    with tg.kernel_face(face):
        node = node_of_a_layer_norm()
    assert type(node).__module__ == f"tinygrad_edu.{file}" and node.name == "LayerNorm"


def test_the_definition_has_no_node_of_the_kernel():
    with tg.kernel_face("reference"):
        assert not isinstance(node_of_a_layer_norm(), normalization.LayerNorm)


def test_without_numba_the_compiled_face_is_the_arrays(monkeypatch):
    monkeypatch.setattr(faces, "can_compile", False)
    with tg.kernel_face("compiled"):
        assert type(node_of_a_layer_norm()) is normalization.LayerNorm


def test_what_numba_cannot_do_stays_with_the_arrays():
    with tg.kernel_face("loops"):
        assert type(node_of_a_layer_norm("float16")) is normalization.LayerNorm


def test_loops_are_plain_python_on_the_face_loops():
    from tinygrad_edu.kernels.loops import normalization as loops
    with tg.kernel_face("loops"):
        assert faces.compiled(loops.forward) is loops.forward


def test_an_unknown_face_is_refused():
    with pytest.raises(ValueError, match="kernel face: got 'fast', expected one of reference, arrays, loops, compiled"):
        with tg.kernel_face("fast"):
            pass


def test_the_face_is_restored_after_an_error():
    before = faces.current
    with pytest.raises(KeyError):
        with tg.kernel_face("loops"):
            raise KeyError
    assert faces.current == before


@pytest.mark.parametrize("environment, face", [({"TINYGRAD_EDU_KERNELS": "loops"}, "loops"), ({}, "compiled"),
                                               ({"TINYGRAD_EDU_REFERENCE": "1"}, "reference")])
def test_the_environment_chooses_for_a_process(environment, face):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TINYGRAD_EDU_")}
    program = "from tinygrad_edu import faces; print(faces.current)"
    done = subprocess.run([sys.executable, "-c", program], env=clean | environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == face
