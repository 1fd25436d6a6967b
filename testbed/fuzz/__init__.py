"""Fuzzing: many small scenarios against the checks, and a failure made small enough to read."""
