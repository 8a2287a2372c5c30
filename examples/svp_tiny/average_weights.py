"""Write a checkpoint whose weights are the mean of two checkpoints' of the same networks.

python examples/svp_tiny/average_weights.py FIRST SECOND OUTPUT
"""

import argparse
from pathlib import Path

import torch

from svp_diffusers import SVPTalkingHeadPipeline
from svp_diffusers.checkpoints.loading import find_checkpoint, save_checkpoint
from svp_diffusers.training.denoiser.objective import TRAINED_NETWORKS

parser = argparse.ArgumentParser(description=__doc__)
for argument in ("first", "second", "output"):
    parser.add_argument(argument)
arguments = parser.parse_args()
pipelines = [
    SVPTalkingHeadPipeline.from_pretrained(find_checkpoint(each), dtype=torch.float32)
    for each in (arguments.first, arguments.second)
]
for name in TRAINED_NETWORKS:
    weights = [getattr(pipeline, name).state_dict() for pipeline in pipelines]
    mean = {key: (value + weights[1][key]) / 2 for key, value in weights[0].items()}
    getattr(pipelines[0], name).load_state_dict(mean)
save_checkpoint(pipelines[0], Path(arguments.output))
