"""Peak memory of writing a converted network, whose weights are a mapped file of half precision.

    python benchmarks/conversion_memory.py FOLDER --shard-size 500MB

needs 8 GB of disk in FOLDER, which it leaves empty.
"""

import argparse
import re
import tempfile
import time
from pathlib import Path
from threading import Event, Thread

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from svp_diffusers.conversion import writing

LAYERS, SHAPE = 64, (4096, 5120)  # 1.34 billion numbers, about as many as Hallo's UNet has


class Layers(ModelMixin, ConfigMixin):
    """A network that is nothing but weights."""

    @register_to_config
    def __init__(self, layers: int = LAYERS) -> None:
        super().__init__()
        self.layers = nn.ParameterList(nn.Parameter(torch.empty(SHAPE)) for _ in range(layers))


def read_status(name: str) -> int:
    """Bytes that Linux says of this process."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def main() -> None:
    """Write the network, and print what that took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shard-size", default=writing.SHARD_SIZE)
    arguments = parser.parse_args()
    writing.SHARD_SIZE = arguments.shard_size
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        file, output = Path(temporary, "weights.pt"), Path(temporary, "output")
        half = torch.full(SHAPE, 0.5, dtype=torch.float16)
        torch.save({f"layers.{number}": half.clone() for number in range(LAYERS)}, file)
        output.mkdir()

        def make() -> Layers:
            with torch.device("meta"):
                network = Layers()
            weights = torch.load(file, mmap=True, weights_only=True)
            network.load_state_dict(weights, assign=True)
            return network

        peaks, ended = {"VmRSS": 0, "RssAnon": 0}, Event()

        def watch() -> None:
            while not ended.wait(0.02):
                for name in peaks:
                    peaks[name] = max(peaks[name], read_status(name))

        watcher = Thread(target=watch)
        watcher.start()
        begun = time.process_time()
        writing._save(make(), make, output, torch.float32)
        ended.set()
        watcher.join()
        size = file.stat().st_size
    print(
        f"shards of {arguments.shard_size}: peak {peaks['VmRSS'] / 1e9:.1f} GB, "
        f"{peaks['VmRSS'] / size:.2f} of the input's {size / 1e9:.2f} GB; not reclaimable "
        f"{peaks['RssAnon'] / 1e9:.1f} GB; {time.process_time() - begun:.0f} s of a core"
    )


if __name__ == "__main__":
    main()
