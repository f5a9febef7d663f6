"""`python -m sernb`, the same as the command `sernb`."""

from sernb.cli import app

if __name__ == "__main__":
    app(prog_name="sernb")
