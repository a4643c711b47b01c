"""The stages of `vl demo` on a world of a few pictures: everything is trained, saved and judged."""

import pytest

from vl.data.world.files import read_truth
from vl.data.world.kinds import SEEN
from vl.demo.stages import JUDGED, METHODS, Demo, Sizes
from vl.encoding import encoder_file as encoder_bundle
from vl.labelling.labeller import Labeller

SIZES = Sizes(
    training=40,
    judged=12,
    side=64,
    words=6000,
    picture_epochs=1,
    caption_epochs=1,
)


@pytest.mark.slow
def test_every_stage_goes_on_from_the_one_before(tmp_path, capsys):
    demo = Demo(tmp_path, sizes=SIZES, seed=3)
    for stage in demo.stages().values():
        stage()
    assert capsys.readouterr().out == ""
    trained = encoder_bundle.load(demo.encoder)
    assert trained.classes == SEEN
    assert trained.encoder.image_size == 64
    for split in JUDGED:
        truth = read_truth(demo.world / f"truth-{split}.jsonl")
        assert demo.said(split).keys() == truth.keys()
        summary, truths = demo.caption_scores(split)
        assert summary["images"] == truths.captions == 12
    for method in METHODS:
        assert Labeller.load(demo.labeller(method)).seen
        scores = demo.label_scores(method)
        names = {result["name"]: result["candidates"] for result in scores["results"]}
        assert names["unseen among unseen"] <= 14
        assert scores["generalised"].keys() == {"plain", "stacking"}
