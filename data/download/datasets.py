"""The published weights, captions, photographs and word vectors that ``vl download`` fetches.

Sizes and digests are what the publishers' servers and projects state; a digest of MD5 or SHA-1
finds damage and wrong files, not a forgery.
"""

from dataclasses import dataclass

_COCO = "http://images.cocodataset.org"
_COCO_PAGE = "https://cocodataset.org/#termsofuse"
# The form of which the data set's authors send the links.
_FLICKR8K = "https://forms.illinois.edu/sec/1713398"
_GENSIM = "https://github.com/piskvorky/gensim-data/releases/download"


@dataclass(frozen=True)
class DataFile:
    """One file of a data set, as it is published.

    Attributes:
        url: http or https.
        size: bytes.
        digest: ``"sha256:..."``, of an algorithm that ``hashlib`` has; empty if none is known.
        output: the file's place in the data set's folder; of a zip, the folder of its content,
            without the one folder that all of it lies in.
        members: of a zip, the files to unpack; empty for all.
        unpacked_size: of a zip, the most that is unpacked, in bytes; 0 for a file that stays as
            it is.
    """

    url: str
    size: int
    digest: str
    output: str
    members: tuple[str, ...] = ()
    unpacked_size: int = 0


@dataclass(frozen=True)
class Dataset:
    """Files under one name, and what one must know before one uses them.

    Attributes:
        summary: what it is.
        terms: under which it may be used.
        page: of the publisher.
        files: empty if the owner gives it on request only.
        usage: what to do with it, where ``{folder}`` is its folder.
    """

    summary: str
    terms: str
    page: str
    files: tuple[DataFile, ...]
    usage: str = ""


DATASETS: dict[str, Dataset] = {
    "bvlc-googlenet": Dataset(
        "GoogLeNet's weights, trained by BVLC on ImageNet",
        "unrestricted use",
        "https://github.com/BVLC/caffe/tree/master/models/bvlc_googlenet",
        (
            DataFile(
                "http://dl.caffe.berkeleyvision.org/bvlc_googlenet.caffemodel",
                53_533_754,
                "sha1:405fc5acd08a3bb12de8ee5e23a96bec22f08204",  # in the model's readme.md
                "bvlc_googlenet.caffemodel",
            ),
        ),
        "--encoder inception_v1 --weights {folder}/bvlc_googlenet.caffemodel",
    ),
    "coco-2017-captions": Dataset(
        "five captions of each of COCO's 123,287 photographs",
        "CC BY 4.0",
        _COCO_PAGE,
        (
            DataFile(
                f"{_COCO}/annotations/annotations_trainval2017.zip",
                252_907_541,
                "md5:f4bbac642086de4f52a3fdda2de5fa2c",
                "annotations",
                ("annotations/captions_train2017.json", "annotations/captions_val2017.json"),
                unpacked_size=200_000_000,
            ),
        ),
        "--captions {folder}/annotations/captions_train2017.json",
    ),
    "coco-2017-images": Dataset(
        "COCO's photographs: 118,287 for training and 5,000 for validation",
        "each photograph's own, by its owner on Flickr",
        _COCO_PAGE,
        (
            DataFile(
                f"{_COCO}/zips/val2017.zip",
                815_585_330,
                "md5:442b8da7639aecaf257c1dceb8ba8c80",
                "val2017",
                unpacked_size=1_000_000_000,
            ),
            DataFile(
                f"{_COCO}/zips/train2017.zip",
                19_336_861_798,
                "md5:cced6f7f71b7629ddf16f17bbcfab6b2",
                "train2017",
                unpacked_size=21_000_000_000,
            ),
        ),
        "vl embed {folder}/train2017 ...",
    ),
    "flickr8k": Dataset(
        "8,000 photographs, five captions of each",
        "research and education; its authors give it on request only, by a form",
        _FLICKR8K,
        (),
    ),
    "glove-wiki-gigaword-100": Dataset(
        "GloVe's vectors of 400,000 words, 100 dimensions, as gensim-data publishes them",
        "PDDL 1.0 (public domain)",
        "https://github.com/piskvorky/gensim-data",
        (
            DataFile(
                f"{_GENSIM}/glove-wiki-gigaword-100/glove-wiki-gigaword-100.gz",
                134_300_434,
                "md5:40ec481866001177b8cd4cb0df92924f",  # in gensim-data's list.json
                "glove-wiki-gigaword-100.gz",
            ),
        ),
        "--word-vectors {folder}/glove-wiki-gigaword-100.gz",
    ),
    "glove-6b": Dataset(
        "GloVe's vectors of 400,000 words, 50, 100, 200 and 300 dimensions",
        "PDDL 1.0 (public domain)",
        "https://nlp.stanford.edu/projects/glove/",
        (
            DataFile(
                "https://nlp.stanford.edu/data/glove.6B.zip",
                862_182_613,
                # Stanford states none; this one is in Embeddings.jl, GluonNLP and Keras's examples.
                "sha256:617afb2fe6cbd085c235baf7a465b96f4112bd7f7ccb2b2cbd649fed9cbcf2fb",
                "vectors",
                unpacked_size=2_500_000_000,
            ),
        ),
        "--word-vectors {folder}/vectors/glove.6B.300d.txt",
    ),
    "googlenews": Dataset(
        "word2vec's vectors of 3 million words and phrases of Google News, 300 dimensions",
        "none stated by its authors",
        "https://code.google.com/archive/p/word2vec/",
        (
            DataFile(
                f"{_GENSIM}/word2vec-google-news-300/word2vec-google-news-300.gz",
                1_743_563_840,
                "md5:a5e5354d40acb95f9ec66d5977d140ef",  # in gensim-data's list.json
                "GoogleNews-vectors-negative300.bin.gz",
            ),
        ),
        "--word-vectors {folder}/GoogleNews-vectors-negative300.bin.gz",
    ),
    "wordnet": Dataset(
        "Princeton WordNet 3.0, as NLTK reads it",
        "WordNet's license: any use, with its notice",
        "https://wordnet.princeton.edu/license-and-commercial-use",
        (
            DataFile(
                "https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/packages/corpora/"
                "wordnet.zip",
                10_775_600,
                # NLTK's index has an MD5 of the same file; this one is in projects that pin it.
                "sha256:cbda5ea6eef7f36a97a43d4a75f85e07fccbb4f23657d27b4ccbc93e2646ab59",
                "corpora/wordnet",
                unpacked_size=40_000_000,
            ),
        ),
        "NLTK_DATA={folder} vl ... --wordnet nltk",
    ),
}


def human_size(size: int) -> str:
    """A size as ``54 MB``, in powers of 1,000."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size:,} bytes"
