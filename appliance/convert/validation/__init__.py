"""How far a graph is from its source: numbers, the task's own metric, and what is allowed."""
