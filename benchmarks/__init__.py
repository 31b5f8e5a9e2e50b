"""Benchmarks, one question a file; see README.md."""
