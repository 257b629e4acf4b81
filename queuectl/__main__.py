"""`python -m queuectl`, and the console script."""


def main() -> None:
    """Run the command line."""
    from queuectl.cli import run

    run()


if __name__ == "__main__":
    main()
