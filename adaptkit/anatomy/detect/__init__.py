"""From a trace to stacks of blocks, their branches and named sites."""
