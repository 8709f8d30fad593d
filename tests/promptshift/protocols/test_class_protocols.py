"""Base to new, cross-dataset, ImageNet's variants and few shots: which jobs, where, and which table."""

import pytest

from dassl.engine import TRAINER_REGISTRY
from dassl.utils.errors import UserError
from helpers.protocol_plans import configuration, plan_of, records_of
from helpers.result_records import make_record
from promptshift.cli.run import main
from promptshift.paths import load_plugins
from promptshift.protocols.request import ALL_DATASETS
from promptshift.results.papers import PaperRow
from promptshift.runs.published import expected_accuracy
from promptshift.runs.stages import Stage


@pytest.fixture(autouse=True)
def output(monkeypatch, tmp_path):
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    monkeypatch.setenv("DATA", str(tmp_path / "data"))
    for name in ("SEEDS", "GPUS", "JOBS", "CFG"):
        monkeypatch.delenv(name, raising=False)
    load_plugins()


def names(plan):
    return [job.name for job in plan.jobs]


def cells(table, row=0):
    return [cell if isinstance(cell, str) else (cell.mean, cell.std) for cell in table.rows[row][1:]]


def test_base_to_new_trains_on_base_and_tests_new_from_the_same_run(tmp_path):
    plan = plan_of("base_to_new", "CoOp", "dtd", "RN50", seeds=(1, 2))
    name = "DescribableTextures"
    assert names(plan) == [f"{name} {half} seed {seed}" for half in ("base", "new") for seed in (1, 2)]
    base, new = plan.jobs[1], plan.jobs[3]
    assert base.output_dir == tmp_path / "base2new/train_base/dtd/shots_16/CoOp/default/seed2"
    assert new.output_dir == tmp_path / "base2new/test_new/dtd/shots_16/CoOp/default/seed2"
    cfg, args = configuration(base)
    assert (cfg.DATASET.SUBSAMPLE_CLASSES, cfg.DATASET.NUM_SHOTS, args.eval_only) == ("base", 16, False)
    assert cfg.MODEL.BACKBONE.NAME == "RN50" and base.after == () and base.trains
    cfg, args = configuration(new)
    assert (cfg.DATASET.SUBSAMPLE_CLASSES, cfg.TEST.SPLIT, args.eval_only) == ("new", "test", True)
    assert args.model_dir == str(base.output_dir) and new.after == (base.name,) and not new.trains
    assert len({job.config_hash for job in plan.jobs}) == 4


def test_a_configured_number_of_shots_is_kept(tmp_path):
    job = plan_of("base_to_new", "CoOp", "dtd", "DATASET.NUM_SHOTS", "0").jobs[0]
    assert "train_base/dtd/shots_0/" in str(job.output_dir) and configuration(job)[0].DATASET.NUM_SHOTS == 0


def record_of(accuracy, **fields):
    return make_record(metrics={"accuracy": accuracy}, **fields)


def test_h_is_of_the_means_and_its_spread_of_the_seeds():
    plan = plan_of("base_to_new", "CoOp", "dtd", seeds=(1, 2))
    values = dict(zip(names(plan), (80.0, 60.0, 40.0, 60.0)))
    table = plan.table({name: record_of(value) for name, value in values.items()})
    assert table.header == ("accuracy (%)", "Base", "New", "H")
    base, new, h = cells(table)
    assert base == (70, 10) and new == (50, 10)
    assert h[0] == pytest.approx(2 * 70 * 50 / 120) and h[1] == pytest.approx((60 - 2 * 80 * 40 / 120) / 2)
    del values["DescribableTextures new seed 2"]
    table = plan.table({name: record_of(value) for name, value in values.items()})
    assert cells(table) == [(70, 10), "missing (1 of 2 done)", "missing"]


def test_several_datasets_end_in_their_mean(monkeypatch):
    def published(dataset, **_):
        row = PaperRow(
            "CoOp",
            dict(Base=1.0, New=2.0, H=3.0),
            dict(Base=None, New=None, H=None),
            f"T {dataset}",
            ("CoOp",),
            "base_to_new",
            dataset,
            "ViT-B/16",
            "",
            "",
        )
        return [row] if dataset == "average" else []

    monkeypatch.setattr("promptshift.results.papers.find", published)
    plan = plan_of("base_to_new", "CoOp", "dtd,eurosat")
    values = {
        "DescribableTextures base seed 1": 80.0,
        "EuroSAT base seed 1": 60.0,
        "DescribableTextures new seed 1": 50.0,
        "EuroSAT new seed 1": 30.0,
    }
    table = plan.table({name: record_of(value) for name, value in values.items()})
    assert [row[0] for row in table.rows] == [
        "DescribableTextures: CoOp (this checkout)",
        "EuroSAT: CoOp (this checkout)",
        "average: CoOp (this checkout)",
        "average: CoOp: T average",
    ]
    assert [round(value, 6) for value, _ in cells(table, 2)] == [70, 40, round(2 * 70 * 40 / 110, 6)]
    assert table.rows[3][3].mean == 3.0
    assert len(plan_of("base_to_new", "CoOp", "all").jobs) == 22


