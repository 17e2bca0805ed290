"""What may happen to the queue, and how often."""

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from property.queue_limit_model import Limit
from property.queue_model import Order

LINES = st.sampled_from([("t1", "a"), ("t1", "a"), ("t1", "b"), ("t2", "a"), ("t1", None)])
# Most pauses are of a key: that one alone keeps others of its tenant running.
SCOPES = st.sampled_from([
    (None, None), ("t1", None), ("t1", "a"), ("t1", "a"), ("t1", "a"), ("t1", "b"), ("t2", "a"),
])  # fmt: skip
POLICIES = st.sampled_from(["block", "block", "skip"])
CAPS = st.sampled_from([
    Limit("queue", 1), Limit("queue", 3), Limit("tenant", 1), Limit("tenant", 2),
    Limit("tenant", 1, tenant="t1"), Limit("tenant", 3, tenant="t1"),
])  # fmt: skip
RATES = st.sampled_from([
    Limit("queue", 1, seconds=1), Limit("tenant", 1, seconds=5), Limit("key", 1, seconds=6),
    Limit("key", 1, seconds=30, tenant="t1"),
])  # fmt: skip
LIMITS = CAPS | RATES
WORKERS = st.sampled_from(["A", "B"])
ORDERS = st.builds(
    Order,
    priority=st.sampled_from([0, 3]),
    delay=st.sampled_from([None, None, None, 3, 40]),
    dedupe=st.sampled_from([None, None, "x", "y"]),
    is_open=st.sampled_from([False, False, True]),
)
PICKS = st.integers(0, 30)
ENDS = st.lists(
    st.sampled_from(["done", "done", "soon", "later", "permanent", "untouched"]),
    min_size=1,
    max_size=5,
)
WAITS = {"soon": 5, "later": 60}

# For a longer search than that of every run: raise the first one.
EXAMPLES = 60
STEPS = 40
SETTINGS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    # Without the phase that explains: it takes minutes over histories of this length.
    phases=[Phase.reuse, Phase.generate, Phase.shrink],
)
