"""Facts about the datasets without domains: CoOp's eleven, the ImageNet variants, and the rendered ones.

Folders, split files, Drive ids and class counts are those of the CoOp repository (arXiv 2109.01134); image counts are
those of its appendix A, with the halves of the test set as PromptKD (arXiv 2403.02781, Table 8) counts them. Addresses
of images are those that torchvision uses. Everything here is data; `image_sets.py` reads it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dassl.utils.errors import UserError, suggest

from ._facts import DOMAIN_SETS, Archive, DomainSet, find_domain_set, normalise

MIRROR = "https://huggingface.co/zhengli97/prompt_learning_dataset"  # a model repository; all of them but ImageNet
VAL_IS_TEST = "val_is_test"  # DATASET.VARIANT: the test images validate too, as released PromptKD and DPC have it

SPLIT, LISTS, SYNSETS, VARIANT, RENDERED = "split", "lists", "synsets", "variant", "rendered"  # layouts


@dataclass(frozen=True)
class ImageSet:
    """What is known about one dataset without domains.

    `totals` maps the parts `train`, `val` and `base test` with `new test`, or `test`, to their numbers of images; a
    set without a train part is for evaluation only. `layout` names the reader of `_image_readers.py`.
    """

    name: str
    folder: str  # below DATASET.ROOT
    images: str  # image folder below `folder`
    layout: str
    n_classes: int
    totals: Mapping[str, int]
    aliases: tuple[str, ...] = ()
    archives: tuple[Archive, ...] = ()  # with the images
    files: tuple[Archive, ...] = ()  # single files needed beside the images
    mirrored: bool = True  # whether MIRROR has it
    rendered: bool = False  # drawn by promptshift.mini instead of downloaded
    domains: tuple[str, ...] = ()  # none; what a DomainSet has

    @property
    def test_only(self) -> bool:
        """Whether there is nothing to train on."""
        return "train" not in self.totals


def find_image_set(name: str) -> ImageSet | None:
    """Facts for a registered name, an alias, or a config or folder name in any case; None when none answers to it."""
    for facts in IMAGE_SETS.values():
        if normalise(name) in map(normalise, (facts.name, *facts.aliases)):
            return facts
    return None


def find_facts(name: str) -> ImageSet | DomainSet:
    """Facts of any known dataset, with domains or without.

    Raises:
        UserError: No dataset answers to the name.
    """
    known = [*DOMAIN_SETS, *IMAGE_SETS]
    found = find_image_set(name)
    if found is not None:
        return found
    try:
        return find_domain_set(name)
    except UserError:
        raise UserError(f"unknown dataset {name!r}; allowed: {', '.join(known)}{suggest(name, known)}") from None


_VGG = "https://www.robots.ox.ac.uk/~vgg/data"
_CLASSNAMES = Archive("classnames.txt", "1-61f_ol79pViBFDG_IDlUQSwoLcn2XXF")


def _url(file: str, address: str) -> Archive:
    return Archive(file, address, gdrive=False)


def _counts(train: int, val: int, base: int, new: int) -> dict[str, int]:
    return {"train": train, "val": val, "base test": base, "new test": new}


def _split_set(
    name: str,
    folder: str,
    images: str,
    n_classes: int,
    totals: dict[str, int],
    drive: str,
    *archives: Archive,
    aliases: tuple[str, ...] = (),
) -> ImageSet:
    """A dataset that comes with a file `split_zhou_<name>.json`."""
    split = Archive(f"split_zhou_{name}.json", drive)
    return ImageSet(name, folder, images, SPLIT, n_classes, totals, aliases, archives, (split,))


def _variant(
    name: str, folder: str, images: str, n_classes: int, total: int, alias: str, *archives: Archive
) -> ImageSet:
    """A dataset that tests models of ImageNet."""
    return ImageSet(name, folder, images, VARIANT, n_classes, {"test": total}, (alias,), archives, (_CLASSNAMES,))


def _mini_style(style: str, name: str) -> ImageSet:
    """MiniB2N's classes in another style, for evaluation only."""
    return ImageSet(
        f"MiniB2N{name}",
        "mini_b2n_styles",
        f"images/{style}",
        RENDERED,
        20,
        {"base test": 600, "new test": 600},
        (f"mini_b2n_{style}",),
        rendered=True,
        mirrored=False,
    )


