"""Work given to other processes: in its order, and its errors are the command's."""

import signal
from collections.abc import Callable

import pytest

from svp_diffusers.data.workers import map_in_order
from svp_diffusers.errors import CheckpointError


def make_absolute() -> Callable[[int], int]:
    return abs


def fail_to_make() -> Callable[[int], int]:
    raise CheckpointError("missing cannot be loaded")


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_arguments(workers: int) -> None:
    assert list(map_in_order(make_absolute, range(-20, 20), workers)) == [
        abs(value) for value in range(-20, 20)
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_worker_is_raised_here(workers: int) -> None:
    with pytest.raises(CheckpointError, match="missing cannot be loaded"):
        list(map_in_order(fail_to_make, range(9), workers))


def read_interrupt_handler(number: int) -> bool:
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def make_reader() -> Callable[[int], bool]:
    return read_interrupt_handler


def test_ctrl_c_is_for_the_parent_alone() -> None:
    """Whose workers would otherwise print a traceback each."""
    before = signal.getsignal(signal.SIGINT)
    assert list(map_in_order(make_reader, range(2), 2)) == [True, True]
    assert signal.getsignal(signal.SIGINT) == before
