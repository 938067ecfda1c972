"""The configuration of a curation: what `dinotxt curate` reads from YAML."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from dinotxt.config import configuration
from dinotxt.curation.engine import EngineKind
from dinotxt.data.order import DrawMode
from dinotxt.models.config import BackboneConfig

Share = Annotated[float, Field(gt=0, le=1)]
Flag = Literal["generic", "ambiguous", "boilerplate"]
MatchEngine = Literal["ahocorasick", "ngram"]
Normalize = Literal["metaclip", "casefold"]


@configuration
class MetadataConfig:
    """What the pool is matched against.

    Attributes:
        sources: In the order in which they fill the list: ``wordnet``, ``unigrams``, ``bigrams``,
            ``titles``, ``captions`` (words and pairs of words of the pool), or paths of lists
            with one entry a line.
        size: The most entries.
        wordnet: A folder with WordNet's ``data.*`` files; null takes the list that ships.
        corpus: A text file (``.gz`` too) for unigrams and bigrams; null takes `wordfreq` for
            unigrams and the pool's captions for bigrams.
        titles: A path or pattern of files with lines ``title<TAB>views``, or of Wikimedia's
            ``pageviews-*.gz``.
        min_count: The least count of a word or a pair of words; null is 100 in a corpus, 2 in
            captions.
        min_pmi: The least pointwise mutual information of a pair of words, in bits.
        min_views: The least views of a title.
    """

    sources: tuple[str, ...] = ("wordnet", "unigrams", "bigrams", "titles")
    size: Annotated[int, Field(gt=0, le=500_000)] = 500_000
    wordnet: Path | None = None
    corpus: Path | None = None
    titles: str | None = None
    min_count: PositiveInt | None = None
    min_pmi: float = 5.0
    min_views: Annotated[int, Field(ge=0)] = 70


@configuration
class MatchConfig:
    """How captions are matched."""

    engine: MatchEngine = "ngram"
    normalize: Normalize = "metaclip"
    max_characters: PositiveInt = 10_000


@configuration
class TextConfig:
    """How captions are balanced.

    Attributes:
        threshold: Captions that an entry keeps on average (t).
        tail_share: Choose t so that rarer entries own this share of all matches.
        drop: Kinds of captions to leave out altogether; all kinds are counted in the report.
    """

    threshold: PositiveInt | None = None
    tail_share: Share | None = None
    drop: tuple[Flag, ...] = ()

    def __post_init__(self) -> None:
        """Hold the two ways of saying how many against each other.

        Raises:
            ValueError: If both or none are given.
        """
        if (self.threshold is None) == (self.tail_share is None):
            raise ValueError("give either threshold or tail_share")


@configuration
class ImageConfig:
    """How pictures are embedded, clustered and balanced.

    Attributes:
        model: A named model or a folder (see `dinotxt models list`).
        backbone: A bare backbone in place of the model's.
        size: The side of a bare backbone's input, in pixels.
        features: ``backbone`` takes its cls token, ``aligned`` the vector shared with text.
        levels: Clusters of each level, from the finest.
        resamplings: How often a level is clustered again on the points nearest its centroids.
        points: How many of them a cluster; null is half the mean size of a cluster, at most 256.
        iterations: Lloyd iterations at most.
        tolerance: Stop when the inertia falls by less than this share.
        target: Pairs to keep: a share up to 1, or a number above 1.
        near_duplicates: Keep one picture of those in a cluster whose cosine is at least this.
        batch_size: Pictures a forward pass.
        device: Where to embed and cluster: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
    """

    model: str = "lite"
    backbone: BackboneConfig | None = None
    size: PositiveInt = 224
    features: Literal["backbone", "aligned"] = "backbone"
    levels: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (2000, 200, 20)
    resamplings: Annotated[int, Field(ge=0)] = 10
    points: PositiveInt | None = None
    iterations: PositiveInt = 25
    tolerance: Annotated[float, Field(ge=0)] = 1e-3
    target: Annotated[float, Field(gt=0)] = 0.65
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = None
    batch_size: PositiveInt = 32
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Hold the keys against each other.

        Raises:
            ValueError: If there are no such features, or the levels do not fall.
        """
        if self.backbone is not None and self.features == "aligned":
            raise ValueError("a bare backbone has no aligned features: set features to backbone")
        if any(above >= below for below, above in pairwise(self.levels)):
            raise ValueError("levels must fall from one to the next, such as [2000, 200, 20]")


@configuration
class DrawConfig:
    """Which of the two balances decide."""

    mode: DrawMode = "both"


@configuration
class CurationConfig:
    """One curation; see `docs/guides/curation.md`.

    Attributes:
        input: What `dinotxt.data.readers.pairs.read_pairs` takes.
        output: The folder of all results; one folder holds one curation.
        seed: Decides the clusters and the draws.
        engine: ``local`` or ``ray``.
        workers: Tasks at once.
        address: Of the Ray cluster; null starts one on this machine.
    """

    input: str | tuple[str, ...]
    output: Path
    seed: Annotated[int, Field(ge=0)] = 0
    engine: EngineKind = "local"
    workers: PositiveInt = 2
    address: str | None = None
    metadata: MetadataConfig = MetadataConfig()
    match: MatchConfig = MatchConfig()
    text: TextConfig = TextConfig(threshold=20_000)
    image: ImageConfig = ImageConfig()
    draw: DrawConfig = DrawConfig()
