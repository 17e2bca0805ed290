"""chatsync: the real-time backbone of a shared chat inbox, on PostgreSQL alone."""

__version__ = "0.1.0"
