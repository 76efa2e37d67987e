"""Own how long a test waits for what must happen: long enough for a machine that is ten times slower."""

from __future__ import annotations

from typing import Final

HANG_SECONDS: Final = 180
"""From here on something hangs; nothing that is right takes nearly as long."""
