"""train.py of the current folder on a machine without a GPU, from the same start for any two trainers.

`.cuda()` does nothing. START names a file: a run writes what it is about to learn there, or takes it from it. WEIGHTS
names the file that stands for OpenAI's ViT-B/16 in public trainer files. Batches are drawn from one seed behind that.
"""

import os
import sys

sys.path.insert(0, os.getcwd())

import torch  # noqa: E402

torch.set_num_threads(1)
torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *args, **kwargs: self

from dassl.engine.trainer import SimpleTrainer  # noqa: E402
from dassl.utils import set_random_seed  # noqa: E402
from promptshift.runs.run import main  # noqa: E402

_before_train = SimpleTrainer.before_train


def before_train(self):
    _before_train(self)
    start = os.environ["START"]
    if os.path.exists(start):
        for name, weights in torch.load(start).items():
            self._models[name].load_state_dict(weights)
    else:
        learnt = {
            name: {key: param.detach().clone() for key, param in model.named_parameters() if param.requires_grad}
            for name, model in self._models.items()
        }
        torch.save(learnt, start)
    set_random_seed(1)


SimpleTrainer.before_train = before_train

if "WEIGHTS" in os.environ:
    from clip import clip

    clip._MODELS["ViT-B/16"], clip._download = "ViT-B/16", lambda url, root=None: os.environ["WEIGHTS"]

sys.exit(main(sys.argv[1:]))
