"""Helpers of all kinds, as upstream exports them."""

from .errors import NonFiniteLossError, UserError, get_most_similar_str_to_a_from_b, suggest
from .logger import Logger, log_to, setup_logger
from .on_demand import on_demand
from .registry import Registry
from .tools import (
    atomic_path,
    check_availability,
    check_isfile,
    collect_env_info,
    listdir_nohidden,
    mkdir_if_missing,
    read_image,
    read_json,
    set_deterministic,
    set_random_seed,
    tolist_if_not,
    write_json,
)

__getattr__ = on_demand(
    __name__,
    {
        "legacy": ("load_pickle",),
        "meters": ("AverageMeter", "MetricMeter"),
        "torchtools": (
            "count_num_param",
            "init_network_weights",
            "load_checkpoint",
            "load_pretrained_weights",
            "open_all_layers",
            "open_specified_layers",
            "resume_from_checkpoint",
            "save_checkpoint",
        ),
    },
)

__all__ = [
    "AverageMeter",
    "Logger",
    "MetricMeter",
    "NonFiniteLossError",
    "Registry",
    "UserError",
    "atomic_path",
    "check_availability",
    "check_isfile",
    "collect_env_info",
    "count_num_param",
    "get_most_similar_str_to_a_from_b",
    "init_network_weights",
    "listdir_nohidden",
    "load_checkpoint",
    "load_pickle",
    "load_pretrained_weights",
    "log_to",
    "mkdir_if_missing",
    "open_all_layers",
    "open_specified_layers",
    "read_image",
    "read_json",
    "resume_from_checkpoint",
    "save_checkpoint",
    "set_deterministic",
    "set_random_seed",
    "setup_logger",
    "suggest",
    "tolist_if_not",
    "write_json",
]
