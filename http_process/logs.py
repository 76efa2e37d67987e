"""Owns the format of log lines: what their writers name, and no values of variables."""

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
            # Plain tracebacks, since the values of local variables have no place in a log.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    # The HTTP server's own lines have another form and may quote the request; what became of a request is
    # logged where it is decided.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Tracebacks with files and lines alone.
            *([structlog.processors.format_exc_info] if json else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
