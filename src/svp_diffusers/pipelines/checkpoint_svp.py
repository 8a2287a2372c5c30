"""Checkpoints of SVP: saved with the code that runs them, pushed, loaded, and extended by LoRAs.

A checkpoint on the Hub carries this file beside its pipeline, which imports it.
"""

import importlib
import importlib.util
import inspect
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from diffusers import DiffusionPipeline, ModelMixin
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from diffusers.utils.dynamic_modules_utils import get_relative_imports
from huggingface_hub import CommitInfo, HfApi

CODE_FILE = "pipeline_svp_talking_head"  # the name of the pipeline's file in a checkpoint

# Where this file is part of the package, and not a checkpoint's copy of it.
MODELS_PACKAGE = "svp_diffusers.models" if __name__.startswith("svp_diffusers.") else None
COMPONENT_LIBRARIES = ("diffusers", "transformers")  # components of any other are custom code

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)

# The card of a repository that has none; the package writes fuller ones.
CARD = """---
library_name: diffusers
pipeline_tag: image-to-video
tags: [talking-head, portrait-animation, svp]
---
# {repo_id}

Limits: pushed without a word on its training data, quality or licence; ask its owner before use.

A checkpoint of SVP (Style-Enhanced Vivid Portrait, arXiv 2409.03270): a portrait, speech and a
speaking style go in, a talking-head video comes out. It carries the code that runs it:

```python
from diffusers import DiffusionPipeline, ModelMixin

pipe = DiffusionPipeline.from_pretrained("{repo_id}", trust_remote_code=True)
```

## Responsible use

Animate a face, and use a voice, only with the consent of the people they belong to. Impersonate
nobody, and tell viewers that the video is synthetic.
"""

