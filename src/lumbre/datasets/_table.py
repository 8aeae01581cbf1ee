"""Where every data set comes from and how it is known to be whole: one entry each, nothing else.

An MD5 is of the file as it is served, a SHA-256 of what is inside its gzip (mirrors of MNIST wrap it differently).
Rows are counted after reading, which is all the proof there is for the sets whose makers publish no checksum.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to fetch.

    Attributes:
        name: its name in the folder of the data set.
        urls: where it is served, tried in this order.
        md5: of the file, in hexadecimal; None where nobody publishes one.
        content_sha256: of what a gzip file holds; None where the MD5 is the proof, or there is none.
        inner: archives inside this archive that are unpacked with it, in its folder.
    """

    name: str
    urls: tuple[str, ...]
    md5: str | None = None
    content_sha256: str | None = None
    inner: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """A data set.

    Attributes:
        files: all its files.
        rows: how many rows each part has; a part that is not named may have any number.
    """

    files: tuple[RemoteFile, ...]
    rows: Mapping[str, int] = field(default_factory=dict[str, int])

    def file(self, name: str) -> RemoteFile:
        """The file called `name`."""
        return next(file for file in self.files if file.name == name)


def _served(bases: tuple[str, ...], sums: Mapping[str, str | None]) -> tuple[RemoteFile, ...]:
    """Files that lie side by side on every mirror: name -> MD5."""
    return tuple(RemoteFile(name, tuple(base + name for base in bases), md5) for name, md5 in sums.items())


