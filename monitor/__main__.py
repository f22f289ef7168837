"""``python -m monitor``: the command ``orchestrion``, where it is not installed."""

from .cli import main

if __name__ == "__main__":
    main()