Pipeline = TypeVar("Pipeline", bound="CheckpointMixin")


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether there is such a file or folder; there is none of a name that is too long."""
    try:
        return Path(path).exists()
    except OSError:
        return False


def check_place(name: object, file: str | None = None) -> None:
    """Check what is named as a checkpoint or LoRA, before the Hub is asked for it.

    Args:
        name: a folder or file, or the id of a repository on the Hub.
        file: that the folder must hold.

    Raises:
        ValueError: if it is neither.
    """
    if isinstance(name, (str, os.PathLike)) and str(name):
        is_folder = exists(name) and Path(name).is_dir()
        if is_folder and file and not (Path(name) / file).is_file():
            raise ValueError(f"{name} is no checkpoint: it holds no {file}.")
        if is_folder or (exists(name) and not file) or REPOSITORY.fullmatch(str(name)):
            return
    raise ValueError(
        f"There is no folder {str(name)[:200]!r}: pass the folder of a checkpoint, or the id of a "
        "repository on the Hub (owner/name)."
    )


class CheckpointMixin(StableDiffusionLoraLoaderMixin):
    """What a pipeline saves, pushes and loads, beside `DiffusionPipeline`, which must follow it.

    It is no pipeline itself: diffusers takes the one pipeline class of a file for the one meant.

    Attributes:
        code_file: the name of the pipeline's file in a checkpoint.
        default_card: of a repository that has none.
    """

    config: Any
    unet: ModelMixin
    code_file: ClassVar[str] = CODE_FILE
    default_card: ClassVar[str] = CARD
    _lora_loadable_modules: ClassVar = ["unet"]

    def to_json_string(self) -> str:
        """The index of the checkpoint, naming custom code by its file, and no path of a machine."""
        index = json.loads(super().to_json_string())
        index.pop("_name_or_path", None)
        index["_class_name"] = [self.code_file, type(self).__name__]
        for name, module in self._custom_modules().items():
            index[name][0] = module.rpartition(".")[2]
        return json.dumps(index, indent=2, sort_keys=True) + "\n"

    def save_config(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """Write `model_index.json`, and beside it the code of the pipeline and its components.

        Whoever loads the checkpoint needs that code, and diffusers saves none: without it, what was
        loaded as remote code, fine-tuned and saved could not be loaded again.

        Raises:
            ValueError: if a class was defined in a notebook or script, hence in no file of its own.
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        code = self._find_code(type(self).__module__)
        for file_name in (
            f"{self.code_file}.py",
            "pipeline.py",
        ):  # `custom_pipeline=` reads the latter
            shutil.copyfile(code, folder / file_name)
        for sibling in get_relative_imports(code):
            shutil.copyfile(Path(code).with_name(f"{sibling}.py"), folder / f"{sibling}.py")
        if (folder / "handler_svp.py").exists():  # a pipeline of the user's own may have none
            shutil.copyfile(folder / "handler_svp.py", folder / "handler.py")
        if (folder / "modular_svp.py").exists():
            for file_name, text in self.describe_modular().items():
                (folder / file_name).write_text(text, encoding="utf-8")
        for name, module in self._custom_modules().items():
            (folder / name).mkdir(exist_ok=True)
            file_name = f"{module.rpartition('.')[2]}.py"
            shutil.copyfile(self._find_code(module), folder / name / file_name)
        for path in folder.glob("*/config.json"):
            config = json.loads(path.read_text(encoding="utf-8"))
            if config.pop("_name_or_path", None) is not None:
                path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
        super().save_config(folder, push_to_hub, **kwargs)

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str | None = None,
        push_to_hub: bool = False,
        use_flashpack: bool = False,
        repo_id: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        commit_message: str | None = None,
        create_pr: bool = False,
    ) -> None:
        """Save weights and code; see `DiffusionPipeline.save_pretrained`.

        Raises:
            ValueError: if the weights were to be pickles, which `from_pretrained` does not load.
        """
        if not safe_serialization:
            raise ValueError(
                "`safe_serialization=False` would save pickles, which this pipeline does not load: "
                "leave it out."
            )
        super().save_pretrained(
            save_directory, True, variant, max_shard_size, use_flashpack=use_flashpack
        )
        if push_to_hub:
            name = repo_id or Path(save_directory).name
            created = HfApi(token=token).create_repo(name, private=private, exist_ok=True)
            self._upload_folder(save_directory, created.repo_id, token, commit_message, create_pr)

    def push_to_hub(
        self,
        repo_id: str,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        create_pr: bool = False,
        safe_serialization: bool = True,
        variant: str | None = None,
        subfolder: str | None = None,
    ) -> CommitInfo:
        """Push weights, styles and code in one commit, with a card if the repository has none.

        Shards that it replaces are deleted in the same commit; a card that is there stays. See
        `DiffusionPipeline.push_to_hub`.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, safe_serialization, variant)
            # Only now: what cannot be saved leaves no empty repository.
            created = HfApi(token=token).create_repo(repo_id, private=private, exist_ok=True)
            return self._upload_folder(
                folder, created.repo_id, token, commit_message, create_pr, subfolder
            )

    def _upload_folder(
        self,
        working_dir: str | os.PathLike[str],
        repo_id: str,
        token: str | None = None,
        commit_message: str | None = None,
        create_pr: bool = False,
        subfolder: str | None = None,
    ) -> CommitInfo:
        """Upload in one commit, which also deletes the shards it replaces; a card there stays."""
        api, folder = HfApi(token=token), Path(working_dir)
        has_card = api.file_exists(repo_id, f"{subfolder}/README.md" if subfolder else "README.md")
        if not has_card and not (folder / "README.md").exists():
            (folder / "README.md").write_text(
                self.default_card.format(repo_id=repo_id), encoding="utf-8"
            )
        for file_name, text in self.describe_modular(repo_id).items():
            if (folder / file_name).exists():
                (folder / file_name).write_text(text, encoding="utf-8")
        replaced = []
        for path in folder.glob("*/*.safetensors"):
            stem = re.sub(r"-\d{5}-of-\d{5}$", "", path.stem)
            name, _, variant = stem.partition(".")
            index = ".".join([name, "safetensors.index", *filter(None, [variant]), "json"])
            for pattern in (f"{stem}.safetensors", f"{stem}-?????-of-?????.safetensors", index):
                replaced.append(f"{path.parent.name}/{pattern}")
        return api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            path_in_repo=subfolder,
            commit_message=commit_message or f"Upload {type(self).__name__}",
            create_pr=create_pr,
            ignore_patterns=["README.md"] if has_card else None,
            delete_patterns=replaced,
        )

    def describe_modular(self, repo_id: str | None = None) -> dict[str, str]:
        """The files of a checkpoint that describe the pipeline's modular blocks: it has none."""
        return {}

    @staticmethod
    def _find_code(module: str) -> str:
        path = sys.modules[module].__file__ if module != "__main__" else None
        if path is None:
            raise ValueError(
                "A class of this pipeline was defined in a notebook or script. Put it into a file "
                "of its own and import it from there, so that the checkpoint can carry the file."
            )
        return path

    def _custom_modules(self) -> dict[str, str]:
        """The module that each component defined outside diffusers and transformers comes from."""
        return {
            name: entry[0]
            for name, entry in self.config.items()
            if isinstance(entry, (list, tuple)) and entry[0] not in (None, *COMPONENT_LIBRARIES)
        }

    @classmethod
    def from_pretrained(
        cls: type[Pipeline], pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> Pipeline:
        """Load a checkpoint of safetensors, by default as float32 whatever it is stored as.

        See `DiffusionPipeline.from_pretrained`.

        Raises:
            ValueError: if there is no such folder, or its index names no component of this pipeline
                or names one otherwise than as `[library or file name, class name]`.
        """
        check_place(
            pretrained_model_name_or_path, None if kwargs.get("subfolder") else cls.config_name
        )
        kwargs.setdefault("use_safetensors", True)
        if "torch_dtype" not in kwargs:  # transformers would keep its part as it is stored
            kwargs.setdefault("dtype", torch.float32)
        loaded: Pipeline = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        return loaded

    @classmethod
    def from_pipe(cls: type[Pipeline], pipeline: DiffusionPipeline, **kwargs: Any) -> Pipeline:
        """Build the pipeline from another's components; see `DiffusionPipeline.from_pipe`."""
        # diffusers would keep a component only if its very class stood in the annotation.
        names = inspect.signature(cls.__init__).parameters
        ours = {name: part for name, part in pipeline.components.items() if name in names}
        built: Pipeline = super().from_pipe(pipeline, **{**ours, **kwargs})
        return built

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: str | dict[str, torch.Tensor],
        adapter_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Load a LoRA of the UNet, for instance of a speaker, from the Hub, a folder or a dict.

        Other arguments are those of `StableDiffusionLoraLoaderMixin.lora_state_dict`. Set its scale
        with `set_adapters`, merge it with `fuse_lora`, remove it with `unload_lora_weights`.

        Raises:
            ValueError: if there is no such folder, or a weight is not of a LoRA of the UNet.
        """
        if not isinstance(pretrained_model_name_or_path_or_dict, dict):
            check_place(pretrained_model_name_or_path_or_dict)
        kwargs.setdefault("use_safetensors", True)
        weights, alphas, metadata = self.lora_state_dict(
            pretrained_model_name_or_path_or_dict, return_lora_metadata=True, **kwargs
        )
        foreign = [key for key in weights if not key.startswith("unet.") or "lora" not in key]
        if foreign:
            raise ValueError(f"This is not a LoRA of the UNet; it has the weights {foreign[:3]}.")
        self.load_lora_into_unet(
            weights, alphas, self.unet, adapter_name, _pipeline=self, metadata=metadata
        )

    def fuse_lora(self, components: Sequence[str] = ("unet",), **kwargs: Any) -> None:
        """Merge the LoRA into the UNet's weights; see `StableDiffusionLoraLoaderMixin`."""
        super().fuse_lora(components=list(components), **kwargs)

    def unfuse_lora(self, components: Sequence[str] = ("unet",), **kwargs: Any) -> None:
        """Undo `fuse_lora`."""
        super().unfuse_lora(components=list(components), **kwargs)

    @classmethod
    def _dict_from_json_file(cls, json_file: str | os.PathLike[str]) -> dict[str, Any]:
        """Read an index; the class that loads it decides which code runs the pipeline.

        Raises:
            ValueError: if a component is missing, or not `[library or file name, class name]`.
        """
        index: dict[str, Any] = super()._dict_from_json_file(json_file)
        if not isinstance(index, dict):
            raise ValueError(f"{json_file} is no index of a checkpoint.")
        parameters = inspect.signature(cls.__init__).parameters
        for name, parameter in parameters.items():
            needed = name != "self" and parameter.default is inspect.Parameter.empty
            if needed and not isinstance(index.get(name), list):
                raise ValueError(f"{json_file} names no component {name}.")
        index["_class_name"] = cls.__name__
        for name, entry in index.items():
            if name.startswith("_") or isinstance(entry, (int, float)):
                continue
            is_pair = isinstance(entry, list) and len(entry) == 2
            if not is_pair or not all(each is None or str(each).isidentifier() for each in entry):
                raise ValueError(
                    f"{json_file} names the component {name} as {entry!r}; expected the name of a "
                    "library, or of a file in the component's folder, and the name of a class."
                )
        return index

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:
        """Load an index; see `ConfigMixin.load_config`.

        The package loads the components whose code it has with its own classes, so that it runs no
        code of the checkpoint and needs no `trust_remote_code`.
        """
        loaded = super().load_config(*args, **kwargs)
        if MODELS_PACKAGE is not None:
            index = loaded[0] if isinstance(loaded, tuple) else loaded
            for name, entry in index.items():
                if isinstance(entry, list) and entry[0] not in (None, *COMPONENT_LIBRARIES):
                    module = f"{MODELS_PACKAGE}.{entry[0]}"
                    if importlib.util.find_spec(module):
                        importlib.import_module(module)  # diffusers finds only what is imported
                        index[name] = [module, entry[1]]
        return loaded
