"""What the engine costs, against the leanest correct runner that bare asyncio allows.

``python -m benchmarks`` prints the table; see :mod:`benchmarks.__main__` for its options.
"""
