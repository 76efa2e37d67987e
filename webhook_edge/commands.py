"""Owns the commands that try an endpoint out; they stand under `defter webhook`."""

import os
from http import HTTPStatus
from typing import Annotated

import typer

from webhook_edge.sending import Sample, SendingFailed, send

app = typer.Typer(no_args_is_help=True, help="Try the webhook edge out.")


@app.callback()
def group() -> None:
    """Try the webhook edge out."""


@app.command("send")
def send_webhook(
    *,
    url: Annotated[str, typer.Option(help="…/webhooks/{scheme}/{endpoint} of an edge")],
    scheme: Annotated[str, typer.Option(help="standard, stripe or adyen")],
    secret_env: Annotated[str, typer.Option(help="environment variable with the endpoint's secret")],
    type_: Annotated[str, typer.Option("--type", help="the provider's own name, such as payment.captured")],
    reference: Annotated[str, typer.Option(help="our id of the payment, such as dep_…")] = "",
    payment_ref: Annotated[str, typer.Option(help="the provider's id of the payment")] = "sample-payment",
    event_id: Annotated[str, typer.Option(help="the same one is the same event; default: a fresh one")] = "",
    amount_minor: Annotated[int, typer.Option(help="in the provider's minor units")] = 100,
    currency: Annotated[str, typer.Option(help="ISO 4217")] = "EUR",
    username: Annotated[str, typer.Option(help="of basic auth, which Adyen uses beside")] = "",
    password_env: Annotated[str, typer.Option(help="environment variable with the password")] = "",
) -> None:
    """Sign a sample event as its provider would, send it, and print status and body of the answer."""
    sample = Sample(
        type=type_,
        event_id=event_id,
        payment_ref=payment_ref,
        reference=reference,
        amount_minor=amount_minor,
        currency=currency,
    )
    login = (username, os.environ.get(password_env, "")) if username else None
    try:
        status, body = send(url, scheme, sample, os.environ.get(secret_env, ""), basic_auth=login)
    except (ValueError, SendingFailed) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{status} {body}".rstrip())
    raise typer.Exit(0 if status < HTTPStatus.MULTIPLE_CHOICES else 1)
