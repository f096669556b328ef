"""Find the bug: one wrong backward is hidden in the running library, and the checker is yours.

    python -m tinygrad_edu.bughunt              a random bug, in an interactive Python prompt
    python -m tinygrad_edu.bughunt --seed 7     always the same one
    python -m tinygrad_edu.bughunt --solve      hunt by machine: every check of the kill table, and what failed
    python -m tinygrad_edu.bughunt --list       the table: each bug, and what catches it

Nothing on disk is changed: the bug is gone when the program ends.
"""
import argparse
import code
import inspect
import random

import numpy as np

import tinygrad_edu as tg
from tinygrad_edu import functional as F
from tinygrad_edu.bughunt import mutants
from tinygrad_edu.testing import GradientError, gradcheck, gradgradcheck, numerical_gradient

BANNER = """
One wrong derivative is hidden in this library (seed {seed}). All values are right; some gradient is not.
At hand: np, tg (the library), F (functional), gradcheck, gradgradcheck, numerical_gradient, and x, a, b to try them on.

    gradcheck(tg.multiply, a, b)        a Report if right; else a GradientError that names the likeliest cause
    gradcheck(tg.tanh, x, order=2)      the second derivative too
    ops()                               what may be broken
    hint()                              one more hint each time
    guess("Multiply")                   the operation whose backward is wrong

Ctrl-D ends the hunt.
"""


class Hunt:
    """One hidden Mutant, and what the learner may ask about it."""

    def __init__(self, mutant):
        self.mutant, self.guesses, self.hints, self.found = mutant, 0, 0, False

    def ops(self):
        """The names that can be guessed."""
        print(", ".join(sorted({m.op for m in mutants.MUTANTS.values()})))

    def guess(self, op):
        """Is it this operation? Names as in ops(), in any case."""
        self.guesses += 1
        self.found = self.found or str(op).lower() == self.mutant.op.lower()
        print(f"Yes, {self.guesses} guess{'es' if self.guesses > 1 else ''}.\n{self.answer()}" if self.found else
              f"No, it is not {op}.")

    def hint(self):
        """A little more each time: the file, then a function to check."""
        self.hints += 1
        module = self.mutant.owner.__module__ if inspect.isclass(self.mutant.owner) else self.mutant.owner.__name__
        print(f"It is in {module}." if self.hints == 1 else f"Check {self.mutant.checks[0]}.")

    def answer(self):
        wrong = self.mutant.wrong
        text = inspect.getsource(wrong) if inspect.isfunction(wrong) else f"{self.mutant.method} = {wrong}\n"
        return f"{self.mutant.op}: {self.mutant.slip}\n\n{text}"

    def names(self):
        rng = np.random.default_rng(0)
        return {"np": np, "tg": tg, "F": F, "gradcheck": gradcheck, "gradgradcheck": gradgradcheck,
                "numerical_gradient": numerical_gradient, "ops": self.ops, "guess": self.guess, "hint": self.hint,
                "x": rng.uniform(0.5, 2.0, 5), "a": rng.standard_normal((3, 4)), "b": rng.uniform(0.5, 2.0, 4)}


def hidden(seed):
    """The Mutant that this seed hides."""
    return random.Random(seed).choice(list(mutants.MUTANTS.values()))


def solve():
    """Run every check of the kill table against the library as it is; what fails to first order comes first."""
    errors = {}
    for name, check in mutants.CHECKS.items():
        try:
            check.run()
        except GradientError as error:
            errors[name] = error
    for name, error in sorted(errors.items(), key=lambda item: item[1].check in ("order 2", "adjoint")):
        print(f"{name:30s}{error.check:16s}{error.cause}")
    print(f"{len(errors)} of {len(mutants.CHECKS)} checks failed; a wrong backward spoils others' second order too.\n")


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tinygrad_edu.bughunt", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, help="which bug; the same seed hides the same one")
    parser.add_argument("--list", action="store_true", help="print every bug and what catches it")
    parser.add_argument("--solve", action="store_true", help="let the machine hunt")
    options = parser.parse_args(arguments)
    if options.list:
        print(mutants.kill_table())
        return 0

    seed = random.SystemRandom().randrange(10_000) if options.seed is None else options.seed
    hunt = Hunt(hidden(seed))
    with mutants.planted(hunt.mutant):
        if options.solve:
            solve()
            print(f"The bug was in {hunt.answer()}")
        else:
            code.interact(BANNER.format(seed=seed), local=hunt.names(), exitmsg="")
            print("Well hunted." if hunt.found else f"\nNot found yet; --seed {seed} hides the same bug again.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
