"""What all papers share: the evaluation task and the callbacks that record a run."""
