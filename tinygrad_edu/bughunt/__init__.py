"""Floor 5: wrong backwards by name, to test the checker, and a game that hides one: `python -m tinygrad_edu.bughunt`."""
from . import mutants_arrays, mutants_elementwise, mutants_kernels, mutants_layers     # they fill the tables in mutants.py
