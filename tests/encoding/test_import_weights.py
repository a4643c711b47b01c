"""Published weights to model files, and what is refused."""

import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision import models

from tests.helpers.caffemodels import blob, googlenet, net
from tests.helpers.nonzero_weights import randomize
from tests.helpers.timm_models import TINY, save, timm_model
from tests.helpers.tiny_captioner import alter, captioner, decoder
from vl.captioning.captioner import Captioner
from vl.data.errors import FormatError
from vl.data.images.decode import decode, square
from vl.data.words.label_tables import LabelColumns
from vl.encoders.timm_features import timm_names
from vl.encoders.weights import fingerprint
from vl.encoding import encoder_file
from vl.encoding.embedder import Embedder
from vl.encoding.encoder_file import import_weights
from vl.encoding.evaluation import Classifier, ClassifierSettings
from vl.encoding.pretrained import load_encoder


@pytest.mark.slow
@pytest.mark.parametrize("older", [False, True])
def test_googlenet_of_caffe(tmp_path, shared_data, older):
    """BVLC's blobs as a .caffemodel of both formats: inferred, with ImageNet's classes."""
    blobs = shared_data / "weights" / "bvlc_googlenet.safetensors"
    tensors = load_file(blobs)
    heads = {f"loss1/{name}": torch.ones(3) for name in ("conv.weight", "conv.bias")}
    path, output = tmp_path / "net.caffemodel", tmp_path / "model.safetensors"
    path.write_bytes(googlenet(tensors | heads, older=older))
    assert import_weights(path, output).name == "inception_v1"
    loaded = encoder_file.load(output)
    assert loaded.classes[:2] == ("tench", "goldfish")
    expected = fingerprint(load_encoder("inception_v1", blobs))
    assert fingerprint(loaded.encoder) == expected
    assert fingerprint(load_encoder("inception_v1", path)) == expected


def test_torchvisions_by_the_files_name(tmp_path):
    theirs = randomize(models.shufflenet_v2_x0_5())
    path = tmp_path / "shufflenet_v2_x0_5-f707e7126e.pth"
    torch.save(theirs.state_dict(), path)
    import_weights(path, tmp_path / "model.safetensors")
    loaded = encoder_file.load(tmp_path / "model.safetensors")
    assert (loaded.name, len(loaded.classes)) == ("shufflenet_v2_x0_5", 1000)
    assert torch.equal(loaded.encoder.classifier.weight, theirs.fc.weight)
    with pytest.raises(FormatError, match=r"\.pth: tensor conv1\.0\.weight: unknown"):
        load_encoder("resnet18", path)


def test_older_names_of_densenets(tmp_path):
    theirs = randomize(models.densenet121())
    state = {
        key.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): value
        for key, value in theirs.state_dict().items()
    }
    path = tmp_path / "densenet121.pth"
    torch.save(state, path)
    body = load_encoder("densenet121", path).body
    assert torch.equal(body.features.norm5.weight, theirs.features.norm5.weight)


def test_timms_with_other_classes(tmp_path):
    model = timm_model()
    model.fc = torch.nn.Linear(96, 3)
    path = save(model, tmp_path / "weights.safetensors")
    output, classes = tmp_path / "model.safetensors", tmp_path / "classes.txt"
    name = f"timm:{TINY}"
    with pytest.raises(ValueError, match="give --encoder"):
        import_weights(path, output)
    with pytest.raises(ValueError, match="3 classes: name them by --classes"):
        import_weights(path, output, encoder=name)
    assert not output.exists()
    classes.write_text("red\ngreen\nblue\n")
    import_weights(path, output, encoder=name, classes=classes)
    loaded = encoder_file.load(output)
    assert (loaded.name, loaded.classes) == (name, ("red", "green", "blue"))
    assert torch.equal(loaded.encoder.classifier.weight, model.fc.weight)
    table = tmp_path / "classes.csv"
    table.write_text("index,color\n0,rot\n1,grün\n2,blau\n", encoding="utf-8")
    columns = LabelColumns(label_column="color")
    import_weights(path, output, encoder=name, classes=table, columns=columns)
    assert encoder_file.load(output).classes == ("rot", "grün", "blau")
    embedder = Embedder.load(output)
    assert (embedder.resize, embedder.encoder_name) == ("encoder", name)
    with pytest.raises(ValueError, match="model file of vl already"):
        import_weights(output, tmp_path / "again.safetensors")


