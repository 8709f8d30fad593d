"""Logs of other repositories."""

from promptshift.results.upstream_logs import read_log_run

LOG = """\
***************
** Arguments **
***************
trainer: Wrong
seed: 9
************
** Config **
************
DATASET:
  NAME: OxfordPets
  NUM_SHOTS: 16
  SOURCE_DOMAINS: ()
  SUBSAMPLE_CLASSES: new
  TARGET_DOMAINS: ['art_painting', 'sketch']
MODEL:
  BACKBONE:
    NAME: ViT-B/16
SEED: 2
TEST:
  FINAL_MODEL: last_step
TRAINER:
  COOP:
    CTX_INIT: a photo of a {}, a type of pet.
  NAME: CoOp
Collecting env info ...
** System info **
SEED: 7
Evaluate on the *test* set
=> result
* total: 100
* accuracy: 97.7%
"""


def test_the_log_says_what_was_run(tmp_path):
    (tmp_path / "log.txt").write_text(LOG)
    run = read_log_run(tmp_path)
    assert run.accuracy == 97.7 and run.path == tmp_path / "log.txt"
    assert run.options["DATASET.NAME"] == "OxfordPets" and run.options["TRAINER.NAME"] == "CoOp"
    assert run.options["MODEL.BACKBONE.NAME"] == "ViT-B/16" and run.options["SEED"] == "2"
    assert run.options["TRAINER.COOP.CTX_INIT"] == "a photo of a {}, a type of pet."
    assert run.words("DATASET.TARGET_DOMAINS") == ["art_painting", "sketch"]
    assert run.words("DATASET.SOURCE_DOMAINS") == []


def test_an_unfinished_or_foreign_log_is_no_run(tmp_path):
    (tmp_path / "log.txt").write_text(LOG.partition("=> result")[0])
    assert read_log_run(tmp_path) is None
    (tmp_path / "log.txt").write_text("=> result\n* accuracy: 50.0%\n")
    assert read_log_run(tmp_path) is None
