"""The kinds of figures in a report, a module each: trade-off, grid, curves, sweep."""
