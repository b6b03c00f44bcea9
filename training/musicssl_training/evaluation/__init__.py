"""What is an embedding worth? Downstream tasks, frozen and fair."""
