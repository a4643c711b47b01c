"""All stages of the demonstration on a world of a few images."""

import pytest

from vl.data.world.files import read_ground_truth
from vl.data.world.kinds import SEEN
from vl.data.world.scenes import EVALUATION_SPLITS
from vl.demo.results import evaluate_demo
from vl.demo.stages import METHODS, Demo, DemoConfig
from vl.encoding import encoder_file
from vl.labelling.labeller import Labeller

CONFIG = DemoConfig(
    training_images=40,
    evaluation_images=12,
    text_words=6000,
    encoder_epochs=1,
    captioner_epochs=1,
)


@pytest.mark.slow
def test_all_stages_and_their_evaluation(tmp_path, capsys):
    demo = Demo(tmp_path, config=CONFIG, seed=3)
    stages = demo.run()
    report = evaluate_demo(demo, stages, tmp_path / "report.html", num_examples=2)
    assert capsys.readouterr().out == ""
    trained = encoder_file.load(demo.encoder)
    assert trained.classes == SEEN
    assert trained.encoder.image_size == 64
    for split in EVALUATION_SPLITS:
        assert (
            demo.captions(split).keys()
            == read_ground_truth(demo.world / f"truth-{split}.jsonl").keys()
        )
    for method in METHODS:
        assert Labeller.load(demo.labeller(method)).seen
    captions, attributes, labels = report.tables
    assert [row[0] for row in captions.rows] == list(EVALUATION_SPLITS)
    assert {len(row) for row in attributes.rows} == {1 + 2 * len(EVALUATION_SPLITS)}
    assert len(labels.rows) == len(METHODS)
    assert all(0 <= float(cell) <= 100 for row in labels.rows for cell in row[1:])
    assert (tmp_path / "report.html").read_text().count("data:image/jpeg") == 6
