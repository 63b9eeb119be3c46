"""What the benchmarks share: problems and peers, time and memory, tables and figures."""
