"""Storage that is no format: scratch arrays, atomic writes, chunk stores, object storage, thread limits."""
