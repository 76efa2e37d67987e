"""Owns the list of schemes; each is loaded when the first endpoint asks for it."""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Final, cast

from webhook_edge.scheme import Scheme

# The name in URLs and in the configuration, with its module and class. Each module imports its provider's
# SDK, and unused ones should cost nothing.
_CLASSES: Final[Mapping[str, tuple[str, str]]] = {
    "adyen": ("webhook_edge.adyen_scheme", "AdyenScheme"),
    "standard": ("webhook_edge.standard", "StandardScheme"),
    "stripe": ("webhook_edge.stripe_scheme", "StripeScheme"),
}


@cache
def scheme_named(name: str) -> Scheme:
    """Return a scheme.

    Raises:
        ValueError: there is no scheme of that name, or it is not installed.
    """
    if name not in _CLASSES:
        raise ValueError(f"no scheme {name!r}; there are {', '.join(sorted(_CLASSES))}")
    module, class_name = _CLASSES[name]
    try:
        make = cast("Callable[[], Scheme]", getattr(import_module(module), class_name))
    except (ImportError, AttributeError) as error:
        raise ValueError(f"the scheme {name!r} is not installed: {error}") from None
    return make()
