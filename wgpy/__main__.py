"""`python -m wgpy` is `wgpy`."""

from wgpy.cli import main

if __name__ == "__main__":
    main()
