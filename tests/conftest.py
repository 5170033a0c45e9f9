"""Settings that all tests share: a bounded hypothesis profile, one torch thread."""

import os

import hypothesis
import torch

hypothesis.settings.register_profile(
    "bounded",
    deadline=None,  # times vary on shared machines
    max_examples=50,
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
)
hypothesis.settings.load_profile("bounded")

# The networks are tiny: more threads only wait for each other.
torch.set_num_threads(1)
