"""Show and Tell: an LSTM that says a caption of an image it is shown once (Vinyals et al. 2015).

It knows word ids only: what they spell is the vocabulary's, which caption is best the search's.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vl.data.batches import LossSum
from vl.decoders.beam_search import State

Cell = Literal["ordinary", "paper"]
Output = Literal["free", "tied"]


class ShowAndTell(nn.Module):
    """The decoder: ``start`` shows it the image, ``step`` feeds it a word at a time.

    Args:
        image_width: width of the image's embedding.
        vocabulary_size: number of words, the special ones among them.
        width: width of the word embedding; 512 in im2txt.
        hidden: width of the LSTM; 512 in im2txt and in the paper.
        cell: ``"ordinary"`` is im2txt's LSTM, with biases, a forget bias of 1 and a tanh on the
            way out; ``"paper"`` has no biases and lets the cell out without the tanh.
        dropout: on the LSTM's input and on its output; 0.3 in im2txt.
        output: ``"free"`` has a matrix of its own before the softmax, as published; ``"tied"``
            uses the word embedding again.

    Raises:
        ValueError: a width below 1, an unknown choice, or tied output with unequal widths.

    Source:
        Vinyals et al. 2015, equations 4 to 12; numbers from im2txt's configuration.
    """

    def __init__(
        self,
        *,
        image_width: int,
        vocabulary_size: int,
        width: int = 512,
        hidden: int = 512,
        cell: Cell = "ordinary",
        dropout: float = 0.3,
        output: Output = "free",
    ) -> None:
        super().__init__()
        if min(image_width, vocabulary_size, width, hidden) < 1:
            raise ValueError("every width must be at least 1")
        if cell not in ("ordinary", "paper"):
            raise ValueError(f"cell is {cell!r}; it must be 'ordinary' or 'paper'")
        if output not in ("free", "tied"):
            raise ValueError(f"output is {output!r}; it must be 'free' or 'tied'")
        if output == "tied" and width != hidden:
            raise ValueError(f"tied output wants equal widths; words {width}, LSTM {hidden}")
        self.image_width = image_width
        self.vocabulary_size = vocabulary_size
        self.hidden = hidden
        self.cell: Cell = cell
        self.configuration = {  # what the constructor needs to build the same again
            "image_width": image_width,
            "vocabulary_size": vocabulary_size,
            "width": width,
            "hidden": hidden,
            "cell": cell,
            "dropout": dropout,
            "output": output,
        }
        self.image_mean: Tensor
        self.image_scale: Tensor
        self.register_buffer("image_mean", torch.zeros(image_width))
        self.register_buffer("image_scale", torch.ones(()))
        self.show = nn.Linear(image_width, width, bias=False)
        self.words = nn.Embedding(vocabulary_size, width)
        self.input_gates = nn.Linear(width, 4 * hidden, bias=cell == "ordinary")
        self.hidden_gates = nn.Linear(hidden, 4 * hidden, bias=False)
        self.output = nn.Linear(hidden, vocabulary_size)
        if output == "tied":
            self.output.weight = self.words.weight
        self.dropout = nn.Dropout(dropout)
        self._initialise()

    def _initialise(self) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.uniform_(parameter, -0.08, 0.08)  # im2txt's initializer_scale
        if self.cell == "ordinary":
            forget = self.input_gates.bias.data[self.hidden : 2 * self.hidden]
            forget.fill_(1.0)  # BasicLSTMCell's forget_bias, which im2txt leaves at its default

    def standardise(self, images: Tensor) -> None:
        """Let embeddings be shown less the mean of these and in units of their deviation.

        As published they are shown as they are: mean 0, unit 1. Where embeddings of all images
        have much in common, as those of an untrained encoder, the difference decides.

        Args:
            images: of the training split, ``(B, image_width)``.
        """
        mean = images.mean(0)
        self.image_mean.copy_(mean)
        self.image_scale.copy_((images - mean).square().mean().sqrt().clamp(min=1e-6))

    def start(self, images: Tensor) -> State:
        """Embeddings ``(B, image_width)`` to the state after the image, parts ``(B, hidden)``."""
        if images.shape[-1] != self.image_width:
            raise ValueError(
                f"images have width {images.shape[-1]}, the decoder expects {self.image_width}"
            )
        shown = self.show((images - self.image_mean) / self.image_scale)
        gates = self.input_gates(self.dropout(shown))
        return self._cell(gates, gates.new_zeros(len(images), self.hidden))  # m_-1 is zero

    def step(self, words: Tensor, state: State) -> tuple[Tensor, State]:
        """``(N,)`` words and their state to ``(N, V)`` log-probabilities (nats) and the next."""
        output, cell = state
        gates = self.input_gates(self.dropout(self.words(words))) + self.hidden_gates(output)
        output, cell = self._cell(gates, cell)
        return F.log_softmax(self.output(self.dropout(output)), dim=-1), (output, cell)

    def forward(
        self,
        images: Tensor,
        words: Tensor,
        lengths: Tensor,
        image_of: Tensor | None = None,
        *,
        weights: Tensor | None = None,
        word_sampler: float = 0.0,
        smoothing: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> LossSum:
        """Sum of -log p of the real words, by teacher forcing.

        Args:
            images: embeddings, ``(B, image_width)``.
            words: captions from the start word to the end word, ``(N, T)``, int64; what stands
                behind a caption's length is never looked at.
            lengths: words of each caption, start and end counted, ``(N,)``, int64, at least 2.
            image_of: row of ``images`` for each caption, ``(N,)``; by default n for caption n.
            weights: factor of each caption's -log p, ``(N,)``; by default 1.
            word_sampler: probability that the model's own word, drawn from its own distribution,
                replaces the true one on the way in (scheduled sampling).
            smoothing: weight of the uniform distribution in the target (label smoothing).
            generator: for ``word_sampler``.

        Returns:
            The sum over all real words and their number: the words after the start word, the end
            word among them.

        Source:
            Vinyals et al. 2015, equation 13; Bengio et al. 2015 for scheduled sampling.
        """
        order = lengths.argsort(descending=True, stable=True)
        words, lengths = words[order], lengths[order]
        rows = order if image_of is None else image_of[order]
        # Longest first: the captions still going at step t are the first live[t] ones, so that
        # nothing is ever computed for padding.
        steps = int(lengths[0]) - 1
        until = torch.arange(steps, device=lengths.device)
        live = (lengths[:, None] - 1 > until).sum(0).tolist()
        output, cell = (part[rows] for part in self.start(images))
        targets = torch.cat([words[:n, t + 1] for t, n in enumerate(live)])  # (sum of live,)
        if word_sampler > 0:
            logits = self._sampled(words, live, output, cell, word_sampler, generator)
        else:
            given = torch.cat([words[:n, t] for t, n in enumerate(live)])
            gates = self.input_gates(self.dropout(self.words(given))).split(live)
            said = []
            for t, n in enumerate(live):
                output, cell = self._cell(gates[t] + self.hidden_gates(output[:n]), cell[:n])
                said.append(output)
            logits = self.output(self.dropout(torch.cat(said)))  # (sum of live, V)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # not in bfloat16
        if weights is None:
            total = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
        else:
            nll = F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
            weights = weights[order]
            total = nll @ torch.cat([weights[:n] for n in live])
        return LossSum(total, torch.tensor(len(targets), device=total.device))

    def _sampled(
        self,
        words: Tensor,
        live: list[int],
        output: Tensor,
        cell: Tensor,
        word_sampler: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Logits ``(sum of live, V)`` where a word may be the model's own instead of the true."""
        logits: list[Tensor] = []
        for t, n in enumerate(live):
            given = words[:n, t]
            if t > 0:
                with torch.no_grad():
                    log_probs = logits[-1][:n].detach().float().softmax(-1)
                    own = log_probs.multinomial(1, generator=generator).squeeze(1)
                    coin = torch.rand(n, generator=generator, device=log_probs.device)
                given = torch.where(coin < word_sampler, own, given)
            gates = self.input_gates(self.dropout(self.words(given))) + self.hidden_gates(
                output[:n]
            )
            output, cell = self._cell(gates, cell[:n])
            logits.append(self.output(self.dropout(output)))
        return torch.cat(logits)

    def _cell(self, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, 4 hidden)`` gates and ``(N, hidden)`` memory to output and memory."""
        into, forget, out, candidate = gates.chunk(4, dim=-1)
        cell = forget.sigmoid() * cell + into.sigmoid() * candidate.tanh()
        shown = cell if self.cell == "paper" else cell.tanh()
        return out.sigmoid() * shown, cell