def test_what_trains_nothing_is_evaluated_on_both_halves(tmp_path):
    plan = plan_of("base_to_new", "ZeroshotCLIP", "eurosat")
    assert names(plan) == ["EuroSAT base seed 1", "EuroSAT new seed 1"] and not any(job.trains for job in plan.jobs)
    assert plan.jobs[0].output_dir == tmp_path / "base2new/test_base/eurosat/shots_16/ZeroshotCLIP/default/seed1"
    assert "--model-dir" not in plan.jobs[0].argv
    assert len(plan_of("few_shot_sweep", "ZeroshotCLIP", "eurosat").jobs) == 1
    assert all(not job.trains for job in plan_of("xd", "ZeroshotCLIP", "imagenet").jobs)


@pytest.mark.parametrize("chosen, config", [("CoCoOp", "default"), ("CoCoOp/vit_b16_c4_ep10_batch1",) * 2])
def test_a_trainer_may_start_from_another_one_s_run(monkeypatch, tmp_path, chosen, config):
    other, _, named = chosen.partition("/")
    stages = (Stage("start", other, "Prompts", config=named),)
    monkeypatch.setattr(TRAINER_REGISTRY.get("ZeroshotCLIP"), "stages", classmethod(lambda cls, cfg: stages))
    config = config.rpartition("/")[2]
    plan = plan_of("base_to_new", "ZeroshotCLIP", "eurosat")
    assert names(plan) == [f"EuroSAT {what} seed 1" for what in ("CoCoOp", "base", "new")]
    train, base, new = plan.jobs
    assert train.output_dir == tmp_path / f"base2new/train_base/eurosat/shots_16/CoCoOp/{config}/seed1"
    own = plan_of("base_to_new", "CoCoOp", "eurosat", config=config).jobs[0]
    assert (train.argv, train.config_hash) == (own.argv, own.config_hash)  # so either finds the other's done
    assert configuration(base)[1].model_dir == configuration(new)[1].model_dir == str(train.output_dir)
    assert base.after == new.after == (train.name,)
    accuracies = {train.name: 1.0, base.name: 60.0, new.name: 40.0}
    table = plan.table({name: record_of(value) for name, value in accuracies.items()})
    assert [value for value, _ in cells(table)] == [60, 40, 48]
    xd = plan_of("xd", "ZeroshotCLIP", "imagenet").jobs
    assert xd[0].output_dir == tmp_path / f"imagenet/CoCoOp/{config}_16shots/seed1" and xd[1].cell[1] == "ImageNet"
    few = plan_of("few_shot", "ZeroshotCLIP", "eurosat", "DATASET.NUM_SHOTS", "4").jobs
    assert [job.trains for job in few] == [True, False] and f"CoCoOp/{config}_4shots" in str(few[0].output_dir)


def test_a_trainer_may_choose_by_its_configuration(tmp_path):
    plan = plan_of("base_to_new", "TPT", "eurosat", "TRAINER.TPT.PROMPT", "CoCoOp")
    assert names(plan)[0] == "EuroSAT CoCoOp seed 1"
    assert len(plan_of("base_to_new", "TPT", "eurosat", "TRAINER.TPT.PROMPT", "hand").jobs) == 2


def test_what_builds_on_another_method_names_it_in_its_folder(tmp_path):
    folders = [
        plan_of("base_to_new", "DPC", "dtd", "TRAINER.DPC.BACKBONE", name).jobs[0].output_dir
        for name in ("CoOp", "MaPLe")
    ]
    assert folders == [
        tmp_path / f"base2new/train_base/dtd/shots_16/DPC_{name}/default/seed1" for name in ("CoOp", "MaPLe")
    ]


TARGETS = [
    "Caltech101",
    "OxfordPets",
    "StanfordCars",
    "OxfordFlowers",
    "Food101",
    "FGVCAircraft",
    "SUN397",
    "DescribableTextures",
    "EuroSAT",
    "UCF101",
]


