"""Upstream's configuration keys and defaults (Dassl.pytorch 0.6.3), and what each of them allows.

Names that are looked up in a registry of their own (transforms, samplers, optimizers, schedules) are text here and
refused where they are looked up.
"""

from .options import Option, at_least, between, block, choice, flag, number, numbers, options_of, text, whole

_LARGEST_RATE = 3.4e38  # of float32


def _loader(sampler: str) -> dict:
    return dict(SAMPLER=text(sampler), BATCH_SIZE=whole(32, least=1))


def _training_loader() -> dict:
    return _loader("RandomSampler") | dict(N_DOMAIN=whole(0, least=0), N_INS=whole(16, least=1))


_INPUT = dict(
    SIZE=numbers((224, 224), length=(2,), kind=int, least=1),
    INTERPOLATION=text("bilinear"),
    TRANSFORMS=(),
    NO_TRANSFORM=flag(False),
    PIXEL_MEAN=numbers([0.485, 0.456, 0.406], length=(1, 3)),
    PIXEL_STD=numbers([0.229, 0.224, 0.225], length=(1, 3), above=0),
    CROP_PADDING=whole(4, least=0),
    RRCROP_SCALE=numbers((0.08, 1.0), length=(2,), above=0, rising=True),
    CUTOUT_N=whole(1, least=0),
    CUTOUT_LEN=whole(16, least=0),
    GN_MEAN=number(0.0),
    GN_STD=at_least(0, 0.15),
    RANDAUGMENT_N=whole(2, least=0),
    RANDAUGMENT_M=whole(10, least=0, most=30),
    COLORJITTER_B=at_least(0, 0.4),
    COLORJITTER_C=at_least(0, 0.4),
    COLORJITTER_S=at_least(0, 0.4),
    COLORJITTER_H=between(0, 0.5, 0.1),
    RGS_P=between(0, 1, 0.2),
    GB_P=between(0, 1, 0.5),
    GB_K=Option(21, "odd whole numbers from 1", lambda value: type(value) is int and value > 0 and value % 2 == 1),
)
_DATASET = dict(
    ROOT=text(""),
    NAME=text(""),
    SOURCE_DOMAINS=(),
    TARGET_DOMAINS=(),
    NUM_LABELED=whole(-1),
    NUM_SHOTS=whole(-1, about="training images of a class; below 1: all"),
    VAL_PERCENT=between(0, 1, 0.1),
    STL10_FOLD=whole(-1),
    CIFAR_C_TYPE=text(""),
    CIFAR_C_LEVEL=whole(1),
    ALL_AS_UNLABELED=flag(False),
)
_DATALOADER = dict(
    NUM_WORKERS=whole(4, least=0),
    K_TRANSFORMS=whole(1, least=1),
    RETURN_IMG0=flag(False),
    TRAIN_X=_training_loader(),
    TRAIN_U=dict(SAME_AS_X=flag(True)) | _training_loader(),
    TEST=_loader("SequentialSampler"),
)
_MODEL = dict(
    INIT_WEIGHTS=text(""),
    BACKBONE=dict(NAME=text(""), PRETRAINED=flag(True)),
    HEAD=dict(NAME=text(""), HIDDEN_LAYERS=(), ACTIVATION=text("relu"), BN=flag(True), DROPOUT=between(0, 1, 0.0)),
)
_OPTIM = dict(
    NAME=text("adam"),
    LR=between(0, _LARGEST_RATE, 0.0003),
    WEIGHT_DECAY=at_least(0, 5e-4),
    MOMENTUM=at_least(0, 0.9),
    SGD_DAMPNING=0,
    SGD_NESTEROV=flag(False),
    RMSPROP_ALPHA=at_least(0, 0.99),
    ADAM_BETA1=between(0, 1, 0.9, below=True),
    ADAM_BETA2=between(0, 1, 0.999, below=True),
    STAGED_LR=flag(False),
    NEW_LAYERS=(),
    BASE_LR_MULT=at_least(0, 0.1),
    LR_SCHEDULER=text("single_step"),
    STEPSIZE=numbers((-1,), kind=int),
    GAMMA=at_least(0, 0.1),
    MAX_EPOCH=whole(10, least=0),
    WARMUP_EPOCH=whole(-1, about="below 1: none"),
    WARMUP_TYPE=text("linear"),
    WARMUP_CONS_LR=between(0, _LARGEST_RATE, 1e-5),
    WARMUP_MIN_LR=between(0, _LARGEST_RATE, 1e-5),
    WARMUP_RECOUNT=flag(True),
)
_TEST = dict(
    EVALUATOR=text("Classification"),
    PER_CLASS_RESULT=flag(False),
    COMPUTE_CMAT=flag(False),
    NO_TEST=flag(False),
    SPLIT=choice("test", "val"),
    FINAL_MODEL=choice("last_step", "best_val"),
)
# Blocks of upstream's own trainers; none of those trainers is part of this package, but shipped YAML files and
# outside trainer files of the Dassl family read them.
_UPSTREAM_TRAINERS = dict(
    MCD=dict(N_STEP_F=4),
    MME=dict(LMDA=0.1),
    CDAC=dict(
        CLASS_LR_MULTI=10,
        RAMPUP_COEF=30,
        RAMPUP_ITRS=1000,
        TOPK_MATCH=5,
        P_THRESH=0.95,
        STRONG_TRANSFORMS=(),
    ),
    SE=dict(EMA_ALPHA=0.999, CONF_THRE=0.95, RAMPUP=300),
    M3SDA=dict(LMDA=0.5, N_STEP_F=4),
    DAEL=dict(WEIGHT_U=0.5, CONF_THRE=0.95, STRONG_TRANSFORMS=()),
    CROSSGRAD=dict(EPS_F=1.0, EPS_D=1.0, ALPHA_F=0.5, ALPHA_D=0.5),
    DDAIG=dict(
        G_ARCH="",
        LMDA=0.3,
        CLAMP=False,
        CLAMP_MIN=-1.0,
        CLAMP_MAX=1.0,
        WARMUP=0,
        ALPHA=0.5,
    ),
    DAELDG=dict(WEIGHT_U=0.5, CONF_THRE=0.95, STRONG_TRANSFORMS=()),
    DOMAINMIX=dict(TYPE="crossdomain", ALPHA=1.0, BETA=1.0),
    ENTMIN=dict(LMDA=1e-3),
    MEANTEACHER=dict(WEIGHT_U=1.0, EMA_ALPHA=0.999, RAMPUP=5),
    MIXMATCH=dict(WEIGHT_U=100.0, TEMP=2.0, MIXUP_BETA=0.75, RAMPUP=20000),
    FIXMATCH=dict(WEIGHT_U=1.0, CONF_THRE=0.95, STRONG_TRANSFORMS=()),
)
_DECLARED = dict(
    VERSION=1,
    OUTPUT_DIR=text("./output"),
    RESUME=text("", about="folder of an earlier run to continue; wins over OUTPUT_DIR"),
    SEED=whole(-1, most=2**32 - 1, about="below 0: unseeded; 0 is a seed"),
    USE_CUDA=flag(True),
    VERBOSE=flag(True),
    INPUT=_INPUT,
    DATASET=_DATASET,
    DATALOADER=_DATALOADER,
    MODEL=_MODEL,
    OPTIM=_OPTIM,
    TRAIN=dict(
        CHECKPOINT_FREQ=whole(0, about="below 1: a numbered checkpoint after the last epoch only"),
        PRINT_FREQ=whole(10, least=1),
        COUNT_ITER=text("train_x"),
    ),
    TEST=_TEST,
    TRAINER=dict(NAME=text("")) | _UPSTREAM_TRAINERS,
)

OPTIONS = options_of(_DECLARED)  # dotted key -> what it allows
_C = block(_DECLARED)
