"""A few numerical tests under other instruction sets and other weights; `make test-isa` runs all of them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

CHECKOUT = Path(__file__).parents[1]
HALF = "tests/promptshift/adapting/test_half_precision.py"
STORED = [
    "tests/promptshift/modeling/test_clip.py::test_zeroshot_features_and_logits[vit-32]",
    "tests/trainers/test_tpt.py::test_every_step_is_that_of_the_released_code[sel0.1_2steps]",
]
OTHERS = [
    "tests/promptshift/modeling/test_clip.py::test_lower_precisions_stay_close[vit-32-bf16]",
    f"{HALF}::test_the_gradient_is_that_of_float32[0-PromptSync, all losses-amp]",
    f"{HALF}::test_the_gradient_is_that_of_float32[0-TPT-fp16]",
]
ELSEWHERE = ["ATEN_CPU_CAPABILITY=default", "GOLDEN_SEED_SHIFT=1"]
if torch.backends.cpu.get_cpu_capability().startswith("AVX512"):  # without it these bounds change nothing
    ELSEWHERE += [f"ONEDNN_MAX_CPU_ISA={name}" for name in ("AVX2", "AVX512_CORE", "AVX512_CORE_AMX")]


@pytest.mark.parametrize("setting", ELSEWHERE)
def test_numbers_hold_elsewhere(setting):
    name, value = setting.split("=")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *STORED, *OTHERS]
    done = subprocess.run(command, cwd=CHECKOUT, env=os.environ | {name: value}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    passed = int(re.search(r"(\d+) passed", done.stdout)[1])
    assert passed == len(OTHERS) + (0 if name == "GOLDEN_SEED_SHIFT" else len(STORED))


def test_the_setting_reaches_the_kernels():
    code = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "default"}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stdout
    assert printed.strip() in ("DEFAULT", "NO AVX")