def test_both_transfers_train_once_on_imagenet(tmp_path):
    xd, variants = (plan_of(protocol, "CoCoOp", "imagenet") for protocol in ("xd", "imagenet_variants"))
    assert xd.jobs[0].output_dir == variants.jobs[0].output_dir == tmp_path / "imagenet/CoCoOp/default_16shots/seed1"
    assert xd.jobs[0].config_hash == variants.jobs[0].config_hash and xd.jobs[0].trains
    assert [job.cell[1] for job in xd.jobs] == ["ImageNet", *TARGETS]
    assert xd.jobs[-1].output_dir == tmp_path / "evaluation/CoCoOp/default_16shots/ucf101/seed1"
    assert all(job.after == ("ImageNet seed 1",) for job in xd.jobs[1:])
    cfg, args = configuration(xd.jobs[1])
    assert cfg.DATASET.NAME == "Caltech101" and args.eval_only and cfg.DATASET.SUBSAMPLE_CLASSES == "all"
    table = variants.table(
        records_of(
            variants,
            {"ImageNet": 90.0, "ImageNetV2": 40.0, "ImageNetSketch": 50.0, "ImageNetA": 60.0, "ImageNetR": 70.0},
        )
    )
    assert table.header[1:] == ("ImageNet", "ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR", "average")
    assert table.rows[0][1].mean == 90 and table.rows[0][-1].mean == 55  # the source is no part of the average


def test_coop_keeps_its_own_folders(tmp_path):
    jobs = plan_of("xd", "CoOp", "imagenet", config="rn50").jobs
    assert jobs[0].output_dir == tmp_path / "imagenet/CoOp/rn50_16shots/nctx16_cscFalse_ctpend/seed1"
    assert jobs[1].output_dir == tmp_path / "evaluation/CoOp/rn50_16shots/nctx16_cscFalse_ctpend/caltech101/seed1"


def test_the_mini_world_has_its_own_targets(tmp_path):
    jobs = plan_of("xd", "CoOp", "mini_b2n").jobs
    assert [job.cell[1] for job in jobs] == ["MiniB2N", "MiniDG", "MiniDG2", "MiniDG3"]
    cfg, _ = configuration(jobs[2])
    assert cfg.DATASET.TEST_ALL and list(cfg.DATASET.TARGET_DOMAINS) == ["clipart", "silhouette", "watercolor"]
    variants = plan_of("imagenet_variants", "CoOp", "mini_b2n")
    assert [job.cell[1] for job in variants.jobs[1:]] == ["MiniB2NArtPainting", "MiniB2NCartoon", "MiniB2NSketch"]
    assert "Mini world" in " ".join(variants.table({}).notes)


def test_other_targets_and_given_weights(tmp_path):
    plan = plan_of("xd", "CoOp", "imagenet", targets=("eurosat",))
    assert [job.cell[1] for job in plan.jobs] == ["ImageNet", "EuroSAT"]
    (tmp_path / "w" / "seed1").mkdir(parents=True)
    for protocol, dataset, count in (("xd", "imagenet", 11), ("base_to_new", "dtd", 2), ("few_shot", "dtd", 1)):
        jobs = plan_of(protocol, "CoOp", dataset, weights=str(tmp_path / "w")).jobs
        assert len(jobs) == count and all(job.always and not job.trains for job in jobs)
        assert {configuration(job)[1].model_dir for job in jobs} == {str(tmp_path / "w" / "seed1")}
        assert all(str(job.output_dir).startswith(str(tmp_path / "reproduce")) for job in jobs)
    with pytest.raises(UserError, match="--weights .*there is no folder .*seed2"):
        plan_of("xd", "CoOp", "imagenet", seeds=(2,), weights=str(tmp_path / "w"))


def test_the_sweep_over_shots_has_the_jobs_of_few_shot(tmp_path):
    plan = plan_of("few_shot_sweep", "CoOp", "eurosat")
    assert [job.cell[1] for job in plan.jobs] == ["1", "2", "4", "8", "16"]
    one = plan_of("few_shot", "CoOp", "eurosat", "DATASET.NUM_SHOTS", "4").jobs[0]
    assert (plan.jobs[2].output_dir, plan.jobs[2].config_hash) == (one.output_dir, one.config_hash)
    assert one.output_dir == tmp_path / "eurosat/CoOp/default_4shots/nctx16_cscFalse_ctpend/seed1"
    assert configuration(plan.jobs[2])[0].PROTOCOL == "few_shot"
    assert plan.table({}).header == ("accuracy (%)", "1", "2", "4", "8", "16")


