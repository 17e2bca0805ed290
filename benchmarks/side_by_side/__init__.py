"""Measures chatsync beside the usual stack: the same load, the same clock, the same machine."""
