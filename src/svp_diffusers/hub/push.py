"""Pushing a folder: weights, code, styles, card, samples and figures, in one commit."""

import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import RepositoryNotFoundError
from pydantic import TypeAdapter, ValidationError

from svp_diffusers.checkpoints.json_files import is_lip_sync, read_model_index
from svp_diffusers.errors import CheckpointError, ConfigurationError
from svp_diffusers.hub.cards import CardDescription, Result, render_card
from svp_diffusers.hub.client import hub_errors
from svp_diffusers.hub.contents import check_contents, check_names, choose_parts, list_files
from svp_diffusers.media.documents import parse_json, parse_yaml
from svp_diffusers.pipelines.modular_svp import MODULAR_INDEX, describe_blocks
from svp_diffusers.pipelines.pipeline_lip_sync import LipSyncPipeline
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.pipelines.style_adapter_svp import read_adapter_config

VARIANTS = {"fp16": torch.float16, "bf16": torch.bfloat16}


def push_folder(
    folder: Path,
    repo_id: str,
    private: bool | None = None,
    variant: str | None = None,
    create_pr: bool = False,
    token: str | None = None,
) -> str:
    """Push the folder of a checkpoint, a LoRA, a style or a style adapter, in one commit.

    All that belongs to it is pushed (see `choose_parts`; a warning names what is left out), and
    weights of an earlier push that are not among it are deleted. A card in the folder is pushed; if
    there is none, one in the repository stays; if there is none either, one is rendered, from
    `card.yaml` and `evaluation.json` (see `describe_folder`).

    Nothing is created before all has been checked, and nothing changes in the repository before the
    commit: a push that is cut off can be repeated.

    Args:
        folder: with `model_index.json`, `pytorch_lora_weights.safetensors`, `style.safetensors` or
            `style_adapter.safetensors`.
        repo_id: "owner/name"; created if it does not exist.
        private: of a repository that is created. By default a LoRA and a style adapter are private,
            since they are of persons, and others are what the account's setting says.
        variant: "fp16" or "bf16" adds weights of that precision to a checkpoint.
        create_pr: propose the commit as a pull request.
        token: of the Hub; by default the one of `hf auth login`.

    Returns:
        The address of the commit or pull request.

    Raises:
        CheckpointError: if a file must not be pushed, or the Hub refuses it.
        ConfigurationError: for an unknown variant, or one of what is no checkpoint.
    """
    names = list_files(folder)
    kind = check_names(names, str(folder))
    names, others = choose_parts(folder, names)
    check_contents(folder, names)
    if others:
        shown = ", ".join(map(repr, others[:5])) + (", ..." if len(others) > 5 else "")
        warnings.warn(f"not pushed, as no part of a {kind}: {shown}", stacklevel=2)
    if variant is not None and (variant not in VARIANTS or kind != "checkpoint"):
        raise ConfigurationError(
            f"The variant {variant!r} of a {kind} is not known; {list(VARIANTS)} are, of a "
            "checkpoint."
        )
    if private is None and kind in ("lora", "style-adapter"):
        private = True
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as temporary:
        files = {name: folder / name for name in names}
        if variant is not None:
            files |= _save_variant(folder, variant, Path(temporary))
        with hub_errors(f"{folder} cannot be pushed to {repo_id}"):
            there = _list_there(api, repo_id)
            content: dict[str, Path | bytes] = dict(files)
            if "README.md" not in files and "README.md" not in there:
                card = render_card(describe_folder(folder, repo_id, kind))
                content["README.md"] = str(card).encode()
            repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            if MODULAR_INDEX in files:
                content[MODULAR_INDEX] = describe_blocks(repo_id)[MODULAR_INDEX].encode()
            added = [CommitOperationAdd(name, data) for name, data in sorted(content.items())]
            stale = [name for name in there if _is_weight(name) and name not in files]
            commit = api.create_commit(
                repo_id,
                [*added, *(CommitOperationDelete(name) for name in stale)],
                commit_message=f"Upload {kind}",
                create_pr=create_pr,
            )
    return str(commit.pr_url or commit.commit_url)


def _list_there(api: HfApi, repo_id: str) -> list[str]:
    try:
        siblings = api.model_info(repo_id).siblings or []  # asked once, also without a network
        return [sibling.rfilename for sibling in siblings]
    except RepositoryNotFoundError:
        return []


def describe_folder(folder: Path, repo_id: str, kind: str) -> CardDescription:
    """What the card of a folder says.

    `card.yaml`, if it is there, holds fields of `CardDescription`; `evaluation.json` a list of
    `Result`s. A style adapter knows its base model itself.

    Raises:
        CheckpointError: if a file is malformed or has an unknown field.
    """
    fields = _read(folder / "card.yaml") or {}
    results = _read(folder / "evaluation.json") or []
    if not isinstance(fields, dict) or not isinstance(results, list):
        raise CheckpointError(
            f"{folder}: card.yaml holds fields, evaluation.json a list of results"
        )
    if kind == "style-adapter":
        base_model = read_adapter_config(folder)["base_model"]
        limits = "it is for its base model alone, which refuses all others."
        fields = {"base_model": base_model, "limits": limits, **fields}
    wrong = f"card.yaml or evaluation.json in {folder} is not what a card holds"
    try:
        evaluation = [Result(**result) for result in results]
        description = CardDescription(repo_id, kind, **fields, evaluation=evaluation)
        TypeAdapter(CardDescription).validate_python(vars(description))
    except TypeError as error:
        raise CheckpointError(f"{wrong}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CheckpointError(f"{wrong}: {where}: {first['msg']}") from error
    if kind != "checkpoint" and description.base_model is None:
        raise CheckpointError(
            f"the card of a {kind} says which checkpoint it is for: write `base_model: OWNER/NAME` "
            f"into {folder / 'card.yaml'}"
        )
    return description


def _read(path: Path) -> Any:
    if not path.is_file():
        return None
    parse = parse_json if path.suffix == ".json" else parse_yaml
    try:
        return parse(path.read_bytes())
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def _save_variant(folder: Path, variant: str, temporary: Path) -> dict[str, Path]:
    kind: type[LipSyncPipeline | SVPTalkingHeadPipeline] = SVPTalkingHeadPipeline
    if is_lip_sync(read_model_index(folder)):
        kind = LipSyncPipeline
    pipeline = kind.from_pretrained(str(folder), dtype=VARIANTS[variant])
    pipeline.save_pretrained(temporary, variant=variant)
    return {name: temporary / name for name in list_files(temporary) if f".{variant}" in name}


def _is_weight(name: str) -> bool:
    return name.endswith(".safetensors") or ".safetensors.index" in name
