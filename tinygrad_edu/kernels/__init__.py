"""Floor 3: hand-written forward and backward on arrays, each beside the composition that defines it."""
