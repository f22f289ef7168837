"""One file per promise of the project, named after its number.

``make test`` runs them with reduced counts and the same assertions, ``make promises`` with the
counts that the project claims.  Each docstring says how the test was seen to fail: against a copy
of the engine that was broken on purpose.
"""
