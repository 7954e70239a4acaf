"""How a request reaches a model: batching, instances, life cycle, statistics."""
