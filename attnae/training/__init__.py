"""Code shared by all papers: the base task, and the callbacks that record a run."""
