"""What the commands say: plain text, whatever the names of files and styles hold."""

import typer


def say(text: object, err: bool = False) -> None:
    """Print a text; what no terminal shows as it is, or takes for a command, is escaped.

    Names come from files and from the Hub: a terminal would carry out the control characters in
    them. Lines and tabs are kept.
    """
    typer.echo(escape(str(text)), err=err)


def escape(text: str) -> str:
    """The text as `say` prints it."""
    return "".join(map(_escape, text))


def say_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    """Print a warning as one line; what `warnings.showwarning` is for."""
    say(f"warning: {message}", err=True)


def _escape(character: str) -> str:
    if character.isprintable() or character in "\n\t":
        return character
    return character.encode("unicode_escape", "surrogatepass").decode()
