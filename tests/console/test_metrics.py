"""Own what the console counts: requests by page, failures of calls, and what is open."""

from __future__ import annotations

from pathlib import Path

from tests.console.hostile import saying_console, visiting


async def test_requests_and_failures_are_counted_by_names_of_our_own(tmp_path: Path) -> None:
    """No part of an address is a label; what has not happened yet is there with 0."""
    console = saying_console("x", tmp_path)
    registry = console.gateway.metrics.registry
    console.gateway.metrics.observe(
        streams=lambda: console.live.stream_count,
        sessions=lambda: len(console.sessions),
        checks=lambda: console.checks.running_count,
    )
    async with visiting(console) as browser:
        csrf = console.sessions.find(browser.cookies[console.cookie], is_activity=False)
        assert csrf is not None
        await browser.get("/t/secret-tenant/trial-balance?counted=yes")
        await browser.get("/t/secret-tenant/journal/x")
        form = {"csrf": csrf.csrf, "key": "con-01ARZ3NDEKTSV4RRFFQ69G5FAV", "note": "x"}
        form |= {"seen_state": "1", "seen_approvals": "0"}
        await browser.post(
            "/t/secret-tenant/withdrawals/wd_1/approve", data=form, headers={"Origin": "http://127.0.0.1"}
        )

    def requests(page: str, method: str, status: str) -> float | None:
        labels = {"page": page, "method": method, "status": status}
        return registry.get_sample_value("defter_console_requests_total", labels)

    assert requests("/t/{tenant}/trial-balance", "GET", "2") == 1
    assert requests("/t/{tenant}/journal/{sequence}", "GET", "4") == 1
    assert requests("/t/{tenant}/journal", "GET", "5") == 0
    assert requests("/t/{tenant}/withdrawals/{withdrawal}/{act}", "POST", "4") == 1
    assert registry.get_sample_value("defter_console_sessions") == 1
    assert registry.get_sample_value("defter_console_checks_running") == 0
    labels = [sample.labels for metric in registry.collect() for sample in metric.samples]
    assert not [each for each in labels if "secret" in str(each)]
    failures = [
        (sample.labels["kind"], sample.value)
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "defter_console_ledger_failures_total"
    ]
    assert failures == [("request", 1.0)]
