import os
import signal
import threading

import pytest

from lft_ray.search.tune.tuner import catch_interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_has_its_own_effect(number):
    heard = []
    before = signal.signal(number, lambda *_: heard.append("second"))
    try:
        with catch_interrupts() as interrupt:
            interrupt.raise_if_set()
            os.kill(os.getpid(), number)
            assert heard == []
            with pytest.raises(KeyboardInterrupt):
                interrupt.raise_if_set()
            os.kill(os.getpid(), number)
            assert heard == ["second"]
    finally:
        signal.signal(number, before)


def test_handlers_are_given_back():
    before = signal.getsignal(signal.SIGINT)
    with catch_interrupts():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_have_no_handlers():
    seen = []

    def work() -> None:
        with catch_interrupts() as interrupt:
            seen.append(interrupt.is_set)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
