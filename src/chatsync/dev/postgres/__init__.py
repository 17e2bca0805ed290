"""The parts of the embedded PostgreSQL, which `chatsync.dev.embedded` puts together."""
