"""The starter: what `quorbit init` copies. Ordinary modules, linted and type-checked like everything else."""
