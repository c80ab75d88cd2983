"""The benchmark runner: catalog -> plan -> launch -> store -> report. Imports neither torch nor lightning."""
