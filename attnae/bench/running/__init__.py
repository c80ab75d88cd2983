"""How planned runs are executed: on this machine's devices or on a cluster's, watched, stopped and resumed."""
