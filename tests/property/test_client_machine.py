"""The client against the server's session, over a wire that delays, loses and ends."""

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from property.test_session_machine import DISTURBANCES, SessionMachine
from virtual_client import RealClient


class ClientMachine(SessionMachine):
    """The histories of the session's machine, with our own client in the place of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.real = RealClient(["tenant", "user"])
        self.client = self.real

    @rule(count=st.integers(1, 9), is_diligent=st.sampled_from([True, True, True, False]))
    def take(self, count: int, is_diligent: bool) -> None:
        """The application takes what waits, which may be acknowledged then."""
        self.real.take(count, is_diligent=is_diligent)

    @rule(what=DISTURBANCES)
    def disturb(self, what: str | float) -> None:
        super().disturb(what)
        if isinstance(what, float) and self.server is not None:
            self.real.pass_time(what)
            self.leave_if_it_wants_to()

    @precondition(lambda self: self.is_connected() and self.loses_in_between())
    @rule()
    def lose_a_frame(self) -> None:
        """The wire loses what stands before another one: the client notices, and asks."""
        self.down.popleft()

    def loses_in_between(self) -> bool:
        if len(self.down) < 2:
            return False
        first, second = self.down[0], self.down[1]
        return (
            isinstance(first, dict)
            and isinstance(second, dict)
            and first["type"] == second["type"] == "events"
            and second["from"] == first["to"]
            and first["from"] == str(self.real.protocol.progress.told)
        )

    def vanish(self) -> None:
        if self.server is not None:
            self.real.lost()
        super().vanish()

    def hear_the_server(self) -> None:
        super().hear_the_server()
        self.leave_if_it_wants_to()

    def leave_if_it_wants_to(self) -> None:
        if self.real.wants_to_leave:
            self.real.wants_to_leave = False
            self.vanish()

    def let_everything_arrive(self) -> None:
        super().let_everything_arrive()
        while len(self.real.protocol.progress):
            self.real.take(100)
            super().let_everything_arrive()
        self.real.take(1)


def test_every_history_keeps_the_promises():
    run_state_machine_as_test(
        ClientMachine,
        settings=settings(
            max_examples=200,
            stateful_step_count=60,
            deadline=None,
            print_blob=True,
            phases=[Phase.reuse, Phase.generate, Phase.shrink],
        ),
    )
