"""Wrong backwards by name, to test the checker. A checker that has never caught a mistake proves nothing.

Each Mutant replaces one method of one live class, as a slip of the pen would: a sign, a missing term, a missing mean,
a transposition, a sum over a broadcast axis left out, a flipped kernel, a wrong second derivative, a write into
somebody else's memory, a float64. `planted(mutant)` plants it for the length of a `with` block; `caught_by(mutant)`
asks the checker.

    with planted(MUTANTS["tanh_forgets_the_square"]):
        gradcheck(tanh, x)                                      # GradientError
"""
import contextlib
import dataclasses
import typing

import numpy as np

from ..faces import kernel_face
from ..testing import GradientError, gradcheck

MUTANTS = {}                    # name -> Mutant, filled by the tables in mutants_*.py
CHECKS = {}                     # name -> Check


@dataclasses.dataclass(frozen=True)
class Check:
    """A function and inputs on which the right library passes gradcheck to second order."""
    function: typing.Callable
    inputs: tuple

    def run(self):
        return gradcheck(self.function, *self.inputs, order=2)


@dataclasses.dataclass(frozen=True)
class Mutant:
    """`wrong` in the place of `owner.method`. `checks`: the Checks that must see it; `slip`: what went wrong."""
    name: str
    owner: object
    method: str
    wrong: object
    checks: tuple
    slip: str

    @property
    def op(self):
        """The class that is wrong; for a function of a module, the function."""
        return self.owner.__name__ if isinstance(self.owner, type) else self.method


@contextlib.contextmanager
def planted(mutant):
    """Inside the `with` block the library holds the wrong method. Kernels run their arrays there: in those it is planted."""
    own, right = mutant.method in vars(mutant.owner), getattr(mutant.owner, mutant.method)
    setattr(mutant.owner, mutant.method, mutant.wrong)
    try:
        with kernel_face("arrays"):
            yield mutant
    finally:
        if own:
            setattr(mutant.owner, mutant.method, right)
        else:
            delattr(mutant.owner, mutant.method)            # it was inherited


def caught_by(mutant):
    """The GradientError of the first of the mutant's checks that sees it, or None if it survives."""
    with planted(mutant):
        for name in mutant.checks:
            try:
                CHECKS[name].run()
            except GradientError as error:
                return error
    return None


def kill_table():
    """One line for each mutant: its name, the operation, the check that caught it, the cause that the checker named."""
    lines = [f"{'mutant':46s}{'operation':15s}{'caught by':16s}likeliest cause"]
    for mutant in MUTANTS.values():
        error = caught_by(mutant)
        check_name, cause = (error.check, error.cause) if error else ("SURVIVES", "")
        lines.append(f"{mutant.name:46s}{mutant.op:15s}{check_name:16s}{cause}")
    return "\n".join(lines)


# ---------------------------------------------------------------- how the tables are written

def wrong(owner, *checks, method="backward"):
    """Decorator: the function below is a mutant of `owner.method`; its name and its docstring are the mutant's."""
    def register(function):
        name = function.__name__
        MUTANTS[name] = Mutant(name, owner, method, function, checks, function.__doc__)
        return function
    return register


def check(name, function, *inputs):
    """A row of CHECKS; its name stands in the messages."""
    if function.__name__ == "<lambda>":
        function.__name__ = name
    CHECKS[name] = Check(function, inputs)


def normal(*shape):
    """Fixed normal numbers, other ones for every shape."""
    return np.random.default_rng([len(shape), *shape]).standard_normal(shape)


def positive(*shape):
    """Fixed numbers between 0.5 and 2."""
    return np.random.default_rng([1, len(shape), *shape]).uniform(0.5, 2.0, shape)


def constant(x):
    """x without its graph: in a backward, right to first order and wrong to second."""
    return x.detach() if hasattr(x, "detach") else x
