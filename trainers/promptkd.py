"""PromptKD."""

import logging

import torch
import torch.nn.functional as F
from torch import nn

from dassl.config import merge_opts
from dassl.config.options import choice, pairs, text, whole, with_defaults
from dassl.data import DataManager
from dassl.engine import TRAINER_REGISTRY, TrainerBase
from dassl.utils.errors import UserError
from promptshift.bases.prompt_trainer import PromptTrainer
from promptshift.losses import accuracy, distillation_kl
from promptshift.modeling.clip import load_clip
from promptshift.modeling.multimodal import IndependentPrompts, class_features
from promptshift.modeling.prompts import PromptTemplate
from promptshift.modeling.templates import clean_name
from promptshift.modeling.towers.vision_tower import VisionPrompts, VisionTower
from promptshift.runs.finished_run import SAME_DATA
from promptshift.runs.public_files.public_blocks import PUBLIC_BLOCKS
from promptshift.runs.stage_runs import load_stage
from promptshift.runs.stages import Stage, start_aliases
from promptshift.runs.wrapped_options import block_options, block_pairs

log = logging.getLogger(f"promptshift.{__name__}")

TEACHER = "PromptSRC"
EVERYTHING = ("DATASET.NUM_SHOTS", -1, "DATASET.SUBSAMPLE_CLASSES", "all")  # the student's images with IMAGES all


class Projector(nn.Module):
    """Student features (B, E) -> the teacher's space (B, E_t): 1x1 convolutions, as released, with a batch norm."""

    def __init__(self, width: int, out: int, layers: int):
        super().__init__()
        first = nn.Conv2d(width, out, kernel_size=1)
        more = [nn.BatchNorm2d(out), nn.ReLU(), nn.Conv2d(out, out, kernel_size=1)]
        self.conv1 = nn.Sequential(first, *(more if layers == 2 else []))

    def forward(self, features):
        return self.conv1(features[:, :, None, None]).flatten(1)


class Student(nn.Module):
    """What PromptKD learns, under its released names, and beside it the teacher's prompts, which stay."""

    def __init__(self, tower: VisionTower, teacher: IndependentPrompts, options, width: int, out: int):
        super().__init__()
        self.image_encoder = VisionPrompts(tower, options.N_CTX_VISION, options.PROMPT_DEPTH_VISION, "PROMPTKD")
        self.VPT_image_trans = Projector(width, out, options.PROJECT_LAYER)
        self.teacher = teacher.requires_grad_(False)
        self.register_load_state_dict_pre_hook(_keep_own_names)


def _keep_own_names(module, state, prefix, *_):
    """Drops what a released checkpoint holds besides (all of CLIP); the teacher it lacks stays as it is."""
    own = {prefix + name: tensor for name, tensor in module.state_dict().items()}
    for key in [key for key in state if key.startswith(prefix) and key not in own]:
        del state[key]
    for key in (key for key in own if key.startswith(f"{prefix}teacher.")):
        state.setdefault(key, own[key])


