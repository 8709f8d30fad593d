"""Facts about the multi-domain datasets: domains, codes, sizes, folders, archives.

Sizes, folder layouts and archive ids are those of the SPG (arXiv 2404.19286), DPSPG (arXiv 2505.18770) and
Dassl.pytorch repositories. Everything here is data; the machinery that reads it is in `domain_sets.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dassl.utils.errors import UserError, suggest

RULE_70_30 = "70/30"  # first round(0.7 n) of the shuffled class are train, the rest val
RULE_3_PERCENT = "2%+1%"  # ceil(0.02 n) train, the next ceil(0.01 n) val, the rest unused
RULE_TRAIN = "train"  # the whole folder is train
RULE_VAL = "val"  # the whole folder is val

_PREFIXES = ("SPG_", "DPSPG_", "SINGLE_")
_DOMAINNET_URL = "http://csr.bu.edu/ftp/visda/2019/multi-source/"


@dataclass(frozen=True)
class Archive:
    """A file that can be downloaded: its local name, and a Google Drive id or a URL."""

    file: str
    source: str
    gdrive: bool = True
    domain: str = ""  # the only domain inside, "" when all of them are

    @property
    def link(self) -> str:
        """Address a person can open."""
        return f"https://drive.google.com/uc?id={self.source}" if self.gdrive else self.source


@dataclass(frozen=True)
class DomainSet:
    """What is known about one multi-domain dataset.

    `totals` maps every domain to its number of images (None: unknown); `pieces` lists the sub-folders of a domain
    folder with the rule that splits each; "" is the domain folder itself.
    """

    name: str
    folders: tuple[str, ...]  # below DATASET.ROOT, the canonical one first
    totals: Mapping[str, int | None]
    code_letters: Sequence[str]  # one code per domain, in the order of `domains`; full names where there are no codes
    n_classes: int
    aliases: tuple[str, ...] = ()
    pieces: tuple[tuple[str, str], ...] = (("", RULE_70_30),)
    variants: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)  # DATASET.VARIANT -> pieces
    folder_names: Mapping[str, str] = field(default_factory=dict)  # other spellings of domain folders -> domain
    numbered_classes: tuple[str, ...] = ()  # names of class folders that are called 0, 1, 2, ...
    corrupt: tuple[str, ...] = ()  # domain/class/file, skipped
    not_classes: tuple[str, ...] = ()  # sub-folders of a domain that are something else
    lists: str = ""  # folder with {domain}_{train,test}.txt that name the images
    archives: tuple[Archive, ...] = ()
    split_archive: Archive | None = None
    rendered: bool = False  # drawn by promptshift.mini instead of downloaded

    @property
    def domains(self) -> tuple[str, ...]:
        """All domain names, sorted; the position is the domain's index."""
        return tuple(sorted(self.totals))

    @property
    def codes(self) -> dict[str, str]:
        """Code (one character for published datasets) -> domain name."""
        return dict(zip(self.code_letters, self.domains, strict=True))

    def code_of(self, domain: str) -> str:
        """The code of a domain name."""
        return self.code_letters[self.domains.index(domain)]

    def domain_of_folder(self, folder: str) -> str | None:
        """The domain a folder name stands for (spelling, case and spaces are free), or None."""
        known = {normalise(name): name for name in self.domains} | dict(self.folder_names)
        return known.get(normalise(folder))

    def allowed_domains(self) -> str:
        """The domains with their codes, for messages."""
        return ", ".join(domain if code == domain else f"{domain} ({code})" for code, domain in self.codes.items())


def normalise(name: str) -> str:
    """Lower case without separators: `Real World`, `real_world` and `RealWorld` become one."""
    return "".join(character for character in name.lower() if character.isalnum())


def resolve_domains(facts: DomainSet, values: Iterable[object], key: str) -> list[str]:
    """Full domain names for names or codes, each once, in the given order.

    Raises:
        UserError: A value is neither a domain nor a code of the dataset.
    """
    found = []
    for value in map(str, values):
        domain = facts.codes.get(value) or facts.domain_of_folder(value)
        if domain is None:
            raise UserError(
                f"{key}: {value!r} is not a domain of {facts.name}; allowed: "
                f"{facts.allowed_domains()}{suggest(value, facts.domains)}"
            )
        found.append(domain)
    return list(dict.fromkeys(found))


def find_domain_set(name: str) -> DomainSet:
    """Facts for a registered name, an alias, or a config or folder name in any case.

    Raises:
        UserError: No dataset answers to the name.
    """
    for facts in DOMAIN_SETS.values():
        names = (facts.name, *facts.aliases)
        if name in names or normalise(name) in map(normalise, names):
            return facts
    raise UserError(f"unknown dataset {name!r}; allowed: {', '.join(DOMAIN_SETS)}{suggest(name, DOMAIN_SETS)}")


def _aliases(name: str, *more: str) -> tuple[str, ...]:
    """Names that the SPG and DPSPG repositories register for one dataset."""
    stems = [name, *(prefix + name for prefix in _PREFIXES)]
    return (*stems[1:], *(f"{stem}_CoOp" for stem in stems), *more)


