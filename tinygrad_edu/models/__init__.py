"""Floor 5: models, one paper a file, grouped as the lessons are. No training loop, no plot, no parsing in here."""
