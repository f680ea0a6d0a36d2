"""``--record`` records the outputs of steps again instead of comparing them."""


def pytest_addoption(parser):
    parser.addoption("--record", action="store_true", help="record outputs of golden tests whose REVISION was raised")
