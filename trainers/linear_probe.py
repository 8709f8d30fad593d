"""Linear probing of CLIP."""

import logging

import numpy as np
import torch
from torch import nn

from dassl.config.options import above, flag, whole
from dassl.data.data_manager import build_data_loader
from dassl.data.transforms import build_transform
from dassl.engine import TRAINER_REGISTRY
from dassl.utils.errors import UserError
from promptshift.bases.raw_features import RawFeatures
from promptshift.modeling.features import cached_features
from promptshift.runs.public_files.public_blocks import precision

log = logging.getLogger(f"promptshift.{__name__}")


@TRAINER_REGISTRY.register(aliases=("CLIP_LR",))
class LinearProbe(RawFeatures):
    """Logistic regression on frozen CLIP features (Radford et al. 2021, arXiv 2103.00020, appendix A.3).

    scikit-learn's L-BFGS with inverse regularisation C = 0.316 and at most 1000 iterations, on features that are not
    L2-normalised (C was chosen for such). It has no epochs: training fits once.

    Differs from SPG's released code: features of every training image without augmentation; AUGMENTED True is the
    released reading, one pass of the training loader (augmented, its last incomplete batch dropped).

    Shapes: B images, N training images, K classes, E embedding.
    """

    BLOCK = "CLIP_LR"
    DEFAULTS = dict(
        PREC=precision(),
        C=above(0, 0.316, source="arXiv 2103.00020, appendix A.3", about="inverse regularisation"),
        MAX_ITER=whole(1000, least=1, source="arXiv 2103.00020, appendix A.3", about="most iterations of L-BFGS"),
        AUGMENTED=flag(False, about="fit to one pass of the training loader, as SPG's code"),
    )

    @classmethod
    def check_options(cls, cfg):
        super().check_options(cfg)
        views = cfg.DATALOADER.TRAIN_X.FEATURE_VIEWS
        if views and not cfg.TRAINER.CLIP_LR.AUGMENTED:
            raise UserError(
                f"DATALOADER.TRAIN_X.FEATURE_VIEWS: {views}, but LinearProbe takes "
                "images without augmentation; set it to 0, or TRAINER.CLIP_LR.AUGMENTED True"
            )

    def build_prompts(self, clip, classnames):
        self.probe = nn.Linear(clip.embed_dim, len(classnames))
        return {"linear_probe": self.probe}

    def predict_features(self, features):
        return self.probe(features)

    def train(self):
        features, labels = self.augmented_features() if self.options.AUGMENTED else self.plain_features()
        log.info(f"Fit a logistic regression on {len(labels)} features")
        self.fit(features.numpy(), labels.numpy())
        self.save_model(0, self.output_dir, is_best=True)
        self.after_train()

    def augmented_features(self):
        """Features (N, E) and labels (N,) of one pass of the training loader."""
        pairs = [(self.batch_features(batch).cpu(), batch["label"]) for batch in self.train_loader_x]
        return tuple(torch.cat(part) for part in zip(*pairs))

    def plain_features(self):
        """Features (N, E) and labels (N,) of every training image under the test transform."""
        cfg = self.cfg
        loader = build_data_loader(
            cfg,
            data_source=self.dm.dataset.train_x,
            batch_size=cfg.DATALOADER.TEST.BATCH_SIZE,
            tfm=build_transform(cfg, is_train=False),
            is_train=False,
        )
        return cached_features(loader, self.encode_images, self.feature_key, self.feature_folder)

    def fit(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Fits to features (N, E) and labels (N,); a class without any image is never predicted.

        Raises:
            UserError: fewer than two classes have images.
        """
        from sklearn.linear_model import LogisticRegression  # takes two seconds to import: only where it is used

        if len(np.unique(labels)) < 2:
            raise UserError(
                f"DATASET.NAME {self.cfg.DATASET.NAME}: LinearProbe needs training images of at least two classes"
            )
        found = LogisticRegression(C=self.options.C, max_iter=self.options.MAX_ITER).fit(features, labels)
        weight, bias = found.coef_, found.intercept_
        if len(found.classes_) == 2:  # one row, the second class against the first
            weight, bias = np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
        with torch.no_grad():
            self.probe.weight.zero_()
            self.probe.bias.fill_(-torch.inf)
            self.probe.weight[found.classes_] = torch.from_numpy(weight).to(self.probe.weight)
            self.probe.bias[found.classes_] = torch.from_numpy(bias).to(self.probe.bias)
