"""What `push_to_hub` of a pipeline, a style and a LoRA leaves, and what others get from it."""

from collections.abc import Callable
from typing import Any

import pytest
from loopback import LoopbackHub

Run = Callable[..., dict[str, Any]]

PIPELINES = """
from pathlib import Path
import tempfile
from huggingface_hub import HfApi
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

pipe = client.build()
with tempfile.TemporaryDirectory() as folder:
    pipe.save_pretrained(folder, max_shard_size="300KB", push_to_hub=True, repo_id="org/shards")
api = HfApi()
result = {"sharded": api.list_repo_files("org/shards")}
sharded = client.load("own", "org/shards")
api.create_tag("org/shards", tag="v1")

with tempfile.TemporaryDirectory() as folder:
    own = Path(folder) / "README.md"
    own.write_text("---\\nlicense: mit\\n---\\nmy own card\\n")
    pipe.save_pretrained(folder, push_to_hub=True, repo_id="org/own-card", private=True)
    pipe.push_to_hub("org/own-card")
    result["kept"] = own.read_text()

client.fine_tune(pipe)
pipe.push_to_hub("org/shards")
result["whole"] = api.list_repo_files("org/shards")
pipe.to(torch.float16).push_to_hub("org/shards", variant="fp16")
result["both"] = api.list_repo_files("org/shards")
pipe.push_to_hub("org/shards", create_pr=True, commit_message="A proposal")

half = SVPTalkingHeadPipeline.from_pretrained("org/shards", variant="fp16", dtype=torch.float16)
result["fp16"] = [str(half.unet.dtype), list(half.style_encoder.style_bank)]
main = client.load("own", "org/shards")
unet = type(main.unet).from_pretrained("org/shards", subfolder="unet")
loaded = {
    "sharded": sharded,
    "tag": client.load("own", "org/shards", revision="v1"),
    "main": main,
    "override": client.load("own", "org/shards", unet=unet),
    "offline": client.load("own", "org/shards", local_files_only=True),
}
result["overridden"] = loaded["override"].unet is unet
result["frames"] = {name: client.digest_frames(each) for name, each in loaded.items()}
"""


@pytest.fixture(scope="module")
def pushed(run_python: Run) -> dict[str, Any]:
    return run_python(PIPELINES)


def test_a_push_leaves_no_shard_of_the_one_before(pushed: dict[str, Any]) -> None:
    shards = [name for name in pushed["sharded"] if "-of-" in name]
    assert len([name for name in shards if name.startswith("unet/")]) > 2
    assert not [name for name in pushed["whole"] if "-of-" in name or ".index." in name]


def test_a_variant_is_pushed_beside_the_weights(pushed: dict[str, Any]) -> None:
    variants = {name for name in pushed["both"] if ".fp16." in name}
    assert len(variants) == 7  # one a model
    assert set(pushed["both"]) == set(pushed["whole"]) | variants
    assert pushed["fp16"] == ["torch.float16", ["neutral", "happy", "mine"]]


def test_revisions_overrides_and_the_cache_give_the_same_frames(pushed: dict[str, Any]) -> None:
    frames = pushed["frames"]
    assert frames["tag"] == frames["sharded"]
    assert frames["main"] == frames["override"] == frames["offline"]
    assert frames["main"] != frames["tag"]
    assert pushed["overridden"]


def test_every_push_is_one_commit(pushed: dict[str, Any], hub: LoopbackHub) -> None:
    repository = hub.repositories["org/shards"]
    name = "Upload SVPTalkingHeadPipeline"
    assert repository.log == ["initial", name, name, name, "A proposal"]
    assert repository.refs["refs/pr/1"] != repository.refs["main"]


def test_an_own_card_is_never_overwritten(pushed: dict[str, Any], hub: LoopbackHub) -> None:
    assert pushed["kept"].endswith("my own card\n")
    assert hub.files("org/own-card")["README.md"].decode() == pushed["kept"]
    assert hub.repositories["org/own-card"].private
    assert b"Responsible use" in hub.files("org/shards")["README.md"]


STYLE = """
from svp_diffusers.models.style_encoder_svp import StyleDistribution

pipe = client.build()
style = pipe.style_encoder.get_style("happy")
commits = [style.push_to_hub("org/happy", private=True), style.push_to_hub("org/happy")]
remote = StyleDistribution.from_pretrained("org/happy")
cached = StyleDistribution.from_pretrained("org/happy", local_files_only=True)
same = [
    torch.equal(style.mean, each.mean) and torch.equal(style.std, each.std)
    for each in (remote, cached)
]
result = {"same": same, "name": remote.name, "commits": commits}
"""


def test_a_style_can_be_pushed_and_loaded_alone(run_python: Run, hub: LoopbackHub) -> None:
    result = run_python(STYLE)
    assert result["same"] == [True, True]
    assert result["name"] == "happy"
    assert set(hub.files("org/happy")) == {"README.md", "style.safetensors"}
    assert hub.repositories["org/happy"].private


LORA = """
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from huggingface_hub import HfApi
import tempfile

trained = client.build()
config = LoraConfig(r=2, lora_alpha=4, target_modules=["to_q", "to_k"], init_lora_weights=False)
torch.manual_seed(0)  # peft draws from the global generator
trained.unet.add_adapter(config)
weights = get_peft_model_state_dict(trained.unet)
with tempfile.TemporaryDirectory() as folder:
    metadata = trained.unet.peft_config["default"].to_dict()
    trained.save_lora_weights(folder, weights, unet_lora_adapter_metadata=metadata)
    HfApi().create_repo("org/speaker")
    HfApi().upload_folder(repo_id="org/speaker", folder_path=folder)

import numpy as np
pipe = client.build()
frames = {"plain": client.make_frames(pipe), "trained": client.make_frames(trained)}
pipe.load_lora_weights("org/speaker", adapter_name="speaker")
frames["loaded"] = client.make_frames(pipe)
pipe.set_adapters("speaker", 0.5)
frames["half"] = client.make_frames(pipe)
pipe.set_adapters("speaker", 1.0)
pipe.fuse_lora()
frames["fused"] = client.make_frames(pipe)
pipe.unfuse_lora()
frames["unfused"] = client.make_frames(pipe)
pipe.unload_lora_weights()
frames["unloaded"] = client.make_frames(pipe)
try:
    pipe.load_lora_weights({"text_encoder.q.lora_A.weight": torch.zeros(2, 2)})
except ValueError as error:
    message = str(error)
distances = {
    f"{one} {two}": float(np.abs(frames[one] - frames[two]).max())
    for one in frames for two in frames
}
result = {"distances": distances, "message": message}
"""


def test_a_lora_is_loaded_scaled_fused_and_unloaded(run_python: Run) -> None:
    result = run_python(LORA)
    distance = result["distances"]
    # Rounding: the LoRA file's weights lie elsewhere in memory, and fusing reorders a sum.
    assert distance["trained loaded"] < 1e-4
    assert distance["loaded fused"] < 1e-4
    assert distance["loaded unfused"] < 1e-4
    assert distance["plain unloaded"] < 1e-4
    assert distance["plain loaded"] > 1e-3
    assert distance["half loaded"] > 1e-3
    assert distance["half plain"] > 1e-3
    assert "not a LoRA of the UNet" in result["message"]
