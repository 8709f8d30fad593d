"""Tables of a report: what is averaged, what is set apart, and what is said about the rest."""

import json
import shutil

import numpy as np
import pytest

from helpers.report_trees import ART_AND_FRIENDS, write_grid, write_run
from promptshift.report.found import outcomes_of
from promptshift.report.runs import gather
from promptshift.report.sections import sections_of
from promptshift.studies.checks.few_shot import few_shot_outcome

COLUMNS = (*ART_AND_FRIENDS, "average")


def accuracy(target, seed):
    return 70.0 + 3 * ART_AND_FRIENDS.index(target) + 0.5 * seed


def table_of(root, **options):
    gathered = gather([root])
    (section,) = sections_of(gathered.runs, **options)
    return section, {row[0]: dict(zip(section.table.header[1:], row[1:])) for row in section.table.rows}, gathered


def test_means_spreads_and_average_are_numpys(tmp_path):
    write_grid(tmp_path, accuracy)
    section, rows, gathered = table_of(tmp_path)
    assert section.table.header[1:] == COLUMNS and not gathered.problems
    values = np.array([[accuracy(target, seed) for seed in (1, 2)] for target in ART_AND_FRIENDS])
    for target, expected in zip(ART_AND_FRIENDS, values):
        cell = rows["CoOp"][target]
        assert (cell.mean, cell.std) == (pytest.approx(expected.mean()), pytest.approx(expected.std()))
        assert [run.seed for run in cell.runs] == [1, 2]
    average = rows["CoOp"]["average"]
    assert average.mean == pytest.approx(values.mean()) and average.std == pytest.approx(values.mean(0).std())


def test_the_published_row_stands_beside_ours_with_difference_and_source(tmp_path):
    write_grid(tmp_path, accuracy)
    _, rows, _ = table_of(tmp_path)
    source = "SPG (arXiv 2404.19286), Table 7"
    assert rows[f"CoOp, published: {source}"]["sketch"].mean == 80.7
    gap = rows[f"CoOp − published ({source})"]["sketch"]
    assert gap.mean == pytest.approx(79.75 - 80.7) and str(gap) == "-0.95"


def test_what_is_not_there_is_missing_and_said(tmp_path):
    write_grid(tmp_path, accuracy)
    shutil.rmtree(tmp_path / "CoOp" / "photo")
    shutil.rmtree(tmp_path / "CoOp" / "sketch" / "seed2")
    _, rows, _ = table_of(tmp_path)
    assert rows["CoOp"]["photo"] == "missing" and rows["CoOp"]["average"] == "missing"
    assert str(rows["CoOp"]["sketch"]) == "79.50 (1 of 2 seeds)"


def test_another_configuration_is_a_row_of_its_own(tmp_path):
    write_grid(tmp_path, accuracy)
    write_run(tmp_path / "try" / "seed1", 99.0, options=["OPTIM.MAX_EPOCH", 3, "OUTPUT_DIR", "elsewhere"])
    section, rows, _ = table_of(tmp_path)
    assert rows["CoOp"]["sketch"].mean == pytest.approx(79.75)
    assert rows["CoOp (OPTIM.MAX_EPOCH 3)"]["sketch"].mean == 99.0
    assert any("OPTIM.MAX_EPOCH 3, there OPTIM.MAX_EPOCH 10" in note for note in section.table.notes)


def test_a_second_run_of_the_same_is_not_averaged_in(tmp_path):
    write_grid(tmp_path, accuracy)
    write_run(tmp_path / "again" / "seed1", 99.0, finished="2025-01-02T10:00:00")
    section, rows, _ = table_of(tmp_path)
    assert [run.accuracy for run in rows["CoOp"]["sketch"].runs] == [99.0, 80.0]
    assert any("sketch, seed 1 is there twice" in note and "again" in note for note in section.table.notes)


def test_folders_of_the_same_name_are_told_apart(tmp_path):
    for side in ("left", "right"):
        write_run(tmp_path / side / "output" / "seed1", 90.0)
    gathered = gather([tmp_path / "left" / "output", tmp_path / "right" / "output"])
    assert {run.place for run in gathered.runs} == {str(run.folder) for run in gathered.runs}


def test_zero_shot_lacks_no_run_with_training_images(tmp_path):
    few = dict(protocol="few_shot", dataset="DescribableTextures", target="")
    for shots in (1, 4):
        write_run(tmp_path / f"coop{shots}", 60.0 + shots, shots=shots, options=["DATASET.NUM_SHOTS", shots], **few)
    write_run(tmp_path / "probe4", 50.0, "LinearProbe", shots=4, options=["DATASET.NUM_SHOTS", 4], **few)
    write_run(tmp_path / "zero", 44.0, "ZeroshotCLIP", shots=0, options=["DATASET.NUM_SHOTS", 0], **few)
    _, rows, _ = table_of(tmp_path)
    assert [rows["ZeroshotCLIP"][column] for column in "14"] == [None, None] and rows["ZeroshotCLIP"]["0"].mean == 44.0
    assert rows["CoOp"]["0"] is None and rows["LinearProbe"]["1"] == "missing"


