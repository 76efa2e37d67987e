"""Owns the time zone abbreviations in Adyen's reports.

A report names the zone in each row, so rows on both sides of a clock change have PST and PDT, or CET and
CEST. Each abbreviation is one fixed offset; an ambiguous abbreviation is not listed and so refused.
"""

from collections.abc import Mapping
from datetime import timedelta, timezone
from typing import Final


def _zone(hours: float) -> timezone:
    return timezone(timedelta(hours=hours))


ZONES: Final[Mapping[str, timezone]] = {
    "UTC": _zone(0),
    "GMT": _zone(0),
    # Europe.
    "WET": _zone(0),
    "WEST": _zone(1),
    "BST": _zone(1),  # Adyen's own example beside CET and CEST: British Summer Time.
    "CET": _zone(1),
    "CEST": _zone(2),
    "MET": _zone(1),
    "MEST": _zone(2),
    "EET": _zone(2),
    "EEST": _zone(3),
    "TRT": _zone(3),
    "MSK": _zone(3),
    # America.
    "HST": _zone(-10),
    "AKST": _zone(-9),
    "AKDT": _zone(-8),
    "PST": _zone(-8),
    "PDT": _zone(-7),
    "MST": _zone(-7),
    "MDT": _zone(-6),
    "CDT": _zone(-5),
    "EST": _zone(-5),
    "EDT": _zone(-4),
    "ADT": _zone(-3),
    "NST": _zone(-3.5),
    "NDT": _zone(-2.5),
    "BRT": _zone(-3),
    "BRST": _zone(-2),
    "ART": _zone(-3),
    "CLT": _zone(-4),
    "CLST": _zone(-3),
    "COT": _zone(-5),
    "PET": _zone(-5),
    # Africa, Asia, Australia.
    "SAST": _zone(2),
    "GST": _zone(4),
    "PKT": _zone(5),
    "ICT": _zone(7),
    "WIB": _zone(7),
    "HKT": _zone(8),
    "MYT": _zone(8),
    "PHT": _zone(8),
    "SGT": _zone(8),
    "AWST": _zone(8),
    "JST": _zone(9),
    "KST": _zone(9),
    "ACST": _zone(9.5),
    "ACDT": _zone(10.5),
    "AEST": _zone(10),
    "AEDT": _zone(11),
    "NZST": _zone(12),
    "NZDT": _zone(13),
}

AMBIGUOUS: Final[Mapping[str, str]] = {
    "AST": "Atlantic or Arabia",
    "CST": "Central America or China",
    "IST": "India, Ireland or Israel",
}