def test_published_numbers_are_looked_up_by_the_protocols_columns(monkeypatch):
    asked = []

    def find(**filters):
        asked.append((filters["protocol"], filters["dataset"]))
        values = {"Base": 1.0, "New": 2.0, "EuroSAT": 3.0, "4": 4.0}
        return [PaperRow("CoOp", values, {}, "", (), "", "", "", "", "")]

    monkeypatch.setattr("promptshift.results.papers.find", find)
    base, new = plan_of("base_to_new", "CoOp", "dtd").jobs
    jobs = [
        base,
        new,
        plan_of("xd", "CoOp", "imagenet", targets=("eurosat",)).jobs[1],
        plan_of("few_shot", "CoOp", "dtd", "DATASET.NUM_SHOTS", "4").jobs[0],
    ]
    assert [expected_accuracy(configuration(job)[0]) for job in jobs] == [1, 2, 3, 4]
    assert asked == [("base_to_new", "DescribableTextures")] * 2 + [("xd", "all"), ("few_shot", "DescribableTextures")]


@pytest.mark.parametrize(
    "words, protocol",
    [
        ("coop_main mini_b2n --seeds 1", "base_to_new"),
        ("coop_main mini --seeds 1", "multi_source"),
        ("main CoCoOp pacs --seeds 1", "multi_source"),
        ("main CoCoOp all --seeds 1", "base_to_new"),
        ("main VPT dtd,eurosat --seeds 1", "base_to_new"),
    ],
)
def test_main_scripts_choose_the_protocol_by_the_dataset(words, protocol, capsys):
    assert main([*words.split(), "--dry-run"]) == 0
    assert f"PROTOCOL {protocol}" in capsys.readouterr().out


def test_targets_on_the_command_line_do_not_swallow_the_words_behind_them(capsys):
    words = "xd CoOp imagenet --targets dtd,eurosat OPTIM.LR 0.1 --seeds 1 --dry-run"
    assert main(words.split()) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("# ")] == [
        f"# {name} seed 1: not started" for name in ("ImageNet", "DescribableTextures", "EuroSAT")
    ]
    assert out.count("OPTIM.LR 0.1") == 3


def test_training_alone_and_the_configuration_of_other_datasets(capsys):
    words = "base_to_new CoCoOp {} --seeds 1 --train-only --default-config vit_b16_c4_ep10_batch1_ctxv1 --dry-run"
    assert main(words.format("dtd").split()) == 0
    out = capsys.readouterr().out
    assert out.count("# ") == 1 and "CoCoOp/vit_b16_c4_ep10_batch1_ctxv1.yaml" in out and "--eval-only" not in out
    assert main(words.format("mini_b2n").split()) == 0
    assert "CoCoOp/mini_b2n.yaml" in capsys.readouterr().out


@pytest.mark.parametrize(
    "protocol, words, more, named",
    [
        ("base_to_new", ["pacs"], {}, "PACS has domains (art_painting"),
        ("base_to_new", ["imagenet_a"], {}, "ImageNetA has test images only"),
        ("base_to_new", ["dtd", "DATASET.SUBSAMPLE_CLASSES", "new"], {}, "the protocol sets this key itself"),
        ("few_shot_sweep", ["dtd", "DATASET.NUM_SHOTS", "3"], {}, "the protocol sets this key itself"),
        ("xd", ["dtd,eurosat"], {}, "xd does not take several datasets"),
        ("multi_source", ["pacs"], {"weights": "w"}, "multi_source does not take --weights"),
        ("base_to_new", ["dtd"], {"targets": ("dtd",)}, "base_to_new does not take --targets"),
        ("xd", ["imagenet"], {"targets": ("dtt",)}, "did you mean 'dtd'"),
        ("base_to_new", ["dtd,eurosta"], {}, "did you mean 'eurosat'"),
        ("multi_source", ["dtd"], {}, "needs a dataset with several domains; 'DescribableTextures' has none"),
    ],
)
def test_wrong_requests_are_one_line(protocol, words, more, named):
    with pytest.raises(UserError) as error:
        plan_of(protocol, "CoOp", *words, **more)
    assert named in str(error.value) and "\n" not in str(error.value)


def test_all_stands_for_the_eleven_datasets():
    assert len(ALL_DATASETS) == 11
    assert {job.cell[0] for job in plan_of("base_to_new", "CoOp", "all").jobs} == {"ImageNet", *TARGETS}
