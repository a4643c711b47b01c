"""Show and Tell: an LSTM that sees an image once and generates a caption (Vinyals et al. 2015).

It knows word ids only: spelling is the vocabulary's, ranking of captions the search's.
"""

from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vl.data.batches import LossSum
from vl.data.choices import LstmCell
from vl.decoders.beam_search import State
from vl.decoders.standardization import StandardizedInput


class ShowAndTell(StandardizedInput):
    """The decoder: ``start`` takes the image, ``step`` one word at a time.

    Args:
        image_width: width of the image embedding.
        vocabulary_size: number of words, including the special ones.
        embedding_size: width of the word embedding; 512 in im2txt.
        hidden_size: width of the LSTM; 512 in im2txt and in the paper.
        cell: ``"im2txt"`` is im2txt's LSTM, with biases, a forget bias of 1 and a tanh before the
            output gate; ``"paper"`` has no biases and no such tanh.
        dropout: on the LSTM's input and output; 0.3 in im2txt.
        tie_word_embeddings: whether the word embedding is the output matrix too; as published the
            two are separate.

    Raises:
        ValueError: an unknown cell, or tied embeddings with unequal sizes.

    Source:
        Vinyals et al. 2015, equations 4 to 12; defaults from im2txt's configuration.
    """

    def __init__(
        self,
        *,
        image_width: int,
        vocabulary_size: int,
        embedding_size: int = 512,
        hidden_size: int = 512,
        cell: LstmCell = "im2txt",
        dropout: float = 0.3,
        tie_word_embeddings: bool = False,
    ) -> None:
        super().__init__(image_width)
        if cell not in get_args(LstmCell):
            raise ValueError(f"cell is {cell!r}; it must be 'im2txt' or 'paper'")
        if tie_word_embeddings and embedding_size != hidden_size:
            raise ValueError(
                f"tied word embeddings need equal sizes; "
                f"embedding_size is {embedding_size}, hidden_size {hidden_size}"
            )
        self.vocabulary_size = vocabulary_size
        self.hidden_size = hidden_size
        self.cell: LstmCell = cell
        self.configuration: dict[str, Any] = {  # the constructor's arguments
            "image_width": image_width,
            "vocabulary_size": vocabulary_size,
            "embedding_size": embedding_size,
            "hidden_size": hidden_size,
            "cell": cell,
            "dropout": dropout,
            "tie_word_embeddings": tie_word_embeddings,
        }
        self.image_embedding = nn.Linear(image_width, embedding_size, bias=False)
        self.word_embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.input_gates = nn.Linear(embedding_size, 4 * hidden_size, bias=cell == "im2txt")
        self.hidden_gates = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        self.output = nn.Linear(hidden_size, vocabulary_size)
        if tie_word_embeddings:
            self.output.weight = self.word_embedding.weight
        self.dropout = nn.Dropout(dropout)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.uniform_(parameter, -0.08, 0.08)  # im2txt's initializer_scale
        if cell == "im2txt":
            forget = self.input_gates.bias.data[hidden_size : 2 * hidden_size]
            forget.fill_(1.0)  # BasicLSTMCell's forget_bias, which im2txt leaves at its default

    def start(self, images: Tensor) -> State:
        """Embeddings ``(B, image_width)`` to the state after the image, parts ``(B, D)``."""
        embedded = self.image_embedding(self.standardized(images))
        gates = self.input_gates(self.dropout(embedded))
        return self._cell(gates, gates.new_zeros(len(images), self.hidden_size))  # m_-1 is zero

    def step(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        """``(N,)`` words and their state to ``(N, V)`` log-probabilities (nats) and next state."""
        output, memory = state
        gates = self._input(words) + self.hidden_gates(output)
        output, memory = self._cell(gates, memory)
        return F.log_softmax(self.output(self.dropout(output)), dim=-1), (output, memory)

    def forward(
        self,
        images: Tensor,
        words: Tensor,
        lengths: Tensor,
        image_of: Tensor | None = None,
        *,
        weights: Tensor | None = None,
        sampling_probability: float = 0.0,
        label_smoothing: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> LossSum:
        """Sum of the words' negative log-likelihoods, by teacher forcing.

        Args:
            images: embeddings, ``(B, image_width)``.
            words: captions from the start word to the end word, ``(N, T)``, int64; positions
                beyond a caption's length are ignored.
            lengths: words of each caption, including start and end, ``(N,)``, int64, at least 2.
            image_of: row of ``images`` for each caption, ``(N,)``; by default n for caption n.
            weights: factor of each caption's loss, ``(N,)``; by default 1.
            sampling_probability: probability that a word sampled from the model's prediction
                replaces the true one as input (scheduled sampling).
            label_smoothing: weight of the uniform distribution in the target.
            generator: for scheduled sampling.

        Returns:
            The sum over all words after the start word, including the end word, and their count.

        Source:
            Vinyals et al. 2015, equation 13; Bengio et al. 2015 for scheduled sampling.
        """
        order = lengths.argsort(descending=True, stable=True)
        words, lengths = words[order], lengths[order]
        rows = order if image_of is None else image_of[order]
        # Longest first: the captions that reach step t are the first live[t] ones, so that nothing
        # is ever computed for padding.
        steps = int(lengths[0]) - 1
        until = torch.arange(steps, device=lengths.device)
        live = (lengths[:, None] - 1 > until).sum(0).tolist()
        output, memory = (part[rows] for part in self.start(images))
        targets = torch.cat([words[:n, t + 1] for t, n in enumerate(live)])  # (sum of live,)
        if sampling_probability > 0:
            logits = self._scheduled_sampling(
                words, live, (output, memory), sampling_probability, generator
            )
        else:
            inputs = torch.cat([words[:n, t] for t, n in enumerate(live)])
            gates = torch.split(self._input(inputs), live)
            outputs = []
            for t, n in enumerate(live):
                output, memory = self._cell(gates[t] + self.hidden_gates(output[:n]), memory[:n])
                outputs.append(output)
            logits = self.output(self.dropout(torch.cat(outputs)))  # (sum of live, V)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # not in bfloat16
        reduction = "sum" if weights is None else "none"
        total = F.cross_entropy(
            logits, targets, reduction=reduction, label_smoothing=label_smoothing
        )
        if weights is not None:
            weights = weights[order]
            total = total @ torch.cat([weights[:n] for n in live])
        return LossSum(total, torch.tensor(len(targets), device=total.device))

    def _scheduled_sampling(
        self,
        words: Tensor,
        live: list[int],
        state: State,
        probability: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Logits ``(sum of live, V)`` where sampled words may replace the true ones as input."""
        output, memory = state
        logits: list[Tensor] = []
        for t, n in enumerate(live):
            inputs = words[:n, t]
            if t > 0:
                with torch.no_grad():
                    predictions = logits[-1][:n].detach().float().softmax(-1)
                    samples = predictions.multinomial(1, generator=generator).squeeze(1)
                    uniform = torch.rand(n, generator=generator, device=predictions.device)
                inputs = torch.where(uniform < probability, samples, inputs)
            gates = self._input(inputs) + self.hidden_gates(output[:n])
            output, memory = self._cell(gates, memory[:n])
            logits.append(self.output(self.dropout(output)))
        return torch.cat(logits)

    def _input(self, words: Tensor) -> Tensor:
        """Words ``(N,)`` to their share of the gates, ``(N, 4 hidden_size)``."""
        return self.input_gates(self.dropout(self.word_embedding(words)))

    def _cell(self, gates: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Gates ``(N, 4 hidden_size)`` and memory ``(N, hidden_size)`` to output and memory."""
        input_gate, forget_gate, output_gate, candidate = gates.chunk(4, dim=-1)
        memory = forget_gate.sigmoid() * memory + input_gate.sigmoid() * candidate.tanh()
        activation = memory if self.cell == "paper" else memory.tanh()
        return output_gate.sigmoid() * activation, memory
