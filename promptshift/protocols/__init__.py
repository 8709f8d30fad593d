"""Protocols: which jobs a comparison consists of, in which order, and the table at its end.

    registry      a protocol is one registered function; every module of this folder is discovered
    request       what was asked for, resolved to configuration files, folders and configuration hashes
    jobs          one training run and the state of its folder
    runner        runs jobs side by side, skips finished ones, resumes unfinished ones
    seed_table    the table over seeds with the paper's row below
    by_domain     what the two protocols below share
    multi_source  leave one domain out
    single_source train on one domain, test on all the others
    cross_dataset train on one dataset, test on whole other ones
    few_shot      k images per class, CoOp's `main.sh`
    zero_shot     evaluation without training, CoOp's `zeroshot.sh`

Command line: `python -m promptshift.protocols --help`.
"""
