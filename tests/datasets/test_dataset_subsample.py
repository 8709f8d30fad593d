"""Base and new halves of the classes, for any list of images."""

import pytest

from dassl.data.datasets import Datum
from dassl.utils.errors import UserError
from datasets._subsample import subsample_classes


def images(*labels):
    return [Datum(f"{label}.jpg", label, 0, f"class{label}") for label in labels]


@pytest.mark.parametrize(
    "subsample, first, second",
    [
        ("all", [(0, "class0"), (4, "class4"), (2, "class2")], [(1, "class1"), (3, "class3")]),
        ("base", [(0, "class0"), (2, "class2")], [(1, "class1")]),
        ("new", [(1, "class4")], [(0, "class3")]),
    ],
)
def test_odd_class_goes_to_base_and_labels_start_at_zero(subsample, first, second):
    sets = subsample_classes(images(0, 4, 2), images(1, 3), subsample=subsample)
    assert [[(item.label, item.classname) for item in data] for data in sets] == [first, second]


def test_new_half_of_one_class_is_an_error():
    with pytest.raises(UserError, match="'new' leaves no class of 1"):
        subsample_classes(images(0), subsample="new")
