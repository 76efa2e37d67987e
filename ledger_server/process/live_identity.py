"""Owns the certificates, authorities, keys and policy in force: read again when their files change.

A file that can't be used leaves the last one in force; the log says so once for each problem.
"""

import asyncio
import contextlib
import stat
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final, Generic, TypeVar

import grpc
import structlog
from cryptography import x509
from prometheus_client import Counter, Gauge

from ledger_server.identity.certificates import Authority
from ledger_server.identity.policy import Policy, unmatched_methods
from ledger_server.identity.server_pair import server_pair
from ledger_server.identity.tokens import TokenKeys
from ledger_server.process.audit_log import AuditLog
from ledger_server.process.identity_settings import Guarded
from ledger_server.rpc.guard import Guard, InForce, wall_clock
from ledger_server.rpc.methods import every_method

log = structlog.get_logger()

_RELOADS: Final = Counter(
    "defter_identity_reloads_total",
    "Changed certificates, keys and policies: read, or not read because they can't be used",
    ["setting", "result"],
)
_CURRENT: Final = Gauge(
    "defter_identity_current", "1 while what the files of a setting say is in force", ["setting"]
)
_DAYS_LEFT: Final = Gauge(
    "defter_certificate_days_left",
    "Days until the first certificate of a setting's file has expired",
    ["setting"],
)
_DAY: Final = 86_400.0

_Value = TypeVar("_Value")
_LARGEST_FILE_BYTES = 1024 * 1024
_PAIR: Final = "DEFTER_TLS_CERTIFICATE_FILE"
_AUTHORITY: Final = "DEFTER_CLIENT_AUTHORITY_FILE"
# The log says so each time that a look takes as long as this.
_STUCK_SECONDS = 10.0


class LiveFiles(Generic[_Value]):
    """What some files say, as of the last time that they made sense."""

    def __init__(self, setting: str, files: tuple[Path, ...], read: Callable[[list[bytes]], _Value]) -> None:
        """Read the files for the first time.

        Raises:
            ValueError: they can't be used; names the setting.
        """
        self._setting = setting
        self._files = files
        self._read = read
        self._problem = ""
        self._contents = self._bytes()
        self.current = self._parse(self._contents)
        _CURRENT.labels(setting).set(1)
        for result in ("read", "failed"):
            _RELOADS.labels(setting, result)  # Prometheus sees no rise in a counter that begins at one

    def look(self) -> bool:
        """Look at the files, which blocks; return whether something else is in force now."""
        try:
            contents = self._bytes()
            if contents == self._contents:
                if self._problem:
                    _CURRENT.labels(self._setting).set(1)
                    log.info("can be read again; it stays in force", setting=self._setting)
                self._problem = ""
                return False
            value = self._parse(contents)
        except ValueError as error:
            self._keep(str(error))
            return False
        self._contents, self.current, self._problem = contents, value, ""
        _RELOADS.labels(self._setting, "read").inc()
        _CURRENT.labels(self._setting).set(1)
        log.info("read anew", setting=self._setting, files=[str(file) for file in self._files])
        return True

    def _keep(self, problem: str) -> None:
        if problem != self._problem:
            log.error("not read; what was read before stays in force", problem=problem)
            _RELOADS.labels(self._setting, "failed").inc()
            _CURRENT.labels(self._setting).set(0)
        self._problem = problem

    def _bytes(self) -> list[bytes]:
        # Small files, whose contents tell more of a change than times and sizes do.
        try:
            return [_read_small(file) for file in self._files]
        except OSError as error:
            raise ValueError(f"{self._setting}: {error.filename}: {error.strerror}") from None
        except ValueError as error:
            raise ValueError(f"{self._setting}: {error}") from None

    def _parse(self, contents: list[bytes]) -> _Value:
        try:
            return self._read(contents)
        except Exception as error:  # noqa: BLE001  # whatever a parser stumbles over, the file can't be used
            names = ", ".join(str(file) for file in self._files)
            raise ValueError(f"{self._setting}: {names}: {error}") from None


