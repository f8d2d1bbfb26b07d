"""One call that chooses everything: starts, warps and the number of steps, by the data."""
