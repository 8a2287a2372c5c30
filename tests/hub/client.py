"""What a user's process does with the Hub: run by the tests, with `HF_ENDPOINT` set.

    python client.py '{"package": false, "tasks": [{"do": "load", "door": "own", "repo": "a/b"}]}'

prints one JSON line with the results of the tasks. Without the package, importing it fails.
"""

import hashlib
import importlib.abc
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

PIPELINES = Path(__file__).parents[2] / "pipelines"
TIMINGS = {"num_inference_steps": 1, "context_length": 8, "context_overlap": 2}


class PackageBlocker(importlib.abc.MetaPathFinder):
    """Makes `import svp_diffusers` fail, as where it is not installed."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name.partition(".")[0] == "svp_diffusers":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def load(door: str, repo: str, **arguments: Any) -> Any:
    """Open one of the doors to a checkpoint."""
    if door == "own":
        from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

        pipe = SVPTalkingHeadPipeline.from_pretrained(repo, **arguments)
        assert type(pipe) is SVPTalkingHeadPipeline
        assert type(pipe.unet).__module__ == "svp_diffusers.models.temporal_unet_svp"
    else:
        from diffusers import DiffusionPipeline

        custom = {"custom_repo": repo, "custom_folder": str(PIPELINES)}.get(door)
        pipe = DiffusionPipeline.from_pretrained(
            repo, trust_remote_code=door != "untrusted", custom_pipeline=custom, **arguments
        )
        assert type(pipe).__module__.startswith("diffusers_modules.")
        assert type(pipe.unet).__module__.startswith("diffusers_modules.")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def inputs() -> dict[str, Any]:
    """A portrait and 0.4 s of sound that are noise, the same everywhere."""
    import numpy as np
    import torch
    from PIL import Image

    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (128, 128, 3), dtype=np.uint8)
    waveform = random.standard_normal(6400).astype(np.float32) / 10
    generator = torch.Generator().manual_seed(0)
    return {"image": Image.fromarray(pixels), "audio": waveform, "generator": generator, **TIMINGS}


def make_frames(pipe: Any) -> Any:
    """A video in a sampled style, an array (10, 128, 128, 3)."""
    return pipe(**inputs(), output_type="np").frames[0]


def digest_frames(pipe: Any) -> str:
    """The hash of that video."""
    frames = make_frames(pipe)
    assert frames.shape == (10, 128, 128, 3)
    assert frames.std() > 0.01
    return hashlib.sha256(frames.tobytes()).hexdigest()


def measure_frames(pipe: Any) -> list[float]:
    """The mean of each of its 8 x 8 parts, of every frame: what may differ in the last bits."""
    parts = make_frames(pipe).reshape(10, 8, 16, 8, 16, 3)
    means: list[float] = parts.mean(axis=(2, 4, 5)).ravel().tolist()
    return means


def digest_styles(pipe: Any) -> dict[str, str]:
    """The hash of a video's latents for every way to give a style."""
    neutral, happy = (pipe.style_encoder.get_style(name) for name in ("neutral", "happy"))
    styles = {
        "sampled": None,
        "named": "happy",
        "interpolated": neutral.interpolate(happy, 0.5),
        "scheduled": [(0.0, "neutral"), (0.2, "happy")],
        "from_audio": "from_audio",
        "from_clip": pipe.style_encoder(expression=happy.mean.new_ones(1, 20, 64))[0],
    }
    digests = {}
    for name, style in styles.items():
        latents = pipe(**inputs(), style=style, output_type="latent").frames[0]
        digests[name] = hashlib.sha256(latents.numpy().tobytes()).hexdigest()
    return digests


def fine_tune(pipe: Any) -> None:
    """Take one step of gradient descent on the UNet's style attention, and learn a style."""
    import torch

    weights = [weight for name, weight in pipe.unet.named_parameters() if "attn_style" in name]
    optimizer = torch.optim.SGD(weights, lr=0.1)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    optimizer.zero_grad()
    pipe.style_encoder.add_style("mine", pipe.style_encoder.prior())


def build() -> Any:
    """The tiny pipeline, with two styles in its bank."""
    from svp_diffusers.checkpoints.random_pipeline import build_random_pipeline

    pipe = build_random_pipeline()
    pipe.set_progress_bar_config(disable=True)
    bank, prior = pipe.style_encoder.style_bank, pipe.style_encoder.prior()
    bank.add("neutral", prior)
    bank.add("happy", prior.scale(0.0, pipe.style_encoder(audio=prior.mean.new_ones(1, 50, 32))[0]))
    return pipe


def find_json_leaks(folder: Path) -> list[str]:
    """The JSON files that name a path or the place that a component came from."""
    files = [path for path in folder.rglob("*.json") if '"_name_or_path"' in path.read_text()]
    return [path.relative_to(folder).as_posix() for path in files]


def push(pipe: Any, door: str, arguments: dict[str, Any]) -> Any:
    """Push a pipeline, and return it as it is loaded from what was pushed.

    Weights that are loaded lie elsewhere in memory than those just made, which alone changes the
    last bits of a convolution: only loaded pipelines are compared bit for bit.
    """
    import numpy as np

    with tempfile.TemporaryDirectory() as temporary:
        pipe.save_pretrained(temporary)
        assert find_json_leaks(Path(temporary)) == []
        reloaded = load(door, temporary)
    assert np.abs(make_frames(pipe) - make_frames(reloaded)).max() < 1e-4
    pipe.push_to_hub(**arguments)
    return reloaded


def run(task: dict[str, Any]) -> Any:
    """Do one task, and return what there is to compare."""
    arguments = {key: value for key, value in task.items() if key not in ("do", "push", "styles")}
    pipe = build() if task["do"] == "build" else load(**arguments)
    if task["do"] == "fine_tune":
        fine_tune(pipe)
    if "push" in task:
        pipe = push(pipe, "own" if task["do"] == "build" else "remote", task["push"])
    styles = digest_styles(pipe) if task.get("styles") else None
    return {"frames": digest_frames(pipe), "styles": styles}


def main() -> None:
    job = json.loads(sys.argv[1])
    if not job["package"]:
        sys.meta_path.insert(0, PackageBlocker())
        try:
            import svp_diffusers  # noqa: F401
        except ModuleNotFoundError:
            pass
        else:
            raise AssertionError("the package can be imported")
    print(json.dumps([run(task) for task in job["tasks"]]))


if __name__ == "__main__":
    main()
