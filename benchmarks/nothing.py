"""The reference for `enqueue`: a typer program with one command that does nothing."""

import typer

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def enqueue(command: str) -> None:
    """Takes a command and does nothing with it."""


if __name__ == "__main__":
    app()