_DOMAINNET_TOTALS = {
    "clipart": 48129,
    "infograph": 51605,
    "painting": 72266,
    "quickdraw": 172500,
    "real": 172947,
    "sketch": 69128,
}


def _domainnet_archives(*domains: str) -> tuple[Archive, ...]:
    """One zip per domain; clipart and painting in their cleaned edition."""
    folder = {"clipart": "groundtruth/", "painting": "groundtruth/"}
    return tuple(
        Archive(f"{domain}.zip", f"{_DOMAINNET_URL}{folder.get(domain, '')}{domain}.zip", False, domain)
        for domain in domains
    )


_TABLE = (
    DomainSet(
        "PACS",
        ("PACS", "pacs"),
        {"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929},
        "acps",
        7,
        _aliases("PACS"),
        corrupt=("sketch/dog/n02103406_4068-1.png",),
        archives=(Archive("PACS.zip", "1m4X4fROCCXMO0lRLrr6Zz9Vb3974NWhE"),),
        split_archive=Archive("PACS_splits.zip", "16kvPEcgrXLPgLTGUGMjJBiTHlIG-Ms5D"),
    ),
    DomainSet(
        "VLCS",
        ("VLCS", "vlcs"),
        {"caltech": 1415, "labelme": 2656, "pascal": 3376, "sun": 3282},
        "clps",
        5,
        _aliases("VLCS"),
        pieces=(("full", RULE_TRAIN), ("test", RULE_VAL)),
        folder_names={"caltech101": "caltech", "voc2007": "pascal", "sun09": "sun"},
        numbered_classes=("bird", "car", "chair", "dog", "person"),
        archives=(Archive("VLCS.zip", "1r0WL5DDqKfSPp9E3tRENwHaXNs1olLZd"),),
        split_archive=Archive("VLCS_splits.zip", "1oekgvQlLudLH-_UcBNH3bUwfQJYhNK8W"),
    ),
    DomainSet(
        "OfficeHome",
        ("office_home_dg", "OfficeHome", "office_home"),
        {"art": 2427, "clipart": 4365, "product": 4439, "real_world": 4357},
        "acpr",
        65,
        _aliases("OfficeHome", "OfficeHomeDG"),
        pieces=(("train", RULE_70_30), ("val", RULE_70_30)),
        archives=(Archive("office_home_dg.zip", "1gkbf_KaxoBws-GWT3XIPZ7BnkqbAxIFa"),),
        split_archive=Archive("office_home_dg_splits.zip", "1a7ZZDDr7HQV8Y4zIHNuim416pqaV12aw"),
    ),
    DomainSet(
        "TerraIncognita",
        ("terra", "TerraIncognita", "terra_incognita"),
        {"location_100": 4741, "location_38": 9736, "location_43": 3970, "location_46": 5883},
        "1234",
        10,
        _aliases("TerraIncognita"),
        archives=(Archive("terra.zip", "1mgKVQEnkHaezXdXGf1v09y2PHoY98J7Y"),),
        split_archive=Archive("terra_splits.zip", "1sNHNFDSXBJa0IkbFgmbLiPcp-78H6B-j"),
    ),
    DomainSet(
        "DomainNet",
        ("domainnet", "DomainNet", "domain_net"),
        _DOMAINNET_TOTALS,
        "cipqrs",
        345,
        _aliases("DomainNet", "CROSS_DomainNet", "CROSS_DomainNet_TEST"),
        pieces=(("", RULE_3_PERCENT),),
        variants={"full": (("", RULE_70_30),)},
        archives=_domainnet_archives(*_DOMAINNET_TOTALS),
        split_archive=Archive("domainnet_splits.zip", "11w_RI5Rr2mw-UHB469XYNU5SSaCpbECD"),
    ),
    DomainSet(
        "MiniDomainNet",
        ("domainnet", "DomainNet", "domain_net"),
        {"clipart": None, "painting": None, "real": None, "sketch": None},
        "cprs",
        126,
        ("miniDomainNet",),
        lists="splits_mini",
        archives=_domainnet_archives("clipart", "painting", "real", "sketch"),
        split_archive=Archive("splits_mini.zip", "15rrLDCrzyi6ZY-1vJar3u7plgLe4COL7"),
    ),
    DomainSet(
        "MiniDG",
        ("mini_dg",),
        {"art_painting": 1200, "cartoon": 1200, "photo": 1200, "sketch": 1200},
        "acps",
        20,
        ("mini",),
        rendered=True,
    ),
    DomainSet(
        "MiniDG2",
        ("mini_dg2",),
        {"clipart": 360, "silhouette": 360, "watercolor": 360},
        "csw",
        6,
        ("mini2",),
        rendered=True,
    ),
    DomainSet(
        "MiniDG3",
        ("mini_dg3",),
        {"cartoon_thin": 360, "chalk": 360, "photo_wide": 360},
        "tcp",
        6,
        ("mini3",),
        rendered=True,
    ),
)
DOMAIN_SETS: dict[str, DomainSet] = {facts.name: facts for facts in _TABLE}
