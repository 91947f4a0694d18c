"""The run that the demo makes, written beside its slide so that anybody can make it again or change it."""

from __future__ import annotations

RUN_TOML = """\
# The demo's run. Make it again:  xaipipe run slide.svs --config run.toml --trust -o again.zarr
[model]
source = "xaipipe_demo.model:build"   # a small CNN that tells patches with damaged cells; brings its own [preprocess]

[load]
tile = 560                            # 512 px and 24 px of context on each side, more than the model can see
overlap = 48
batch = 4

[explain]
method = "gradcam"
layer = "features.11"                 # the last map before the pooling
target = "damaged"

[[postprocess]]
method = "smooth"
sigma = 0.5                           # in cells of the map, which are 4 px wide

[[segment]]
method = "threshold"
by = "otsu"
of = "positive"                       # Grad-CAM's zeros are no evidence

[[segment]]
method = "components"
min_area = 40

[store]
shard = 2048
image = "copy"
"""
