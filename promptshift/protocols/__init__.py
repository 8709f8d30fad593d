"""Protocols: which jobs a comparison consists of, in which order, and the table at its end.

    registry      a protocol is one registered function; every module of this folder is discovered
    request       what was asked for, resolved to configurations, folders and jobs
    config_files  which configuration files the words of a command line name
    seed_table    the table at the end of a plan, laid out as its protocol declares
    multi_source  leave one domain out; multi_source_test, the same for weights trained elsewhere
    single_source train on one domain, test on all the others; own_domain, on its val split
    cross_dataset train on one dataset, test on whole other ones
    few_shot      k images per class, CoOp's `main.sh`
    few_shot_sweep  the same for 1, 2, 4, 8 and 16
    base_to_new   train on half of the classes, test on both halves
    xd            train on ImageNet, test on ten other datasets
    imagenet_variants  train on ImageNet, test on V2, Sketch, A and R
    transfer      what these two and cross_dataset share
    trained       what an evaluation starts from: own training, another trainer's, given weights, or nothing
    zero_shot     evaluation without training, CoOp's `zeroshot.sh`

Command line: `promptshift run --help`.
"""
