"""Owns `defter console`: it runs the console, and `defter console user add` writes the file of its users."""

import secrets
from pathlib import Path
from typing import Annotated

import typer

from console.users import LEAST_PASSWORD, UsersUnusable, add

app = typer.Typer(
    invoke_without_command=True,
    no_args_is_help=False,
    help="Run the console, with its settings from `DEFTER_CONSOLE_…`.",
)
user = typer.Typer(no_args_is_help=True, help="Those who may sign in.")
app.add_typer(user, name="user")


@app.callback()
def run(context: typer.Context) -> None:
    """Run the console, with its settings from `DEFTER_CONSOLE_…`."""
    if context.invoked_subcommand is None:
        # Whoever only asks for help needs no server.
        from console.__main__ import main  # noqa: PLC0415

        raise typer.Exit(main())


@user.command("add")
def add_user(
    name: Annotated[str, typer.Argument(help="the subject of the person's tokens; what the ledger records")],
    group: Annotated[
        list[str] | None,
        typer.Option(help="a value of the claim `groups`, which the policy names; repeatable"),
    ] = None,
    file: Annotated[Path, typer.Option(envvar="DEFTER_CONSOLE_USERS_FILE", help="the file of users")] = Path(
        "console-users.toml"
    ),
    generate: Annotated[bool, typer.Option(help="make a password and print it, instead of asking")] = False,
) -> None:
    """Add a user, or give one another password; without --group they keep their groups."""
    if generate:
        password = secrets.token_urlsafe(18)
    else:
        password = typer.prompt(
            f"Password of {name} ({LEAST_PASSWORD} characters or more)",
            hide_input=True,
            confirmation_prompt=True,
        )
    try:
        is_new = add(file, name, password, group or ())
    except (UsersUnusable, ValueError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except OSError as error:
        typer.echo(f"{error.filename}: {error.strerror}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{name} {'is added to' if is_new else 'has another password in'} {file}")
    if generate:
        typer.echo(password)
