"""The tests; a package, so that they share fixtures by name: ``from tests.sshd import Sshd``."""
