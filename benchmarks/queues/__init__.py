"""Measures queues side by side: the same messages, the same PostgreSQL, the same clock."""
