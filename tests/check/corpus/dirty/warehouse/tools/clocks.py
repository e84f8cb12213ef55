import time
from datetime import datetime


def stamp() -> str:
    return datetime.now().isoformat()  # expect: DUR101


def label(sku: str) -> str:
    return f"{sku} {time.time_ns()}"  # expect: DUR101


def wait_a_little() -> None:
    time.sleep(1)  # expect: DUR105


def unused() -> float:
    return time.monotonic()


def by_hand() -> None:
    time.sleep(1)  # expect: DUR105


def by_robot() -> None:
    time.sleep(1)  # expect: DUR105


def by_drone() -> None:
    time.sleep(1)  # expect: DUR105
