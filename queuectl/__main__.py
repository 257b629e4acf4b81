"""`python -m queuectl`, and the console script."""


def main() -> None:
    """Run the command line."""
    import gc

    gc.set_threshold(100_000)  # what a start allocates is there to stay: looking through it for garbage costs 4 ms
    from queuectl.cli import run

    run()


if __name__ == "__main__":
    main()
