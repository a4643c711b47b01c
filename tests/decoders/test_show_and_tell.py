"""The decoder: against a plain loop, its laws, and its gradients."""

import pytest
import torch
import torch.nn.functional as F

from vl.decoders.beam_search import beam_search
from vl.decoders.show_and_tell import ShowAndTell

CELLS = ["im2txt", "paper"]


def small(**changes):
    sizes = {"image_width": 5, "vocabulary_size": 11, "embedding_size": 6, "hidden_size": 7}
    return ShowAndTell(**{**sizes, "dropout": 0.0, **changes})


def captions(lengths, vocabulary=11):
    words = torch.randint(3, vocabulary, (len(lengths), max(lengths)))
    return words, torch.tensor(lengths)


def plain_loss(decoder, images, words, lengths):
    """Equations 10 to 13 of the paper, a caption and a word at a time, by `start` and `step`."""
    total, count = 0.0, 0
    for n, length in enumerate(lengths.tolist()):
        state = decoder.start(images[n : n + 1])
        for t in range(length - 1):
            log_probs, state = decoder.step(words[n : n + 1, t], state)
            total = total - log_probs[0, words[n, t + 1]]
            count += 1
    return total, count


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tied", [False, True])
def test_loss_agrees_with_a_plain_loop(cell, tied):
    decoder = small(cell=cell, tie_word_embeddings=tied, hidden_size=6)
    images, (words, lengths) = torch.randn(4, 5), captions([3, 7, 2, 5])
    loss = decoder(images, words, lengths)
    total, count = plain_loss(decoder, images, words, lengths)
    assert int(loss.terms) == count == 2 + 6 + 1 + 4
    assert loss.total.item() == pytest.approx(total.item(), rel=1e-5)


def test_paper_cell_by_hand():
    """Equations 4 to 9 with the numbers written out; gates in the order input, forget, output."""
    decoder = small(cell="paper", image_width=1, embedding_size=1, hidden_size=1, vocabulary_size=3)
    assert decoder.input_gates.bias is None
    with torch.no_grad():
        decoder.image_embedding.weight.fill_(1.0)
        decoder.input_gates.weight[:] = torch.tensor([[0.1], [0.2], [0.3], [0.4]])
    output, memory = decoder.start(torch.tensor([[2.0]]))
    sigmoid, tanh = torch.sigmoid, torch.tanh
    expected = sigmoid(torch.tensor(0.2)) * tanh(torch.tensor(0.8))  # no memory to forget yet
    assert memory.item() == pytest.approx(expected.item())
    assert output.item() == pytest.approx((sigmoid(torch.tensor(0.6)) * expected).item())


def test_im2txt_cell_is_pytorchs():
    decoder = small(embedding_size=6)
    cell = torch.nn.LSTMCell(6, 7)
    into, forget, out, candidate = range(4)
    with torch.no_grad():  # PyTorch's order is input, forget, candidate, output
        for ours, theirs in zip([into, forget, candidate, out], range(4), strict=True):
            rows, pytorch_rows = (slice(7 * gate, 7 * gate + 7) for gate in (ours, theirs))
            cell.weight_ih[pytorch_rows] = decoder.input_gates.weight[rows]
            cell.bias_ih[pytorch_rows] = decoder.input_gates.bias[rows]
            cell.weight_hh[pytorch_rows] = decoder.hidden_gates.weight[rows]
        cell.bias_hh.zero_()
    words, state = torch.tensor([4, 9]), (torch.randn(2, 7), torch.randn(2, 7))
    _, (output, memory) = decoder.step(words, state)
    expected = cell(decoder.word_embedding(words), state)
    assert torch.allclose(output, expected[0], atol=1e-6)
    assert torch.allclose(memory, expected[1], atol=1e-6)


def test_captions_of_the_same_image_share_its_row():
    decoder = small()
    images, (words, lengths) = torch.randn(2, 5), captions([4, 3, 5])
    image_of = torch.tensor([1, 0, 1])
    shared = decoder(images, words, lengths, image_of).total
    assert shared.item() == pytest.approx(decoder(images[image_of], words, lengths).total.item())


@pytest.mark.slow
def test_batch_size_changes_no_caption():
    """Scores are some -24 here, as a real caption's are; 1e-5 is five of float32's steps there."""
    torch.manual_seed(0)
    decoder = ShowAndTell(
        image_width=32, vocabulary_size=2000, embedding_size=64, hidden_size=512
    ).eval()
    with torch.no_grad():  # at initialization all words are nearly equally likely
        for part, factor in (
            (decoder.image_embedding, 3),
            (decoder.word_embedding, 3),
            (decoder.output, 20),
        ):
            part.weight.mul_(factor)
    images = torch.randn(64, 32)

    def captions_in_batches_of(size):
        with torch.inference_mode():
            return [
                captions
                for part in images.split(size)
                for captions in beam_search(
                    decoder.step, decoder.start(part), start=0, end=1, num_beams=3, max_length=5
                )
            ]

    alone = captions_in_batches_of(1)
    assert len({captions[0].words for captions in alone}) > 32  # else the test is vacuous
    for size in (7, 64):
        for expected, captions in zip(alone, captions_in_batches_of(size), strict=True):
            assert [h.words for h in captions] == [h.words for h in expected]
            assert [h.log_prob for h in captions] == pytest.approx(
                [h.log_prob for h in expected], rel=0, abs=1e-5
            )


