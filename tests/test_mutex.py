"""The lock that compiled code takes without Python: by threads that want it at once."""

import threading

from featurestore.mutex import Mutex


def test_only_one_thread_has_it():
    mutex, entered, go_on = Mutex(), threading.Event(), threading.Event()

    def hold() -> None:
        with mutex:
            entered.set()
            go_on.wait(30)

    assert mutex.try_acquire()
    assert mutex.is_held
    assert not mutex.try_acquire()
    holder = threading.Thread(target=hold)
    holder.start()
    assert not entered.wait(0.05)  # it waits, and lets others run
    mutex.release()
    assert entered.wait(30)
    assert mutex.is_held
    assert not mutex.try_acquire()
    go_on.set()
    holder.join()
    assert not mutex.is_held
    assert mutex.try_acquire()


def test_what_is_raised_within_gives_it_back():
    mutex = Mutex()
    try:
        with mutex:
            raise KeyError
    except KeyError:
        pass
    assert not mutex.is_held
