"""Owns how the edge's log lines look: ids of events, never a payload, a header's value or a secret."""

import logging
import sys

import structlog


def configure_logs(*, json: bool, level: str) -> None:
    """Write log lines to standard error: as JSON for machines, or aligned for people."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # Plain, since the values of local variables have no place in a log.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    # What the HTTP server says of a request has another form, and may quote it; what became of a webhook
    # is logged and counted where that is decided.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Tracebacks of files and lines alone.
            *([structlog.processors.format_exc_info] if json else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