class LiveIdentity:
    """Everything that a guarded server reads again, and the guard that goes by it."""

    def __init__(self, guarded: Guarded, *, now: Callable[[], datetime] = wall_clock) -> None:
        """Read all files.

        Raises:
            ValueError: one of them can't be used; names its setting.
        """
        self._guarded = guarded
        self._pair = LiveFiles(
            _PAIR,
            (guarded.certificate_file, guarded.key_file),
            lambda read: server_pair(read[0], read[1], now()),
        )
        self._policy = LiveFiles(
            "DEFTER_POLICY_FILE", (guarded.policy_file,), lambda read: _policy_of(read[0])
        )
        self._authority = _optional(_AUTHORITY, guarded.authority_file, lambda pem: (Authority(pem), pem))
        self._token_keys = _optional("DEFTER_TOKEN_KEYS_FILE", guarded.token_keys_file, TokenKeys)
        self.audit_log = AuditLog(guarded.audit_log_file)
        self.guard = Guard(self._in_force(), now, self.audit_log.audit)
        self._show_days(_PAIR, lambda: self._pair.current[1], now)
        authority = self._authority
        if authority is not None:
            self._show_days(_AUTHORITY, lambda: authority.current[1], now)
        self._looking = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None

    @staticmethod
    def _show_days(setting: str, pem: Callable[[], bytes], now: Callable[[], datetime]) -> None:
        _DAYS_LEFT.labels(setting).set_function(
            lambda: (_end_of(pem()) - now()).total_seconds() / _DAY,
        )

    def credentials(self, *, certificates: bool) -> grpc.ServerCredentials:
        """Return credentials for a port, whose new connections get what is in force when they begin.

        Args:
            certificates: whether callers must have one of the client authority's.
        """
        given = first = self._configuration(certificates)

        def newest() -> grpc.ServerCertificateConfiguration | None:
            # gRPC calls this from a thread of its own for each connection; None means no change.
            nonlocal given
            latest = self._configuration(certificates)
            if latest == given:
                return None
            given = latest
            return _configuration_of(latest)

        return grpc.dynamic_ssl_server_credentials(
            _configuration_of(first),
            newest,  # type: ignore[arg-type]  # the type stubs leave out None
            require_client_authentication=certificates,
        )

    def start(self, seconds: float) -> None:
        """Look at the files every so often from now on, and write the audit log."""
        self.audit_log.start()
        self._watching = asyncio.create_task(self._watch(seconds))

    async def stop(self) -> None:
        """Look no more, and write what is left of the audit log."""
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        await self.audit_log.stop()

    async def look(self) -> None:
        """Look at the files now, put what has changed in force, and end streams that may not go on."""
        async with self._looking:
            await in_own_thread(self._look)
            latest = self._in_force()
            if latest != self.guard.in_force:
                self.guard.in_force = latest
            self.guard.recheck()

    async def _watch(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            looking = asyncio.ensure_future(self.look())
            try:
                while not (await asyncio.wait({looking}, timeout=_STUCK_SECONDS))[0]:
                    log.error("certificates, keys and policy can't be looked at: a file does not answer")
                await looking
            except Exception:  # nothing in a file may end the watch
                log.exception("certificates, keys and policy were not looked at")
            finally:
                looking.cancel()

    def _look(self) -> None:
        # One after the other, so that a file which stands still holds up those behind it alone.
        self._policy.look()
        if self._authority is not None:
            self._authority.look()
        if self._token_keys is not None:
            self._token_keys.look()
        self._pair.look()

    def _in_force(self) -> InForce:
        return InForce(
            policy=self._policy.current,
            authority=None if self._authority is None else self._authority.current[0],
            token_keys=None if self._token_keys is None else self._token_keys.current,
            expected=self._guarded.expected,
        )

    def _configuration(self, certificates: bool) -> tuple[bytes, bytes, bytes | None]:
        key, chain = self._pair.current
        asked = certificates and self._authority is not None
        return key, chain, self._authority.current[1] if asked and self._authority is not None else None


def _optional(setting: str, file: Path | None, read: Callable[[bytes], _Value]) -> LiveFiles[_Value] | None:
    return None if file is None else LiveFiles(setting, (file,), lambda contents: read(contents[0]))


def _configuration_of(latest: tuple[bytes, bytes, bytes | None]) -> grpc.ServerCertificateConfiguration:
    key, chain, authorities = latest
    return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=authorities)


def _policy_of(text: bytes) -> Policy:
    policy = Policy(text)
    for name, patterns in unmatched_methods(policy, every_method()).items():
        log.warning("no method is like this", rule=name, patterns=patterns)
    return policy


def _read_small(file: Path) -> bytes:
    """Read a file, and no more of it than such a file has.

    Raises:
        OSError: it can't be read.
        ValueError: it is none, or is too large. A pipe has no end, and who opens one waits.
    """
    if not stat.S_ISREG(file.stat().st_mode):
        raise ValueError(f"{file}: is no file")
    with file.open("rb") as reading:
        content = reading.read(_LARGEST_FILE_BYTES + 1)
    if len(content) > _LARGEST_FILE_BYTES:
        raise ValueError(f"{file}: larger than {_LARGEST_FILE_BYTES} bytes")
    return content


async def in_own_thread(work: Callable[[], None]) -> None:
    """Do work in a thread for which the end of the process does not wait: it may never come back."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def tell(error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error = None
        try:
            work()
        except Exception as raised:  # noqa: BLE001  # it is raised where the work is waited for
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed by now
            loop.call_soon_threadsafe(tell, error)

    threading.Thread(target=run, name="identity-files", daemon=True).start()
    await done


def _end_of(pem: bytes) -> datetime:
    """Return when the first of the certificates expires, each of which can be read."""
    return min(each.not_valid_after_utc for each in x509.load_pem_x509_certificates(pem))
