import json
import os

import pytest

from appliance.errors import Failed
from appliance.updates.kept_receipts import MOST_KEPT, Delivery, KeptReceipts


def kept(box) -> list[str]:
    return sorted(path.name for path in box.layout.receipts.iterdir()) if box.layout.receipts.exists() else []


def test_a_receipt_that_the_stick_does_not_take_is_kept_and_delivered_to_one_that_does(publisher, box, tmp_path):
    stick = publisher.stick(1)
    (stick / "RECEIPTS").write_text("in the way")
    outcome = box.apply(stick)

    assert outcome.result == "INSTALLED"
    assert not outcome.receipt
    assert kept(box) == ["00000001-t1.json"]
    other = tmp_path / "other"
    other.mkdir()
    (delivered,) = KeptReceipts(box.layout.receipts).deliver(other).paths
    assert json.loads((other / delivered).read_text())["receipt"]["result"] == "INSTALLED"
    assert kept(box) == []
    assert KeptReceipts(box.layout.receipts).deliver(other) == Delivery((), ())


def test_a_receipt_that_no_stick_takes_stays(publisher, box, tmp_path):
    stick = publisher.stick(1)
    (stick / "RECEIPTS").write_text("in the way")
    box.apply(stick)

    done = KeptReceipts(box.layout.receipts).deliver(stick)

    assert (done.paths, done.waiting) == ((), ("00000001-t1.json",))
    assert "Not a directory" in done.problem
    assert kept(box) == ["00000001-t1.json"]


def test_what_lies_in_place_of_a_receipt_is_neither_waited_for_nor_followed(publisher, box, tmp_path):
    stick, elsewhere = publisher.stick(1), tmp_path / "elsewhere"
    (stick / "RECEIPTS").write_text("in the way")
    box.apply(stick)
    os.mkfifo(box.layout.receipts / "00000000-fifo.json")
    (box.layout.receipts / "00000000-link.json").symlink_to("/dev/zero")
    (tmp_path / "stick").mkdir()
    done = KeptReceipts(box.layout.receipts).deliver(tmp_path / "stick")

    assert len(done.paths) == 1
    assert kept(box) == ["00000000-fifo.json.damaged", "00000000-link.json.damaged"]

    elsewhere.mkdir()
    (elsewhere / "precious-1.json").write_text("x")
    box.layout.receipts.rename(tmp_path / "receipts")
    box.layout.receipts.symlink_to(elsewhere)
    with pytest.raises(Failed, match="delivering receipts"):
        KeptReceipts(box.layout.receipts).deliver(tmp_path / "stick")
    assert [path.name for path in elsewhere.iterdir()] == ["precious-1.json"]


def test_kept_receipts_are_bounded_and_a_damaged_one_is_put_aside(publisher, box, tmp_path):
    stick = publisher.stick(1)
    (stick / "RECEIPTS").write_text("in the way")
    for _ in range(MOST_KEPT + 3):
        box.apply(stick)
    names = kept(box)

    assert len(names) == MOST_KEPT
    (box.layout.receipts / names[0]).write_bytes(b"torn")
    assert len(KeptReceipts(box.layout.receipts).deliver(tmp_path).paths) == MOST_KEPT - 1
    assert [name.rpartition(".")[2] for name in kept(box)] == ["damaged"]
