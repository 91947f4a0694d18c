"""Contract suites for plugins: set the class, inherit the tests, and pytest holds it to what xaipipe relies on.

>>> from xaipipe.testing import ExplainerContract
>>> class TestRise(ExplainerContract):
...     method = Rise

The mark `gpu` has to be registered by the project that runs the suites. `import xaipipe` never imports this package,
since only it needs pytest.
"""

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{part}" for part in ("comparing", "explainers", "loaders", "model_state", "params")),
    *(f"{__name__}.{part}" for part in ("postprocessors", "readers", "segmenters", "stores")),
)

from xaipipe.testing.explainers import ExplainerContract  # noqa: E402 - asserts are rewritten on import
from xaipipe.testing.loaders import LoaderContract  # noqa: E402
from xaipipe.testing.maps import blobs, random_map  # noqa: E402
from xaipipe.testing.models import LinearModel, SmallCnn, images  # noqa: E402
from xaipipe.testing.params import StageContract  # noqa: E402
from xaipipe.testing.postprocessors import PostprocessorContract  # noqa: E402
from xaipipe.testing.readers import ReaderContract  # noqa: E402
from xaipipe.testing.regions import cut, segment_regions  # noqa: E402
from xaipipe.testing.segmenters import SegmenterContract  # noqa: E402
from xaipipe.testing.slides import MemorySlide, striped_pixels  # noqa: E402
from xaipipe.testing.stores import StoreContract  # noqa: E402
from xaipipe.testing.transformers import SmallVit  # noqa: E402

__all__ = [
    "ExplainerContract",
    "LinearModel",
    "LoaderContract",
    "MemorySlide",
    "PostprocessorContract",
    "ReaderContract",
    "SegmenterContract",
    "SmallCnn",
    "SmallVit",
    "StageContract",
    "StoreContract",
    "blobs",
    "cut",
    "images",
    "random_map",
    "segment_regions",
    "striped_pixels",
]
