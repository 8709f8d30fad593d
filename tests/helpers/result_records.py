"""A valid result record for tests."""


def make_record(**changes):
    """Returns a complete record with some fields replaced."""
    fields = dict(
        status="complete",
        trainer="CoOp",
        protocol="multi_source",
        dataset="PACS",
        backbone="RN50",
        source_domains=["cartoon", "photo"],
        target_domains=["sketch"],
        classes="all",
        shots=-1,
        split="test",
        selection="best_val",
        seed=0,
        metrics={"accuracy": 200 / 3, "correct": 2, "total": 3},
        history=[{"epoch": 1, "val_accuracy": 50.0}],
        diagnostics={},
        config_hash="0123456789abcdef",
        git_hash=None,
        versions={"torch": "2.6", "open_clip": None},
        seconds=1.5,
        peak_memory_mb=100.0,
        started="2025-01-01T10:00:00",
        finished="2025-01-01T10:00:02",
        expected=None,
    )
    return {**fields, **changes}
