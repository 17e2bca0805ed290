"""What `bell` and `wakeup` run: writers, workers and producers in processes of their own."""
