"""Studies: a grid of pre-training runs, each evaluated, and a report of what each factor does."""