_TABLE = (
    ImageSet(
        "ImageNet",
        "imagenet",
        "images",
        SYNSETS,
        1000,
        {"train": 1281167, "base test": 25000, "new test": 25000},
        files=(_CLASSNAMES,),
        mirrored=False,
    ),
    _split_set(
        "Caltech101",
        "caltech-101",
        "101_ObjectCategories",
        100,
        _counts(4128, 1649, 1549, 916),
        "1hyarUivQE36mY6jSomru6Fjd-JzwcCzN",
    ),
    _split_set(
        "OxfordPets",
        "oxford_pets",
        "images",
        37,
        _counts(2944, 736, 1881, 1788),
        "1501r8Ber4nNKvmlFVQZ8SeUHTcdTTEqs",
        _url("images.tar.gz", f"{_VGG}/pets/data/images.tar.gz"),
    ),
    _split_set(
        "StanfordCars", "stanford_cars", "", 196, _counts(6509, 1635, 4002, 4039), "1ObCFbaAgVu0I-k_Au-gIUcefirdAuizT"
    ),
    _split_set(
        "OxfordFlowers",
        "oxford_flowers",
        "jpg",
        102,
        _counts(4093, 1633, 1053, 1410),
        "1Pp0sRXzZFZq15zVOzKjKBu4A9i01nozT",
        _url("102flowers.tgz", f"{_VGG}/flowers/102/102flowers.tgz"),
        aliases=("Flowers102",),
    ),
    _split_set(
        "Food101",
        "food-101",
        "images",
        101,
        _counts(50500, 20200, 15300, 15000),
        "1QK0tGi096I0Ba6kggatX1ee6dJFIcEJl",
        _url("food-101.tar.gz", "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz"),
    ),
    ImageSet(
        "FGVCAircraft",
        "fgvc_aircraft",
        "images",
        LISTS,
        100,
        _counts(3334, 3333, 1666, 1667),
        archives=(_url("fgvc-aircraft-2013b.tar.gz", f"{_VGG}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz"),),
    ),
    _split_set(
        "SUN397",
        "sun397",
        "SUN397",
        397,
        _counts(15880, 3970, 9950, 9900),
        "1y2RD81BYuiyvebdN-JymPfyWYcd8_MUq",
        _url("SUN397.tar.gz", "http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz"),
    ),
    _split_set(
        "DescribableTextures",
        "dtd",
        "images",
        47,
        _counts(2820, 1128, 864, 828),
        "1u3_QfB467jqHgNXC00UIzbLZRQCg2S7x",
        _url("dtd-r1.0.1.tar.gz", f"{_VGG}/dtd/download/dtd-r1.0.1.tar.gz"),
        aliases=("DTD",),
    ),
    _split_set("EuroSAT", "eurosat", "2750", 10, _counts(13500, 5400, 4200, 3900), "1Ip7yaCWFi0eaOFUGga0lUdVi_DDQth1o"),
    _split_set(
        "UCF101",
        "ucf101",
        "UCF-101-midframes",
        101,
        _counts(7639, 1898, 1934, 1849),
        "1I0S0q91hJfsV9Gf4xDIjgDq4AqBNJb1y",
        Archive("UCF-101-midframes.zip", "10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O"),
    ),
    _variant("ImageNetV2", "imagenetv2", "imagenetv2-matched-frequency-format-val", 1000, 10000, "imagenet_v2"),
    _variant("ImageNetSketch", "imagenet-sketch", "images", 1000, 50889, "imagenet_sketch"),
    _variant(
        "ImageNetA",
        "imagenet-adversarial",
        "imagenet-a",
        200,
        7500,
        "imagenet_a",
        _url("imagenet-a.tar", "https://people.eecs.berkeley.edu/~hendrycks/imagenet-a.tar"),
    ),
    _variant(
        "ImageNetR",
        "imagenet-rendition",
        "imagenet-r",
        200,
        30000,
        "imagenet_r",
        _url("imagenet-r.tar", "https://people.eecs.berkeley.edu/~hendrycks/imagenet-r.tar"),
    ),
    ImageSet(
        "MiniB2N",
        "mini_b2n",
        "images/photo",
        RENDERED,
        20,
        _counts(640, 160, 600, 600),
        ("mini_b2n",),
        rendered=True,
        mirrored=False,
    ),
    _mini_style("art_painting", "ArtPainting"),
    _mini_style("cartoon", "Cartoon"),
    _mini_style("sketch", "Sketch"),
)
IMAGE_SETS: dict[str, ImageSet] = {facts.name: facts for facts in _TABLE}
