"""Webhooks: verify, find the inboxes, enqueue, commit, answer 200. Nothing is parsed further here.

`receiving` is the way in that all providers share; each provider has a module of its own. What a
sender gets back is protocol §5: 200 only after the commit, 401 for a wrong signature or secret, 413
over the limit, 503 for trouble of our own.
"""
