"""ERM: fine-tuning of an ImageNet backbone."""

import torch.nn.functional as F

from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.modeling import BACKBONE_REGISTRY
from dassl.utils.errors import UserError, quoted, suggest
from promptshift.bases.prompt_trainer import PromptTrainer
from promptshift.losses import accuracy


@TRAINER_REGISTRY.register(aliases=("Vanilla",))
class ERM(TrainerX):
    """Empirical risk minimization (Vapnik 1998) on the pooled source domains, for reference.

    Fine-tunes all of a torchvision backbone and a linear classifier with cross-entropy. MODEL.BACKBONE.PRETRAINED
    starts from ImageNet weights (downloaded by torchvision), False from random ones. Weights and prediction are in
    float32.

    Differs from DomainBed (arXiv 2007.01434), whose numbers papers quote: epochs instead of steps, images drawn from
    the pooled domains instead of as many from each, batch-norm statistics that follow the data.

    Shapes: B images, K classes.
    """

    BLOCK = "ERM"
    DEFAULTS: dict = {}
    validates_now = PromptTrainer.validates_now

    @classmethod
    def check_options(cls, cfg):
        """Refuses what is no ImageNet backbone before data or weights are touched."""
        name, known = cfg.MODEL.BACKBONE.NAME, BACKBONE_REGISTRY.registered_names()
        if name not in known:
            raise UserError(
                f"MODEL.BACKBONE.NAME: ERM fine-tunes an ImageNet backbone, not {quoted(name)}; "
                f"allowed: {', '.join(known)}{suggest(name, known)}"
            )

    def build_model(self):
        try:
            super().build_model()
        except OSError as error:  # what urllib raises without network, too
            raise UserError(
                f"MODEL.BACKBONE.NAME: ImageNet weights of '{self.cfg.MODEL.BACKBONE.NAME}' could not be "
                f"downloaded ({type(error).__name__}); set MODEL.BACKBONE.PRETRAINED False for random "
                "ones, or MODEL.INIT_WEIGHTS to a local file as well"
            ) from error

    def forward_backward(self, batch):
        images, labels, _ = self.parse_batch_train(batch)
        logits = self.model(images)
        loss = F.cross_entropy(logits, labels)
        self.model_backward_and_update(loss)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": loss.item(), "acc": accuracy(logits, labels).item()}
