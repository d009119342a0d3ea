"""``python -m lft_ray`` is the ``lft`` command."""

from lft_ray.cli.entry import main

if __name__ == "__main__":
    main()