def test_refuses_what_fits_no_encoder(tmp_path):
    output = tmp_path / "model.safetensors"
    path = tmp_path / "lenet.caffemodel"
    path.write_bytes(net({"conv1": [blob(torch.ones(2, 1, 3, 3).numpy())]}))
    with pytest.raises(ValueError, match=r"lenet\.caffemodel: .*--encoder"):
        import_weights(path, output)
    with pytest.raises(FormatError, match=r"lenet\.caffemodel: blob conv1\.weight: unknown"):
        import_weights(path, output, encoder="inception_v1")
    with pytest.raises(FormatError, match=r"no other weights are read for lenet5"):
        import_weights(path, output, encoder="lenet5")
    torch.save(models.squeezenet1_1().state_dict(), tmp_path / "squeezenet1_1.pth")
    with pytest.raises(ValueError, match="needs one linear classifier"):
        import_weights(tmp_path / "squeezenet1_1.pth", output)
    assert not output.exists()


def test_a_captioner_stores_timms_encoder_and_its_preprocessing(tmp_path):
    name = f"timm:{TINY}"
    built = load_encoder(name, save(timm_model(), tmp_path / "weights.safetensors"))
    path = tmp_path / "captioner.safetensors"
    made = captioner(encoder=built, encoder_name=name, decoders=[decoder(width=96)])
    made.save(path)

    def crop_less(content, tensors):
        content["embedder"]["encoder"]["configuration"]["preprocessing"]["crop_pct"] = 0.5

    alter(path, crop_less)
    loaded = Captioner.load(path).embedder
    assert loaded.resize == "encoder"
    assert loaded.encoder.preprocessing.crop_pct == 0.5  # the file's, whatever timm says
    image = torch.rand(3, 200, 300)
    assert not torch.equal(loaded.preprocess(image), made.embedder.preprocess(image))
    alter(path, lambda c, t: c["embedder"]["encoder"].update(name="timm:gone"))
    with pytest.raises(FormatError, match="unknown encoder 'timm:gone'"):
        Captioner.load(path)


def test_classifiers_of_timm_see_images_in_timms_way(tmp_path):
    """A single crop is timm's; --resize and several crops are those of all encoders."""
    path = save(timm_model(), tmp_path / "weights.safetensors")
    encoder = load_encoder(f"timm:{TINY}", path, classifier=True).eval()
    image = tmp_path / "image.png"
    Image.effect_noise((90, 70), 60).save(image)
    pixels = decode(image)

    def probabilities(squares):
        with torch.no_grad():
            return encoder.classify(squares).main.softmax(1)

    ways = {None: encoder.preprocess(pixels), "squash": square(pixels, 160, "squash")}
    for resize, expected in ways.items():
        settings = ClassifierSettings(crops=(1, 10), resize=resize)
        (batch,) = Classifier([encoder], settings).stream([image])
        torch.testing.assert_close(batch.probabilities[1], probabilities(expected[None]))
    assert not torch.allclose(*map(probabilities, (way[None] for way in ways.values())), rtol=0.1)


def test_without_timm_the_error_names_the_extra(tmp_path, monkeypatch):
    output = tmp_path / "model.safetensors"
    path = save(timm_model(), tmp_path / "weights.safetensors")
    import_weights(path, output, encoder=f"timm:{TINY}")
    monkeypatch.setitem(sys.modules, "timm", None)  # as if it were not installed
    timm_names.cache_clear()
    with pytest.raises(
        FormatError, match=r"model\.safetensors: .*timm, which is not installed: pip"
    ):
        encoder_file.load(output)
    with pytest.raises(ValueError, match="not installed: pip install"):
        load_encoder(f"timm:{TINY}", path)
