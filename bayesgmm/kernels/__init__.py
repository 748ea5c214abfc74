"""Compiled loops over rows and small matrices, how they are compiled, and the threads that they share out."""
