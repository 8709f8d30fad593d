"""Logging reaches standard output and log files line by line, in order with what public files print."""

import logging

import pytest

import promptshift  # noqa: F401 - its loggers are shown too
from dassl.talk import quiet
from dassl.utils import log_to, setup_logger

LOGGERS = [logging.getLogger(name) for name in ("dassl.engine", "promptshift.runs", "promptshift.trainers.own")]


def test_messages_and_prints_stand_in_order_on_both(tmp_path, capsys):
    with log_to(str(tmp_path)):
        for logger in LOGGERS:
            logger.info(f"100% of {logger.name}\nin two lines")
            print("printed")
            logger.debug("not shown")
    lines = "".join(f"100% of {logger.name}\nin two lines\nprinted\n" for logger in LOGGERS)
    assert capsys.readouterr().out == lines == (tmp_path / "log.txt").read_text()


def test_a_log_inside_another_leaves_it_open(tmp_path, capsys):
    with log_to(str(tmp_path / "outer")):
        LOGGERS[0].info("before")
        with pytest.raises(KeyboardInterrupt), log_to(str(tmp_path / "inner.log")):
            LOGGERS[1].info("inside")
            raise KeyboardInterrupt
        with log_to(str(tmp_path / "other")):
            setup_logger(str(tmp_path / "public.log"))  # as a public trainer may
            print("public")
        print("after")
    LOGGERS[0].info("outside")
    assert (tmp_path / "outer" / "log.txt").read_text() == "before\ninside\npublic\nafter\n"
    assert (tmp_path / "inner.log").read_text() == "inside\n" and (tmp_path / "public.log").read_text() == "public\n"
    assert capsys.readouterr().out.endswith("after\noutside\n")


def test_quiet_keeps_both_from_the_output_and_ends(capsys):
    with quiet():
        LOGGERS[0].info("said")
        print("printed")
    LOGGERS[0].info("said again")
    assert capsys.readouterr().out == "said again\n"
