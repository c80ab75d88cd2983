"""The benchmark runner: catalog -> plan -> running -> store -> reporting. Imports neither torch nor lightning."""
