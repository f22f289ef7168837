"""What commands and files over ssh cost, beside bare asyncssh and others who do the same.

``python -m benchmarks.ssh --help`` tells what there is.
"""