@TRAINER_REGISTRY.register()
class PromptKD(PromptTrainer):
    """Unsupervised prompt distillation (Li et al. 2024, arXiv 2403.02781).

    The teacher is PromptSRC on a larger CLIP (TEACHER_NAME). The student has vision prompts and a projector h into
    the teacher's space; class features are the teacher's, computed once. On images x without labels:
        L = KD_WEIGHT * T^2 * KL(softmax(t(x) / T) || softmax(s(x) / T)) / (B K),
    s(x) = exp(logit_scale) * cos(h(f(x)), class features), t(x) the teacher's logits of the same augmented view.

    The teacher is TEACHER_RUN (a run's folder, released ones as teacher_model/<dataset> too, or a checkpoint), else a
    stage: TEACHER_SHOTS images per class, base classes with MODAL base2novel, all with MODAL cross; then also a
    teacher of another dataset may be named. IMAGES all (the paper): the student sees every training image of every
    class, whatever NUM_SHOTS and SUBSAMPLE_CLASSES say (these only choose what is tested); IMAGES dataset: what they
    leave. A checkpoint holds the teacher's prompts too, so testing needs no teacher's run.

    Differs from the released code: the last epoch is tested (there, the best epoch on val = test; TEST.FINAL_MODEL
    best_val is that on datasets whose val is their test); only prompts and projector are saved; they are float32
    whatever PREC is. CE_WEIGHT > 0 adds the cross-entropy with labels, which the paper does not use.

    Shapes: B images, K classes, n prompts, W vision width, E embedding, E_t the teacher's.
    """

    BLOCK = "PROMPTKD"
    KEY_ALIASES = {
        "TRAINER.MODAL": "TRAINER.PROMPTKD.MODAL",
        **start_aliases("PROMPTKD", "TEACHER", "RUN", "CONFIG", "OPTS"),
    }
    DEFAULTS = with_defaults(PUBLIC_BLOCKS["PROMPTKD"], "arXiv 2403.02781", KD_WEIGHT=1000.0) | dict(
        MODAL=choice("base2novel", "cross", source="PromptKD's train.py", about="classes that the teacher learns"),
        IMAGES=choice("all", "dataset", source="arXiv 2403.02781", about="the student's: of every class, or as chosen"),
        TEACHER_PATH=text("", about="the teacher's CLIP, as MODEL.BACKBONE.PATH"),
        TEACHER_RUN=text("", about="folder or checkpoint of the teacher; '': a stage"),
        TEACHER_SHOTS=whole(16, source="arXiv 2403.02781", about="the stage's images of a class; below 1: all"),
        TEACHER_CONFIG=text("", about="its YAML in configs/trainers/PromptSRC; '': the dataset's, mini or default"),
        TEACHER_OPTS=pairs(about="KEY VALUE pairs for it; its own block is filled in"),
    )
    FROZEN_IMAGES = False
    unlabelled = None  # the dataset of the training images, where these are others than the configuration chooses
    train_names: list | None = None  # and its classes

    @classmethod
    def fill_in(cls, cfg):
        """The teacher's block in TEACHER_OPTS."""
        cfg.TRAINER.PROMPTKD.TEACHER_OPTS = block_options(cfg, *cls.stages(cfg))

    @classmethod
    def unread_data(cls, cfg):
        """With IMAGES all, training does not depend on these keys."""
        every = cfg.TRAINER.PROMPTKD.IMAGES == "all"
        return ("DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES") if every else ()

    def __init__(self, cfg, data=None, clip=None, teacher_clip=None):
        self.teacher_clip = teacher_clip  # used instead of the one that TEACHER_NAME names
        super().__init__(cfg, data, clip)

    def build_data_loader(self):
        super().build_data_loader()
        if self.cfg.TRAINER.PROMPTKD.IMAGES == "all":
            cfg = self.cfg.clone()
            cfg.defrost()
            merge_opts(cfg, [*EVERYTHING, "VERBOSE", False], source="TRAINER.PROMPTKD.IMAGES")
            everything = DataManager(cfg)
            self.train_loader_x, self.unlabelled = everything.train_loader_x, everything.dataset
            self.train_names = self.unlabelled.classnames
            log.info(
                f"PromptKD's unlabelled images: {len(self.unlabelled.train_x)} of all {len(self.train_names)} classes"
            )

    def build_prompts(self, clip, classnames):
        o = self.options
        self.teacher_clip = self.teacher_clip or self.load_teacher_clip()
        log.info(f"teacher: {self.teacher_clip.describe()}")
        if self.teacher_clip.image_size != clip.image_size:
            raise UserError(
                f"TRAINER.PROMPTKD.TEACHER_NAME: '{o.TEACHER_NAME}' takes images of "
                f"{self.teacher_clip.image_size} pixels, the student '{clip.name}' of {clip.image_size}"
            )
        self.tower = VisionTower(clip, "PromptKD")
        self.teacher = self._teacher_prompts(classnames)
        self.train_template = self._template(self.train_names) if self.train_names else self.teacher.template
        self._train_classes = None
        self.student = Student(self.tower, self.teacher, o, clip.embed_dim, self.teacher_clip.embed_dim)
        return {"VLPromptLearner": self.student}

    @classmethod
    def stages(cls, cfg):
        """The teacher; the student's images name the data that it is made from."""
        o = cfg.TRAINER.PROMPTKD
        teacher = Stage(
            "teacher",
            TEACHER,
            "PromptKD's teacher",
            config=o.TEACHER_CONFIG,
            changes=_teacher_changes(o),
            opts=o.TEACHER_OPTS,
            parts=["train"],
            images_of=EVERYTHING if o.IMAGES == "all" else (),
            run=o.TEACHER_RUN,
            key="TRAINER.PROMPTKD.TEACHER_RUN",
            same=SAME_DATA if o.MODAL == "base2novel" else ("SEED", "MODEL.BACKBONE.NAME"),
        )
        return (teacher,)

    def load_teacher_clip(self):
        return load_clip(self.options.TEACHER_NAME, self.options.TEACHER_PATH, self.precision, self.device)

    def _teacher_options(self):
        return {key.rsplit(".", 1)[1]: value for key, value in block_pairs(self.options.TEACHER_OPTS)}

    def _teacher_prompts(self, classnames):
        t = self._teacher_options()
        return IndependentPrompts(
            self.teacher_clip,
            classnames,
            t["N_CTX_TEXT"],
            t["PROMPT_DEPTH_TEXT"],
            t["N_CTX_VISION"],
            t["PROMPT_DEPTH_VISION"],
            t["CTX_INIT"],
            self.cfg.MODEL.TEXT_CHUNK,
            "PROMPTSRC",
        ).to(self.device)

    def _template(self, classnames):
        t = self._teacher_options()
        return PromptTemplate(
            self.teacher_clip,
            classnames,
            t["N_CTX_TEXT"],
            clean_name(t["CTX_INIT"]),
            max_tokens=self.cfg.MODEL.TEXT_CHUNK,
        )

    # The teacher

    def before_train(self):
        book = TrainerBase()
        book.register_model("VLPromptLearner", self.teacher)
        for stage in self.stages(self.cfg):
            load_stage(book, self.cfg, stage, self.unlabelled or self.dm.dataset)
        super().before_train()

    @torch.no_grad()
    def teacher_logits(self, images, classes):
        """The teacher's logits (B, K) of images for class features (K, E_t)."""
        with self.autocast():
            features = self.teacher.image_features(images.to(self.device))
        return self.teacher_clip.logit_scale * features @ classes.T

    @torch.no_grad()
    def train_classes(self):
        """The teacher's features (K, E_t) of the classes that are trained on."""
        if self._train_classes is None:
            prompts = self.teacher()
            self._train_classes = class_features(self.train_template, prompts.ctx, prompts.deep_text).float()
        return self._train_classes

    # The student

    def class_features(self):
        with torch.no_grad():  # the teacher's, kept
            return self.teacher.class_features()

    def image_features(self, images):
        prompts = IndependentPrompts.prompts(dict(self.student.named_parameters()))
        features = self.tower.encode(images.to(self.device), prompts.vision, prompts.deep_vision)
        return F.normalize(self.student.VPT_image_trans(features.float()).float(), dim=-1)

    def loss(self, batch):
        o, classes = self.options, self.train_classes()
        teacher = self.teacher_logits(batch["img"], classes)
        student = self.clip.logit_scale * self.image_features(batch["img"]) @ classes.T
        kd = o.KD_WEIGHT * distillation_kl(student, teacher, o.TEMPERATURE)
        parts = {"loss": kd, "agreement": accuracy(student, teacher.argmax(dim=1))}
        if o.CE_WEIGHT:
            parts["loss"] = kd + o.CE_WEIGHT * F.cross_entropy(student, batch["label"].to(self.device))
        return parts

    def proposals(self, batch):
        """DPC's negatives are those of the teacher, as released."""
        return self.teacher_logits(batch["img"], self.class_features().float())


def _teacher_changes(options) -> list:
    """What turns the student's configuration into that of the stage that trains the teacher."""
    return [
        "MODEL.BACKBONE.NAME",
        options.TEACHER_NAME,
        "MODEL.BACKBONE.PATH",
        options.TEACHER_PATH,
        "DATASET.NUM_SHOTS",
        options.TEACHER_SHOTS,
        "DATASET.SUBSAMPLE_CLASSES",
        "base" if options.MODAL == "base2novel" else "all",
    ]
