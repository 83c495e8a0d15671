"""The goals of ``bench peers``: what the issue promises beside Feast and Redis, and what a run found."""

from bench.report import Report

GRPC, SHM = "featurestore_grpc", "featurestore_shm"
FEAST, PACKED = "feast_redis", "redis_packed"


def judge(report: Report) -> None:
    """Adds them all; one whose subjects were not measured is left out. Over TCP is compared with over TCP."""
    for rows, subject, least in ((1, GRPC, 6), (100, GRPC, 60), (100, SHM, 200)):
        text = f"{rows}x50, {subject}: p50 at least {least}x shorter than Feast's with Redis"
        report.goal(text, _ratio(report, "p50_us", f"read_{rows}x50", FEAST, subject), least, least=True, unit="x", digits=1)
    for rows, least_share in ((1, 1.3), (100, 1.8), (1_000, 2.5)):
        text = f"{rows}x50, {GRPC}: p50 at least {least_share}x shorter than redis-py's with packed rows"
        report.goal(text, _ratio(report, "p50_us", f"read_{rows}x50", PACKED, GRPC), least_share, least=True, unit="x")
    for other, what, most in ((FEAST, "Feast's layout in Redis", 0.3), (PACKED, "packed rows in Redis", 0.9)):
        text = f"memory: bytes a row at most {most}x those of {what}"
        report.goal(text, _ratio(report, "bytes_per_row", "memory", GRPC, other), most, unit="x")
    text = "bulk load: rows/s at least 200x those of Feast with Redis"
    report.goal(text, _ratio(report, "ops_per_s", "bulk_load", GRPC, FEAST), 200, least=True, unit="x", digits=0)


def _ratio(report: Report, figure: str, case: str, name: str, other: str) -> float | None:
    over, under = report.value(case, name, figure), report.value(case, other, figure)
    return over / under if over and under else None
