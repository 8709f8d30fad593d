"""`python -m benchmarks.half_precision`: what amp, bf16 and fp16 change of test-time methods in the mini world.

Each domain is held out in turn; MaPLe's prompts and the source prototypes are made once, in float32, below $OUTPUT, and
the same views of the same images are adapted to in every precision, on the CPU.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import torch
from tabulate import tabulate
from torch import Tensor

from dassl.data.data_manager import DatasetWrapper
from dassl.engine import build_trainer
from dassl.talk import quiet
from promptshift.adapting.stream import StreamViews
from promptshift.adapting.trainer import AdaptingTrainer
from promptshift.mini import MINI_DG
from promptshift.paths import checkout, data_root
from promptshift.runs.config import build_cfg

PRECISIONS = ("fp32", "amp", "bf16", "fp16")
# row of the table -> (trainer, its configuration file for the mini world)
METHODS = {
    "TPT": ("TPT", "mini"),
    "PromptAlign": ("PromptAlign", "mini"),
    "PromptSync, both losses": ("PromptSync", "mini"),
    "PromptSync, class-aware alignment alone": ("PromptSync", "mini_class_aware"),
    "PromptSync, discrimination alone": ("PromptSync", "mini_discrimination"),
}
START = "MaPLe's prompts, not adapted"
HEADER = [
    "method",
    "precision",
    "accuracy (%)",
    "to fp32",
    "by seed",
    "predictions that differ (%)",
    "mean difference of logits",
    "95 % of them under",
]


class Run(NamedTuple):
    """Which domain is held out, the seed, the folder of outputs, and the run of MaPLe to start from ("": made now)."""

    domain: str
    seed: int
    folder: str
    start: str = ""


@dataclass
class Compared:
    """Logits (S, N, K) of S seeds in float32 and in another precision, and labels (S, N)."""

    full: Tensor
    half: Tensor
    labels: Tensor

    def cells(self) -> list[str]:
        """Accuracy, its difference to float32's in all and by seed, share of other predictions, size of the
        differences of logits."""
        full, half = ((x.argmax(-1) == self.labels).double().mean(dim=1) * 100 for x in (self.full, self.half))
        differ = (self.full.argmax(-1) != self.half.argmax(-1)).double().mean().item() * 100
        apart = (self.full - self.half).abs().flatten()
        return [
            f"{half.mean():.2f}",
            f"{(half - full).mean():+.2f}",
            ", ".join(f"{difference:+.1f}" for difference in (half - full).tolist()),
            f"{differ:.1f}",
            f"{apart.mean():.4f}",
            f"{apart.quantile(0.95):.4f}",
        ]


def trainer_of(method: str, precision: str, run: Run) -> AdaptingTrainer:
    """A trainer of the mini world with the run's domain held out and its prompts loaded."""
    name, config = METHODS[method]
    configs, block = checkout() / "configs", f"TRAINER.{name.upper()}"
    options = {
        "--trainer": name,
        "--root": str(data_root()),
        "--seed": str(run.seed),
        "--target-domains": run.domain,
        "--dataset-config-file": str(configs / "datasets/mini.yaml"),
        "--config-file": str(configs / f"trainers/{name}/{config}.yaml"),
        "--output-dir": run.folder,
        "USE_CUDA": "False",
        f"{block}.PREC": precision,
    }
    if run.start and name != "TPT":
        options[f"{block}.START.RUN"] = run.start
    cfg, _ = build_cfg([word for option in options.items() for word in option])
    torch.manual_seed(run.seed)
    trainer = build_trainer(cfg)
    trainer.set_model_mode("eval")
    trainer.load_start()
    return trainer


def some_views(trainer: AdaptingTrainer, count: int) -> tuple[Tensor, Tensor]:
    """`count` test images at even distances -> their views (N, V, 3, S, S) and labels (N,)."""
    items = trainer.dm.dataset.test
    items = [items[i * len(items) // count] for i in range(min(count, len(items)))]
    wrapper = DatasetWrapper(trainer.cfg, items, trainer.view_transform())
    images = StreamViews(wrapper, trainer.cfg.DATASET.ROOT, trainer.cfg.SEED, strict=True)
    views = torch.stack([images[i]["views"] for i in range(len(items))])
    return views, torch.tensor([item.label for item in items])


def outcomes(domain: str, seed: int, count: int) -> tuple[dict[tuple[str, str], Tensor], Tensor]:
    """One domain held out, one seed -> {(method, precision): logits (N, K)}, labels (N,)."""
    logits: dict[tuple[str, str], Tensor] = {}
    with tempfile.TemporaryDirectory() as folder, quiet():  # the trainers' own talk
        first = trainer_of("PromptSync, both losses", "fp32", Run(domain, seed, folder))
        source, run = first.find_source(), Run(domain, seed, folder, str(first.start_run))
        views, labels = some_views(first, count)
        for precision in PRECISIONS:
            for method in METHODS:
                trainer = trainer_of(method, precision, run)
                trainer.find_source = lambda: source  # a file is refused where bf16 has rounded CLIP's weights
                trainer.prepare()
                per = trainer.images_at_once()
                parts = [trainer.adapt(part) for part in views.split(per)]
                logits[method, precision] = torch.cat([adapted for adapted, _, _ in parts])
                if method == "PromptAlign":
                    logits[START, precision] = torch.cat([seen.logits[:, 0].float() for _, seen, _ in parts])
    return logits, labels


def table(seeds: list[int], count: int) -> list[list[str]]:
    """Rows of the table: every method in every precision, over all domains and seeds."""
    logits, labels = defaultdict(list), []
    for seed in seeds:
        found, truths = defaultdict(list), []
        for domain in MINI_DG.domains:
            values, truth = outcomes(domain, seed, count)
            truths.append(truth)
            for key, value in values.items():
                found[key].append(value)
            print(f"seed {seed}, {domain}: done", flush=True)
        labels.append(torch.cat(truths))
        for key, values in found.items():
            logits[key].append(torch.cat(values))
    whole, truth = {key: torch.stack(values) for key, values in logits.items()}, torch.stack(labels)
    return [
        [method, precision, *Compared(whole[method, "fp32"], whole[method, precision], truth).cells()]
        for method in (START, *METHODS)
        for precision in PRECISIONS
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.half_precision", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--images", type=int, default=20, help="test images of each domain (default: 20)")
    arguments = parser.parse_args()
    rows = table(arguments.seeds, arguments.images)
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}; "
        f"{arguments.images} images of each of {len(MINI_DG.domains)} held-out domains, seeds {arguments.seeds}"
    )
    print(tabulate(rows, headers=HEADER, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
