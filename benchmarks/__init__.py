"""What the README's performance figures come from: `make benchmarks`."""
