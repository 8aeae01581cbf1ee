"""What lumbre costs, measured. `make bench` runs all of it."""