_MNIST_MIRRORS = (
    "https://torch-cdn.mlverse.org/datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_MNIST_CONTENT = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_MNIST_ROWS = {"train": 60_000, "t10k": 10_000}
_KAGGLE_COPIES = ("https://torch-cdn.mlverse.org/datasets/", "https://storage.googleapis.com/torch-datasets/")
_OXFORD = "https://www.robots.ox.ac.uk/~vgg/data/"
_EUROSAT = "https://huggingface.co/datasets/torchgeo/eurosat/resolve/main/"

TABLE: dict[str, Entry] = {
    "mnist": Entry(
        tuple(
            RemoteFile(f"{name}.gz", tuple(f"{base}{name}.gz" for base in _MNIST_MIRRORS), content_sha256=sha256)
            for name, sha256 in _MNIST_CONTENT.items()
        ),
        _MNIST_ROWS,
    ),
    "fashion_mnist": Entry(
        _served(
            (
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            ),
            {
                "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
                "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
                "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
            },
        ),
        _MNIST_ROWS,
    ),
    "kmnist": Entry(
        _served(
            ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/", "https://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
            {
                "train-images-idx3-ubyte.gz": "bdb82020997e1d708af4cf47b453dcf7",
                "train-labels-idx1-ubyte.gz": "e144d726b3acfaa3e44228e80efcd344",
                "t10k-images-idx3-ubyte.gz": "5c965bf0a639b31b8f53240b1b52f4d7",
                "t10k-labels-idx1-ubyte.gz": "7320c461ea6c1c855c0b718fb2a4b134",
            },
        ),
        _MNIST_ROWS,
    ),
    "qmnist": Entry(
        _served(
            ("https://raw.githubusercontent.com/facebookresearch/qmnist/master/",),
            {
                "qmnist-train-images-idx3-ubyte.gz": "ed72d4157d28c017586c42bc6afe6370",
                "qmnist-train-labels-idx2-int.gz": "0058f8dd561b90ffdd0f734c6a30e5e4",
                "qmnist-test-images-idx3-ubyte.gz": "1394631089c404de565df7b7aeaf9412",
                "qmnist-test-labels-idx2-int.gz": "5b5b05890a5e13444e108efe57b788aa",
                "xnist-images-idx3-ubyte.xz": "7f124b3b8ab81486c9d8c2749c17f834",
                "xnist-labels-idx2-int.xz": "5ed0e788978e45d4a8bd4b7caec3d79d",
            },
        ),
        {"train": 60_000, "test": 60_000, "nist": 402_953},
    ),
    "emnist": Entry(
        _served(("https://biometrics.nist.gov/cs_links/EMNIST/",), {"gzip.zip": "58c8d27c78d21e728a6bc7b3cc06412e"}),
        {
            "byclass-train": 697_932,
            "byclass-test": 116_323,
            "bymerge-train": 697_932,
            "bymerge-test": 116_323,
            "balanced-train": 112_800,
            "balanced-test": 18_800,
            "letters-train": 124_800,
            "letters-test": 20_800,
            "digits-train": 240_000,
            "digits-test": 40_000,
            "mnist-train": 60_000,
            "mnist-test": 10_000,
        },
    ),
    "cifar10": Entry(
        _served(
            ("https://cave.cs.toronto.edu/kriz/", "https://www.cs.toronto.edu/~kriz/"),
            {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
        ),
        {"train": 50_000, "test": 10_000},
    ),
    "cifar100": Entry(
        _served(
            ("https://cave.cs.toronto.edu/kriz/", "https://www.cs.toronto.edu/~kriz/"),
            {"cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"},
        ),
        {"train": 50_000, "test": 10_000},
    ),
    "tiny_imagenet": Entry(
        _served(
            ("https://cs231n.stanford.edu/", "http://cs231n.stanford.edu/"),
            {"tiny-imagenet-200.zip": "90528d7ca1a48142e341f4ef8d21d0de"},
        ),
        {"train": 100_000, "val": 10_000, "classes": 200},
    ),
    "oxford_pets": Entry(
        _served(
            (f"{_OXFORD}pets/data/",),
            {
                "images.tar.gz": "5c4f3ee8e5d25df40f4fd59a7f44e54c",
                "annotations.tar.gz": "95a8c909bbe2e81eed6a22bccdf3f68f",
            },
        ),
        {"train": 3_680, "test": 3_669},
    ),
    "flowers102": Entry(
        _served(
            (f"{_OXFORD}flowers/102/", "https://torch-cdn.mlverse.org/datasets/oxford_flowers102/"),
            {
                "102flowers.tgz": "52808999861908f626f3c1f4e79d11fa",
                "imagelabels.mat": "e0620be6f572b9609742df49c70aed4d",
                "setid.mat": "a5357ecc9cb78c4bef273ce3793fc85c",
            },
        ),
        {"train": 1_020, "val": 1_020, "test": 6_149},
    ),
    "caltech101": Entry(
        (
            RemoteFile(
                "caltech-101.zip",
                ("https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",),
                md5="3138e1922a9193bfa496528edbbc45d0",
                inner=("caltech-101/101_ObjectCategories.tar.gz",),
            ),
        ),
        {"all": 8_677, "classes": 101},
    ),
    "eurosat": Entry(
        (
            RemoteFile(
                "EuroSAT.zip",
                (f"{_EUROSAT}EuroSAT.zip", "https://madm.dfki.de/files/sentinel/EuroSAT.zip"),
                md5="c8fa014336c82ac7804f0398fcb19387",
            ),
            *_served(
                (_EUROSAT, "https://storage.googleapis.com/remote_sensing_representations/"),
                {
                    "eurosat-train.txt": "908f142e73d6acdf3f482c5e80d851b1",
                    "eurosat-val.txt": "95de90f2aa998f70a3b2416bfe0687b4",
                    "eurosat-test.txt": "7ae5ab94471417b6e315763121e67c5f",
                },
            ),
        ),
        {"train": 16_200, "val": 5_400, "test": 5_400, "classes": 10},
    ),
    "dogs_vs_cats": Entry(
        (
            RemoteFile(
                "dogs-vs-cats.zip",
                tuple(f"{base}dogs-vs-cats.zip" for base in _KAGGLE_COPIES),
                inner=("train.zip", "test1.zip"),
            ),
        ),
        {"train": 25_000, "test": 12_500},
    ),
    # The set grew from version to version, and the copy's number of birds is nowhere stated.
    "bird_species": Entry(_served(_KAGGLE_COPIES, {"bird-species.zip": None})),
    "imdb": Entry(
        _served(
            ("https://ai.stanford.edu/~amaas/data/sentiment/", "https://bj.bcebos.com/dataset/imdb%2F"),
            {"aclImdb_v1.tar.gz": "7c2ac02c03563afcf9b574c7e56c153a"},
        ),
        {"train": 25_000, "test": 25_000},
    ),
    "bank_marketing": Entry(
        _served(("https://archive.ics.uci.edu/ml/machine-learning-databases/00222/",), {"bank-additional.zip": None}),
        {"full": 41_188, "tenth": 4_119},
    ),
    "spam": Entry(
        (
            RemoteFile(
                "spam.data",
                (
                    "https://hastie.su.domains/ElemStatLearn/datasets/spam.data",
                    "https://web.stanford.edu/~hastie/ElemStatLearn/datasets/spam.data",
                ),
            ),
        ),
        {"all": 4_601},
    ),
    "guess_the_correlation": Entry(
        _served(_KAGGLE_COPIES, {"guess-the-correlation.zip": None}),
        {"train": 150_000},
    ),
}