def test_image_is_seen_once():
    """After the first step the state alone carries the image."""
    decoder = small()
    state = decoder.start(torch.randn(1, 5))
    _, state = decoder.step(torch.tensor([0]), state)
    assert [part.shape for part in state] == [(1, 7), (1, 7)]
    decoder.image_embedding.weight.data.fill_(100.0)
    words = torch.tensor([3])
    first, _ = decoder.step(words, state)
    decoder.image_embedding.weight.data.zero_()
    second, _ = decoder.step(words, state)
    assert torch.equal(first, second)


@pytest.mark.parametrize("cell", CELLS)
def test_gradcheck(cell):
    decoder = small(cell=cell).double()
    images = torch.randn(3, 5, dtype=torch.double, requires_grad=True)
    words, lengths = captions([3, 5, 2])
    assert torch.autograd.gradcheck(lambda x: decoder(x, words, lengths).total, images)


def test_scheduled_sampling_of_true_words_is_teacher_forcing():
    """The sampling path, where it always takes the true word, has the same loss and gradient."""
    decoder = small()
    images, (words, lengths) = torch.randn(4, 5), captions([3, 7, 2, 5])
    decoder(images, words, lengths).total.backward()
    forced = {name: p.grad.clone() for name, p in decoder.named_parameters()}
    decoder.zero_grad()
    decoder(images, words, lengths, sampling_probability=1e-12).total.backward()
    for name, parameter in decoder.named_parameters():
        assert torch.allclose(parameter.grad, forced[name], atol=1e-5), name


def test_scheduled_sampling_feeds_back_predictions():
    """A decoder that can only predict word 4 gets word 4 as input, whatever the true words are."""
    decoder = small()
    with torch.no_grad():
        decoder.output.weight.zero_()
        decoder.output.bias.fill_(-50.0)[4] = 50.0
    images, (words, lengths) = torch.randn(2, 5), captions([6, 4])
    inputs = []
    decoder.word_embedding.register_forward_hook(
        lambda module, arguments, output: inputs.append(arguments[0])
    )
    decoder(images, words, lengths, sampling_probability=1.0)
    assert torch.equal(inputs[0], words[:, 0][lengths.argsort(descending=True)])  # the start word
    assert all((later == 4).all() for later in inputs[1:])


def test_scheduled_sampling_is_seeded():
    decoder = small()
    images, (words, lengths) = torch.randn(4, 5), captions([6, 7, 8, 5])

    def loss(seed):
        generator = torch.Generator().manual_seed(seed)
        return decoder(images, words, lengths, sampling_probability=0.5, generator=generator).total

    assert torch.equal(loss(1), loss(1))
    assert not torch.equal(loss(1), loss(2))


def test_label_smoothing_mixes_in_the_uniform_distribution():
    decoder = small()
    images, (words, lengths) = torch.randn(1, 5), captions([2])
    log_probs, _ = decoder.step(words[:, 0], decoder.start(images))
    expected = -0.9 * log_probs[0, words[0, 1]] - 0.1 * log_probs.mean()
    loss = decoder(images, words, lengths, label_smoothing=0.1).total
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_weights_multiply_the_loss_of_each_caption():
    decoder = small()
    images, (words, lengths) = torch.randn(3, 5), captions([3, 7, 4])
    weights = torch.tensor([2.0, -1.0, 0.5])
    alone = [decoder(images[n : n + 1], words[n : n + 1], lengths[n : n + 1]) for n in range(3)]
    expected = sum(w * caption.total for w, caption in zip(weights, alone, strict=True))
    loss = decoder(images, words, lengths, weights=weights)
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert int(loss.terms) == 11


def test_probabilities_of_a_step_sum_to_1():
    log_probs, _ = small().step(torch.tensor([3, 4]), (torch.randn(2, 7), torch.randn(2, 7)))
    assert torch.allclose(log_probs.exp().sum(1), torch.ones(2))


def test_initialization_is_im2txts():
    decoder = ShowAndTell(image_width=1024, vocabulary_size=100)
    matrices = [p for name, p in decoder.named_parameters() if name.endswith("weight")]
    for matrix in matrices:
        assert 0.07 < float(matrix.detach().abs().max()) <= 0.08
    assert decoder.input_gates.bias.tolist() == [0.0] * 512 + [1.0] * 512 + [0.0] * 1024
    assert decoder.dropout.p == 0.3


def test_tied_word_embeddings_share_a_parameter():
    decoder = small(tie_word_embeddings=True, hidden_size=6)
    assert decoder.output.weight is decoder.word_embedding.weight


@pytest.mark.parametrize("cell", CELLS)
def test_overfits_four_captions(cell):
    decoder = small(cell=cell, embedding_size=32, hidden_size=32)
    images, (words, lengths) = torch.randn(4, 5), captions([5, 6, 4, 5])
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.02)
    for _ in range(120):
        loss = decoder(images, words, lengths)
        optimizer.zero_grad()
        (loss.total / loss.terms).backward()
        optimizer.step()
    assert (loss.total / loss.terms).item() < 0.05


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "gru"}, "cell"),
        ({"tie_word_embeddings": True}, "equal sizes"),
    ],
)
def test_refuses_invalid_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_dropout_is_on_input_and_output():
    decoder = small(dropout=0.999).train()
    images, (words, lengths) = torch.ones(1, 5), captions([2])
    torch.nn.init.constant_(decoder.output.bias, 0.0)
    loss = decoder(images, words, lengths).total
    uniform = F.cross_entropy(torch.zeros(1, 11), words[:, 1])
    assert loss.item() == pytest.approx(uniform.item(), abs=1e-4)
