"""Every optimizer on the strict stand-in for CuPy: the steps of the host, no synchronisation, states that move both ways."""
import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Tensor, backend, nn, optim
from tinygrad_edu.testing import strict_cupy
from tinygrad_edu.testing.strict_cupy import counts, installed
from test_optim import RULES, problem


def run(name, device, state=None):
    """The parameters after five steps on `device`, from a state dict if one is given, and the optimizer."""
    starts, gradients = problem()
    ps = [nn.Parameter(w, device=device) for w in starts]
    optimizer = getattr(optim, name.split()[0])(ps, **RULES[name])
    if state is not None:
        optimizer.load_state_dict(state)
    for step in range(5):
        for i, (p, g) in enumerate(zip(ps, gradients)):
            p.grad = None if i == 1 and step == 3 else Tensor(g[step], device=device)
        counts["syncs"] = 0
        optim.clip_grad_norm_(ps, 3.0), optim.clip_grad_norm_(ps, 2.0, float("inf")), optim.clip_grad_value_(ps, 1.5)
        with tg.kernel_face("arrays"):
            optimizer.step()
        assert counts["syncs"] == 0
    return [p.detach().numpy() for p in ps], optimizer


@pytest.mark.parametrize("name", RULES)
def test_steps_and_states_are_those_of_the_host(name):
    with installed(backend, strict_cupy.module()):
        tg.set_default_device("cuda")
        host, host_optimizer = run(name, "cpu")
        device, device_optimizer = run(name, "cuda")
        for mine, other in zip(device, host):
            np.testing.assert_allclose(mine, other, rtol=1e-12)

        further, _ = run(name, "cpu", host_optimizer.state_dict())
        for here, optimizer in (("cuda", host_optimizer), ("cpu", device_optimizer)):
            for mine, other in zip(run(name, here, optimizer.state_dict())[0], further):
                np.testing.assert_allclose(mine, other, rtol=1e-12)