def test_a_figure_that_a_study_drew_is_shown_once(tmp_path):
    few = dict(protocol="few_shot", dataset="DescribableTextures", target="")
    for shots in (1, 4):
        for trainer, value in (("CoOp", 60.0), ("LinearProbe", 50.0)):
            write_run(
                tmp_path / f"{trainer}{shots}",
                value + shots,
                trainer,
                shots=shots,
                options=["DATASET.NUM_SHOTS", shots],
                **few,
            )
    write_run(tmp_path / "zero", 44.0, "ZeroshotCLIP", shots=0, options=["DATASET.NUM_SHOTS", 0], **few)
    probe = {1: {1: 51.0}, 4: {1: 54.0}}
    found = []
    for coop in ({1: {1: 61.0}, 4: {1: 64.0}}, {1: {1: 61.0}, 4: {1: 99.0}}):
        few_shot_outcome("x", {"ZeroshotCLIP": {0: {1: 44.0}}, "LinearProbe": probe, "CoOp": coop}).write(tmp_path)
        gathered = gather([tmp_path])
        found.append([outcome.name for outcome in outcomes_of(gathered, sections_of(gathered.runs))])
    assert found[0] == ["few_shot-x"]  # with its verdict
    assert len(found[1]) == 2  # the study's runs are others


def test_runs_that_learnt_from_different_stages_are_said_to(tmp_path):
    for seed, stage in ((1, "a" * 16), (2, "a" * 16), (3, "b" * 16)):
        write_run(tmp_path / f"seed{seed}", 70.0, "PromptSync", seed=seed, options=["STAGE", stage])
    section, rows, _ = table_of(tmp_path)
    assert len(rows["PromptSync"]["sketch"].runs) == 3
    assert any("stages of 2 configurations" in note for note in section.table.notes)


def test_dpc_is_a_method_by_what_it_builds_on(tmp_path):
    halves = dict(protocol="base_to_new", dataset="EuroSAT", target="", backbone="ViT-B/16")
    for backbone in ("CoOp", "MaPLe"):
        for half in ("base", "new"):
            write_run(
                tmp_path / backbone / half,
                70.0,
                "DPC",
                classes=half,
                **halves,
                options=["TRAINER.DPC.BACKBONE", backbone, "DATASET.SUBSAMPLE_CLASSES", half],
            )
    _, rows, _ = table_of(tmp_path)
    assert {"DPC_CoOp", "DPC_MaPLe"} < set(rows) and not any(row.startswith("DPC_CoOp (") for row in rows)
    (printed,) = [row for row in rows if row.startswith("DPC_CoOp, published")]
    assert rows[printed]["New"].mean == 51.62


def test_oracle_numbers_are_marked_and_never_mixed_with_honest_ones(tmp_path):
    write_grid(tmp_path, accuracy)
    write_run(tmp_path / "oracle" / "seed1", 99.0, selection="oracle")
    section, rows, _ = table_of(tmp_path)
    (label,) = [label for label in rows if label.startswith("CoOp‡") and "published" not in label]
    assert rows[label]["sketch"].mean == 99.0 and rows["CoOp"]["sketch"].mean == pytest.approx(79.75)
    assert any(note.startswith("‡") and "no honest number" in note for note in section.table.notes)


def test_partial_corrupt_foreign_stale_and_superseded_folders_are_named(tmp_path):
    write_grid(tmp_path, accuracy, seeds=(1,))
    folders = {name: tmp_path / name for name in ("partial", "corrupt", "foreign", "stale")}
    for name in ("partial", "corrupt", "foreign"):
        folders[name].mkdir()
    (folders["partial"] / "config.yaml").write_text("SEED: 1")
    (folders["corrupt"] / "result.json").write_text('{"half')
    (folders["foreign"] / "result.json").write_text('{"loss": 1.0}')
    write_run(folders["stale"], 99.0, config_hash="0" * 16)
    write_run(tmp_path / "CoOp" / "photo" / "seed1" / "previous-2025-01-01-00-00-00", 99.0, target="photo")
    section, rows, gathered = table_of(tmp_path)
    assert {(problem.kind, problem.place.split("/", 1)[1]) for problem in gathered.problems} == {
        ("partial", "partial"),
        ("corrupt", "corrupt"),
        ("foreign", "foreign"),
        ("stale", "stale"),
        ("superseded", "CoOp/photo/seed1/previous-2025-01-01-00-00-00"),
    }
    assert rows["CoOp"]["photo"].mean == accuracy("photo", 1) and str(tmp_path) not in str(gathered.problems)


