"""`python -m queuectl`, and the console script."""


def main() -> None:
    """Run the command line. What a start allocates is there to stay: a fifth of it was looking for garbage in that."""
    import gc

    gc.set_threshold(100_000)
    from queuectl.cli import run

    try:
        run()
    finally:
        gc.freeze()  # or the interpreter looks through all of it again as it ends


if __name__ == "__main__":
    main()
