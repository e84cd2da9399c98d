"""`python -m landmark_thesis` is the same program as `landmark-thesis`."""

from landmark_thesis.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