def test_stages_of_other_runs_are_in_no_table(tmp_path):
    write_grid(tmp_path, accuracy, seeds=(1,))
    write_run(tmp_path / "prompt_labels" / "seed_1", 99.0, protocol="stage")
    _, rows, gathered = table_of(tmp_path)
    assert len(gathered.runs) == 4 and not gathered.problems


def test_paired_tests_compare_with_the_chosen_baseline(tmp_path):
    write_grid(tmp_path, accuracy)
    write_grid(tmp_path, lambda target, seed: accuracy(target, seed) + 2 + (target == "photo"), trainer="VPT")
    section, _, _ = table_of(tmp_path, baseline="VPT")
    (line,) = section.tests.rows
    assert line[0] == "CoOp" and line[1] == "8" and line[2].mean == pytest.approx(-2.25)
    assert "VPT" in section.tests.header[0]


def test_base_and_new_give_h_of_the_means(tmp_path):
    numbers = {"base": (80.0, 90.0), "new": (60.0, 80.0)}
    for classes, values in numbers.items():
        for seed, value in enumerate(values, start=1):
            write_run(
                tmp_path / classes / f"seed{seed}",
                value,
                seed=seed,
                dataset="OxfordPets",
                classes=classes,
                protocol="base_to_new",
                options=["DATASET.SUBSAMPLE_CLASSES", classes],
            )
    section, rows, _ = table_of(tmp_path)
    assert section.table.header[1:] == ("Base", "New", "H")
    assert rows["CoOp"]["H"].mean == pytest.approx(2 * 85 * 70 / 155)


def test_logs_of_other_repositories_have_rows_of_their_own(tmp_path):
    write_grid(tmp_path, accuracy)
    folder = tmp_path / "outputs" / "multi_DG" / "seed_1"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text(
        "** Config **\nDATASET:\n  NAME: SPG_PACS\n  SOURCE_DOMAINS: ['art_painting', 'cartoon', 'photo']\n"
        "  TARGET_DOMAINS: ['sketch']\nMODEL:\n  BACKBONE:\n    NAME: RN50\nSEED: 1\nTRAINER:\n  NAME: SPG_CGAN\n"
        "** System info **\n=> result\n* accuracy: 85.1%\n"
    )
    section, rows, _ = table_of(tmp_path)
    (label,) = [label for label in rows if label.startswith("SPG§") and "published" not in label]
    assert rows[label]["sketch"].mean == 85.1
    assert any(note.startswith("§") for note in section.table.notes)


def test_several_datasets_get_an_overview_of_their_averages(tmp_path):
    write_grid(tmp_path / "a", accuracy)
    write_grid(tmp_path / "b", lambda target, seed: 50.0, dataset="MiniDG")
    sections = sections_of(gather([tmp_path]).runs)
    assert [section.dataset for section in sections] == ["all", "MiniDG", "PACS"]
    (row,) = sections[0].table.rows
    pacs = np.mean([accuracy(target, seed) for target in ART_AND_FRIENDS for seed in (1, 2)])
    assert [cell.mean for cell in row[1:]] == pytest.approx([50.0, pacs, (50 + pacs) / 2])


def test_an_unreadable_configuration_is_said_and_kept_apart(tmp_path):
    write_grid(tmp_path, accuracy)
    (tmp_path / "CoOp" / "sketch" / "seed2" / "config.yaml").unlink()
    _, rows, gathered = table_of(tmp_path)
    assert [problem.kind for problem in gathered.problems] == ["configuration unknown"]
    assert rows["CoOp (configuration unknown)"]["sketch"].mean == accuracy("sketch", 2)
    record = json.loads((tmp_path / "CoOp" / "photo" / "seed1" / "result.json").read_text())
    assert record["metrics"]["accuracy"] == rows["CoOp"]["photo"].runs[0].accuracy


def test_cross_dataset_tables_name_what_was_trained_on(tmp_path):
    place = tmp_path / "cross_dataset" / "SPG" / "DomainNet" / "default" / "ViT-B16"
    write_run(place / "train" / "seed1", 60.0, "SPG", dataset="DomainNet", split="val", protocol="cross_dataset")
    for dataset, value in (("PACS", 90.0), ("VLCS", 70.0)):
        write_run(place / dataset / "seed1", value, trainer="SPG", dataset=dataset, protocol="cross_dataset")
    section, rows, _ = table_of(tmp_path)
    assert section.dataset == "DomainNet" and section.table.header[1:] == ("PACS", "VLCS", "average")
    assert rows["SPG"]["average"].mean == 80.0
