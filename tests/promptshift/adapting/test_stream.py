"""The stream of test images: names, seeds, batches and the file that says how far it has come."""

import json

import pytest
import torch

from dassl.utils.errors import UserError
from promptshift.adapting.answers import answers_of, diagnostics_of, metrics_of, readable_answers
from promptshift.adapting.stream import Progress, batches_from, image_name, tensors_fingerprint, view_seed

HEADER = {"stream": 1, "config": "abc"}
NAMES = ["a.png", "b.png", "c.png"]


def test_names_and_seeds_do_not_depend_on_where_the_data_lies():
    assert image_name("/data/set/cat/1.png", "/data") == "set/cat/1.png" == image_name("/x/set/cat/1.png", "/x/")
    assert image_name("/elsewhere/1.png", "/data") == "1.png"
    assert view_seed(1, "set/cat/1.png") == view_seed(1, "set/cat/1.png") < 2**32
    assert len({view_seed(seed, name) for seed in (0, 1) for name in NAMES}) == 6
    assert view_seed(-1, "a.png") == view_seed(0, "a.png")


def test_batches_are_consecutive_and_keep_to_multiples():
    assert batches_from(3, 10, 4) == [[3, 4, 5, 6], [7, 8, 9]]
    assert batches_from(0, 7, 4, every=3) == [[0, 1, 2], [3, 4, 5], [6]]
    assert batches_from(5, 5, 4) == []


def test_progress_goes_on_behind_the_last_complete_line(tmp_path):
    path = tmp_path / "stream.jsonl"
    Progress(path, HEADER, NAMES).append([{"image": "a.png", "top": [1]}, {"image": "b.png", "top": [0]}])
    with open(path, "ab") as file:
        file.write(b'{"image": "c.p')  # killed while it wrote
    again = Progress(path, HEADER, NAMES)
    assert [answer["image"] for answer in again.answers] == ["a.png", "b.png"]
    again.append([{"image": "c.png", "top": [2]}])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == HEADER and [line.get("image") for line in lines[1:]] == NAMES


def test_a_file_of_something_else_is_moved_aside(tmp_path, capsys):
    path = tmp_path / "stream.jsonl"
    Progress(path, HEADER, NAMES).append([{"image": "a.png"}])
    before = path.read_bytes()
    assert Progress(path, {**HEADER, "config": "other"}, NAMES).answers == []
    assert (tmp_path / "previous-stream.jsonl").read_bytes() == before
    assert "moved" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line, problem",
    [
        (b'{"image": "b.png"}\n', "line 3 is not of the image"),  # b.png stands second, twice
        (b"not json\n", "line 3 is damaged"),
        (b"[]\n", "line 3 is not of the image"),
    ],
)
def test_a_damaged_or_repeated_line_is_named(tmp_path, line, problem):
    path = tmp_path / "stream.jsonl"
    Progress(path, HEADER, NAMES).append([{"image": "a.png"}])
    with open(path, "ab") as file:
        file.write(line)
        file.write(b'{"image": "c.png"}\n')
    if line.startswith(b'{"image": "b'):
        path.write_bytes(path.read_bytes().replace(b'{"image": "b.png"}', b'{"image": "a.png"}'))
    with pytest.raises(UserError, match=problem):
        Progress(path, HEADER, NAMES)


def test_one_line_too_many_is_refused(tmp_path):
    path = tmp_path / "stream.jsonl"
    Progress(path, HEADER, NAMES).append([{"image": name} for name in NAMES])
    with pytest.raises(UserError, match="line 4 is not of the image"):
        Progress(path, HEADER, NAMES[:2])


def test_an_unreadable_image_is_wrong_and_takes_no_part_in_means():
    class Evaluator:
        def reset(self):
            self.seen = []

        def process(self, scores, labels):
            self.seen = (scores.argmax(dim=1) == labels).tolist()

        def evaluate(self):
            return {"accuracy": 100 * sum(self.seen) / len(self.seen)}

    logits = torch.tensor([[3.0, 0, 0, 0, 0, 0, 0], [6.0, 5, 4, 3, 2, 1, 0]])
    readable = readable_answers(
        logits, torch.tensor([1.0, 2.0]), torch.tensor([[0, 2], [1, 3]]), torch.tensor([True, False])
    )
    answers = answers_of(NAMES, ["", "broken", ""], readable, 0.5)
    assert [answer.get("problem") for answer in answers] == [None, "broken", None]
    results = metrics_of(Evaluator(), answers, [0, 2, 4], 7)
    assert results == {"accuracy": 100 / 3, "top5_accuracy": 200 / 3}
    found = diagnostics_of(answers)
    assert found["entropy_before"] == 1.5 and found["unreadable"] == 1 and found["unreadable_first"] == ["broken"]
    assert found["clean_view_kept"] == 0.5 and found["kept_views"] == 2 and found["not_adapted"] == 1
    assert found["seconds_per_image"] == 0.5


def test_fingerprints_follow_values_and_names():
    tensors = {"a": torch.ones(2), "b": torch.zeros(2)}
    assert tensors_fingerprint(tensors) == tensors_fingerprint(dict(reversed(tensors.items())))
    assert tensors_fingerprint(tensors) != tensors_fingerprint({"b": torch.ones(2), "a": torch.zeros(2)})
