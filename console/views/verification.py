"""Owns the pages on which a person has a journal checked: it is begun, followed, and ends in a statement."""

from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from console.ledger import VERIFY
from console.pages import Page
from console.verifying import MOST_RUNNING, Check
from console.visit import Visit
from defter_client import AccessDenied


async def listed(visit: Visit) -> Response:
    """Show the person's checks, and the button for one more."""
    return await _shown(visit, None)


async def one(visit: Visit) -> Response:
    """Show how far a check has come, or what it has found."""
    return await _shown(visit, _check(visit))


async def begin(visit: Visit, _form: dict[str, str]) -> Response:
    """Begin a check; whoever has one running is led to it."""
    console, user, session = visit.console, visit.user, visit.session
    assert user is not None
    assert session is not None
    # Asked before a task is begun, so that a refusal is told at once.
    may = await visit.ledger.may(visit.tenant_id, VERIFY)
    if not may[VERIFY]:
        return await _shown(visit, None, status=403)

    def goes_on() -> bool:
        console.users.refresh()
        known = console.users.get(user.name)
        return known is not None and known.password == user.password

    check = console.checks.begin(visit.tenant_id, user.name, user.groups, goes_on)
    if check is None:
        return await _shown(visit, None, status=409, is_full=True)
    return visit.redirect(visit.path("verification", check.check_id))


async def stop(visit: Visit, _form: dict[str, str]) -> Response:
    """End a check."""
    check = _check(visit)
    visit.console.checks.stop(check)
    return visit.redirect(visit.path("verification", check.check_id))


async def statement(visit: Visit) -> Response:
    """Return the signed statement as a file to keep."""
    check = _check(visit)
    if not check.statement:
        raise HTTPException(404)
    name = f"verification-{check.begin.strftime('%Y%m%dT%H%M%SZ')}.txt"
    return Response(
        check.statement,
        media_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _check(visit: Visit) -> Check:
    assert visit.user is not None
    found = visit.console.checks.find(visit.request.path_params["check"], visit.tenant_id, visit.user.name)
    if found is None:
        raise HTTPException(404)
    return found


async def _shown(visit: Visit, check: Check | None, *, status: int = 200, is_full: bool = False) -> Response:
    assert visit.user is not None
    checks = visit.console.checks
    if check is not None and isinstance(check.problem, AccessDenied):
        visit.ledger.forget_access(visit.tenant_id)
    may = await visit.ledger.may(visit.tenant_id, VERIFY)
    return await visit.page(
        "verification.html",
        status,
        check=check,
        others=[each for each in checks.of(visit.tenant_id, visit.user.name) if each is not check],
        may_begin=may[VERIFY],
        is_full=is_full,
        most_running=MOST_RUNNING,
        signs=checks.signs,
        key=checks.key_text,
    )


PAGES: Final = (
    Page("/t/{tenant}/verification", listed, begin),
    Page("/t/{tenant}/verification/{check}", one),
    Page("/t/{tenant}/verification/{check}/stop", post=stop),
    Page("/t/{tenant}/verification/{check}/statement.txt", statement),
)
