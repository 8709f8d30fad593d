"""LDPF: latent domains, one prompt for each, and their fusion."""

import logging

import torch
import torch.nn.functional as F

from dassl.config.options import above, at_least, choice, count_or, flag, whole
from dassl.data.data_manager import build_data_loader
from dassl.data.datasets import Datum
from dassl.data.transforms import build_transform
from dassl.engine import TRAINER_REGISTRY
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils.errors import UserError
from promptshift.bases.prediction import Prediction
from promptshift.bases.prompt_trainer import PromptTrainer
from promptshift.losses import accuracy
from promptshift.modeling import latent_domains as latent
from promptshift.modeling.features import cached_features
from promptshift.randomness import own_random_state
from promptshift.runs.public_files.public_blocks import precision, start_words

log = logging.getLogger(f"promptshift.{__name__}")

PAPER = "arXiv 2511.00067"
SLOTS = {"auto": max(latent.AUTO), "manual": 16}  # latent domains there is room for where N_S does not say
ENCODING_BATCH = 128  # of the un-augmented training images; not a key, so that clusters do not depend on one


@TRAINER_REGISTRY.register()
class LDPF(PromptTrainer):
    """Latent domain prompt learning with fusion (arXiv 2511.00067); no domain label is used.

    z = E_d(f) is a domain feature of the frozen image feature f; k-means on z of all training images gives S latent
    domains with centroids mu_s, before training and after each epoch, new ids matched to the old ones. An image of
    latent domain s is classified by cos(f, g([P_a | P_s | class])):
      step 1  L_dsp = CE, P_a fixed: P_s learns
      step 2  L_dap = CE, P_s fixed: P_a learns
      step 3  L_adv = CE(C_a(GRL(z)), y): C_a learns the class from z, E_d hides it
      L = L_dsp + LAMBDA * (L_dap - L_adv), the minus being the gradient reversal
    Prediction: cos(f, F_k) with F_k = sum_s alpha_s f_k^s and alpha = softmax_s(cos(z, mu_s) / TAU).

    No code was released. Differs from the paper: nothing known. Chosen where it is silent: STEPS alternating takes the
    three steps of an iteration at once, since they learn disjoint parameters and CE is the same number in steps 1 and 2
    (one text forward); `sequential` takes step 2 in later epochs, with E_d and the P_s at rest. LAMBDA, TAU, the
    widths, the ramp of the reversal, the number of epochs. N_S 3 is the paper's, which tunes it on validation images;
    nothing is tuned here. C_a learns much faster than E_d (ADVERSARY_LR): at the rate of the prompts it stays at chance
    on the unit vectors z, and E_d as it was drawn. N_S `auto` maximises the silhouette of z before training. DOMAINS
    manual is the paper's ablation with the true source domains.
    Beyond the paper: CENTERED, and FUSION gate, which learns alpha from z with everything else fixed.

    Shapes: B images, N training images, K classes, S latent domains, M1, M2 context vectors, D text width, E embedding.
    """

    BLOCK = "LDPF"
    DEFAULTS = dict(
        PREC=precision(),
        CTX_INIT=start_words("a photo of a"),
        N_CTX_AGNOSTIC=whole(4, least=1, source=PAPER, about="vectors of P_a"),
        N_CTX_SPECIFIC=whole(8, least=1, source=PAPER, about="vectors of each P_s"),
        N_S=count_or("auto", default="3", source=PAPER, about="latent domains"),
        DOMAINS=choice("latent", "manual", source=PAPER, about="manual: the true source domains, an ablation"),
        FUSION=choice("similarity", "uniform", "gate", source=PAPER, about="weights of the latent domains at test"),
        TAU=above(0, 0.1, about="temperature of FUSION similarity"),
        CENTERED=flag(False, about="cosines of z and mu_s as seen from the mean z"),
        STEPS=choice("alternating", "sequential", about="steps 1 and 2 in every iteration, or one after the other"),
        SEQUENTIAL_EPOCHS=whole(0, least=0, about="epochs of step 1 with STEPS sequential; 0: half of them"),
        ADVERSARIAL=flag(True, source=PAPER, about="False: E_d stays as it was drawn, C_a only watches"),
        GRL_RAMP=flag(True, about="strength of the reversal grows from 0 to 1; False: 1"),
        ADVERSARY_LR=above(0, 2.0, about="of C_a, by SGD; schedule and weight decay are those of OPTIM"),
        LAMBDA=at_least(0, 1.0, about="weight of L_dap - L_adv"),
        HIDDEN=whole(512, least=1, about="hidden width of E_d"),
        FEATURE_WIDTH=whole(256, least=1, about="width of z"),
    )

    @classmethod
    def check_options(cls, cfg):
        super().check_options(cfg)
        o, key = cfg.TRAINER.LDPF, "TRAINER.LDPF."
        if o.STEPS == "sequential" and not 0 < first_epochs(cfg) < cfg.OPTIM.MAX_EPOCH:
            raise UserError(
                f"{key}SEQUENTIAL_EPOCHS: {first_epochs(cfg)} of OPTIM.MAX_EPOCH {cfg.OPTIM.MAX_EPOCH} "
                "epochs for step 1; each step needs at least one"
            )
        if "Domain" in cfg.DATALOADER.TRAIN_X.SAMPLER:
            raise UserError(
                f"DATALOADER.TRAIN_X.SAMPLER: {cfg.DATALOADER.TRAIN_X.SAMPLER} reads domain labels, LDPF "
                "uses none; allowed: RandomSampler, SequentialSampler, RandomClassSampler"
            )

    def build_data_loader(self):
        """Takes the domain labels off the training images before anything else can see them."""
        super().build_data_loader()
        items, o = self.dm.dataset.train_x, self.cfg.TRAINER.LDPF
        self.true_domains = torch.tensor([item.domain for item in items])  # for the report, and for DOMAINS manual
        items[:] = [Datum(item.impath, item.label, 0, item.classname) for item in items]
        manual = o.DOMAINS == "manual"
        if manual and len(self.true_domains.unique()) > SLOTS["manual"]:
            raise UserError(
                f"TRAINER.LDPF.DOMAINS: manual with {len(self.true_domains.unique())} source domains; "
                f"allowed: up to {SLOTS['manual']}"
            )
        if not manual and o.N_S != "auto" and int(o.N_S) > len(items):
            raise UserError(
                f"TRAINER.LDPF.N_S: {o.N_S} latent domains are more than the {len(items)} training images "
                f"of {self.cfg.DATASET.NAME}; allowed: 1 to {len(items)}, or auto"
            )

    def build_prompts(self, clip, classnames):
        o = self.options
        slots = SLOTS.get("manual" if o.DOMAINS == "manual" else o.N_S) or int(o.N_S)
        self.prompts = latent.LatentPrompts(
            clip, classnames, slots, o.N_CTX_AGNOSTIC, o.N_CTX_SPECIFIC, o.CTX_INIT, self.cfg.MODEL.TEXT_CHUNK
        )
        self.domains = latent.LatentDomains(clip.embed_dim, slots, o.HIDDEN, o.FEATURE_WIDTH, gate=o.FUSION == "gate")
        self.adversary = latent.ClassAdversary(o.FEATURE_WIDTH, len(classnames)).to(clip.device)
        self.assignment = None  # (N,) latent domain of each training image
        return {"prompt_learner": self.prompts, "domain_extractor": self.domains}

    def build_model(self):
        super().build_model()
        optim_cfg = self.cfg.OPTIM.clone()
        optim_cfg.defrost()
        optim_cfg.NAME, optim_cfg.LR = "sgd", self.options.ADVERSARY_LR
        optim = build_optimizer(self.adversary, optim_cfg)
        self.register_model("class_adversary", self.adversary, optim, build_lr_scheduler(optim, optim_cfg))

    # Latent domains of the training images

    def before_train(self):
        super().before_train()
        self.frozen = self.training_features()
        if self.assignment is None:  # not resumed
            self.find_domains()

    def after_epoch(self):
        self.find_domains()  # first, so that what is validated and saved has centroids of its own extractor
        super().after_epoch()

    def after_train(self):
        super().after_train()
        self.diagnostics["latent_domains"] = self.domain_report()

    def extra_state(self):
        return {"assignment": self.assignment}

    def load_extra_state(self, state):
        self.assignment = None if state["assignment"] is None else state["assignment"].long()

    def training_features(self):
        """Features (N, E) of the training images under the test transform, on the CPU."""
        loader = build_data_loader(
            self.cfg,
            "SequentialSampler",
            self.dm.dataset.train_x,
            ENCODING_BATCH,
            tfm=build_transform(self.cfg, is_train=False),
            is_train=False,
        )
        if self.cfg.TEST.FEATURE_CACHE:
            return cached_features(loader, self.encode_images, self.feature_key, self.feature_folder)[0]
        with own_random_state():
            return torch.cat([self.encode_images(batch["img"]).cpu() for batch in loader])

    @torch.no_grad()
    def find_domains(self):
        """Clusters the training images anew; ids stay with the clusters they overlap most."""
        z, seed, old = self.domains(self.frozen.to(self.device)).cpu(), max(self.cfg.SEED, 0), self.assignment
        if self.options.DOMAINS == "manual":
            labels = self.true_domains.unique(return_inverse=True)[1]
        else:
            automatic = old is None and self.options.N_S == "auto"
            n = latent.choose_number(z, seed) if automatic else int(self.domains.n_domains)
            labels = latent.k_means(z, n, seed)
            labels = labels if old is None else latent.match_ids(labels, old, n)
        self.assignment = labels
        sizes = labels.bincount().tolist()
        self.domains.place(z, labels, len(sizes))
        moved = 0 if old is None else int((labels != old).sum())
        log.info(f"Latent domains: {', '.join(map(str, sizes))} images, {moved} moved")

    @torch.no_grad()
    def domain_report(self):
        """Latent domains of the deployed model against the true ones, which nothing else reads."""
        z, n = self.domains(self.frozen.to(self.device)), int(self.domains.n_domains)
        nearest = self.domains.similarity_weights(z, 1.0, self.options.CENTERED).argmax(dim=1).cpu()
        present, truth = self.true_domains.unique(return_inverse=True)
        table = latent.contingency(nearest, truth, n, len(present))
        all_names = self.dm.dataset.domains
        names = [all_names[i] if all_names else str(i) for i in present.tolist()]
        report = {"n_s": n, "true_domains": names, "table": table.tolist(), "purity": latent.purity(table)}
        log.info(f"Latent domains (rows) against {', '.join(names)}: {report['table']}, purity {report['purity']:.3f}")
        return report

    # Learning

    def contexts(self):
        """P_a (M1, D) and P_s (S, M2, D), cut off where this step does not learn them."""
        agnostic, specific = self.prompts.ctx_agnostic, self.prompts.ctx_specific[: int(self.domains.n_domains)]
        if self.options.STEPS == "alternating":
            return latent.scale_gradient(agnostic, self.options.LAMBDA), specific
        return (agnostic.detach(), specific) if self.in_first_step() else (agnostic, specific.detach())

    def in_first_step(self):
        """Whether the P_s and E_d learn in this epoch."""
        return self.options.STEPS == "alternating" or self.epoch < first_epochs(self.cfg)

    def extractor_learns(self):
        """Whether step 3 reaches E_d in this epoch."""
        return self.options.ADVERSARIAL and self.in_first_step()

    def loss_adversarial(self, z, labels):
        """Step 3; where E_d does not learn, C_a still tells how much of the class z gives away."""
        if not self.extractor_learns():
            return F.cross_entropy(self.adversary(z.detach()), labels)
        done = (self.epoch + self.batch_idx / self.num_batches) / self.max_epoch
        strength = latent.reversal_ramp(done) if self.options.GRL_RAMP else 1.0
        return F.cross_entropy(self.adversary(latent.reverse_gradient(z, strength)), labels)

    def loss(self, batch):
        features, labels = self.batch_features(batch), batch["label"].to(self.device)
        own = self.assignment[batch["index"]].to(self.device)  # (B,) latent domain of each image
        classes = self.prompts(*self.contexts())  # (S, K, E)
        cosines = torch.einsum("be,ske->bsk", features, classes)
        logits = self.clip.logit_scale * cosines[torch.arange(len(own), device=own.device), own]  # (B, K)
        z = self.domains(features)
        prompt_loss, adversarial = F.cross_entropy(logits, labels), self.loss_adversarial(z, labels)
        parts = {
            "loss": prompt_loss + self.options.LAMBDA * adversarial,
            "loss_prompt": prompt_loss,
            "loss_adv": adversarial,
            "acc": accuracy(logits, labels),
        }
        if self.options.FUSION == "gate":
            weights = self.domains.gate_weights(z.detach())
            fused = latent.fused_cosines(weights, cosines.detach(), classes.detach())
            parts["loss_gate"] = F.cross_entropy(self.clip.logit_scale * fused, labels)
            parts["loss"] = parts["loss"] + parts["loss_gate"]
        return parts

    # Prediction

    def fusion_weights(self, features):
        """alpha (B, S): image features (B, E) -> weights of the latent domains."""
        o, n = self.options, int(self.domains.n_domains)
        if o.FUSION == "uniform":
            return features.new_full((len(features), n), 1 / n)
        z = self.domains(features)
        return (
            self.domains.gate_weights(z)
            if o.FUSION == "gate"
            else self.domains.similarity_weights(z, o.TAU, o.CENTERED)
        )

    def predict_features(self, features):
        return self.explain_features(features).logits

    def explain_features(self, features):
        classes = self.prompts.frozen(int(self.domains.n_domains))
        weights, cosines = self.fusion_weights(features), torch.einsum("be,ske->bsk", features, classes)
        logits = self.clip.logit_scale * latent.fused_cosines(weights, cosines, classes)
        return Prediction(logits, {"weights": weights, "choices": cosines.argmax(dim=2)})

    def diagnose(self, kept, labels):
        """What the fusion gains over single prompts."""
        report = latent.fusion_report(kept["weights"], kept["choices"], labels)
        log.info(f"Best single prompt {report['best_single_prompt']:.2f}%, U_sel (oracle) {report['u_sel']:.2f}%")
        return {"fusion": report}


def first_epochs(cfg) -> int:
    """Epochs of step 1 with STEPS sequential."""
    return cfg.TRAINER.LDPF.SEQUENTIAL_EPOCHS or cfg.OPTIM.MAX_EPOCH // 2
