"""Owns movements of the account itself, without a payment: settlements, fees, corrections and surprises."""

from mock_psp.books import Books
from mock_psp.errors import InvalidRequest
from mock_psp.listing import Movement


class Account:
    """Our account at the provider; no event tells of its movements, only the list of movements does."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def settle(self, *, currency: str) -> Movement:
        """Pay the whole balance of a currency out to our bank, as a batch of all that moved since the last.

        Raises:
            InvalidRequest: there is nothing to pay out.
        """
        balance = self._books.balances[currency]
        if balance <= 0:
            raise InvalidRequest("nothing_to_settle", f"the balance is {balance} {currency}")
        batch_id = self._books.new_id("mp_bat")
        for movement in self._books.movements:
            if movement.currency == currency and not movement.batch_id:
                movement.batch_id = batch_id
        return self._books.enter(
            "settlement",
            "settlement",
            -balance,
            currency,
            object_id=self._books.new_id("mp_set"),
            batch_id=batch_id,
        )

    def fee(self, *, currency: str, amount_minor: int) -> Movement:
        """Keep a fee without a payment, such as the month's; raises InvalidRequest unless it is positive."""
        if amount_minor < 0:
            raise InvalidRequest("no_fee", "a fee is what the provider keeps")
        return self._enter("fee", "account_fee", -amount_minor, currency, "mp_fee")

    def correct(self, *, currency: str, amount_minor: int) -> Movement:
        """Correct the balance by hand, up or down; raises InvalidRequest if the amount is zero."""
        return self._enter("other", "manual_correction", amount_minor, currency, "mp_cor")

    def surprise(self, *, currency: str, amount_minor: int, kind: str = "loyalty_points") -> Movement:
        """Move money under an unknown type; raises InvalidRequest if the amount is zero."""
        return self._enter(kind, kind, amount_minor, currency, "mp_sur")

    def _enter(self, kind: str, type_: str, amount_minor: int, currency: str, prefix: str) -> Movement:
        if not amount_minor:
            raise InvalidRequest("no_amount", "what moves is of at least one minor unit")
        return self._books.enter(kind, type_, amount_minor, currency, object_id=self._books.new_id(prefix))
