"""The rules by which the loopback Hub validates a card, after the Hub's documentation of them."""

import re
from typing import Any

import yaml

LICENSES = {"apache-2.0", "mit", "openrail", "creativeml-openrail-m", "cc-by-4.0", "cc-by-nc-4.0"}
PIPELINE_TAGS = {"image-to-video", "text-to-video", "video-to-video", "text-to-image"}
REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")


def find_card_errors(content: str) -> list[str]:
    """Say what is wrong with a card's metadata; an empty list is a valid card."""
    match = re.match(r"---\n(.*?)\n---\n", content, flags=re.DOTALL)
    if match is None:
        return ["the card has no metadata block"]
    try:
        metadata = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        return [f"the metadata is not YAML: {error}"]
    if not isinstance(metadata, dict):
        return ["the metadata must be a mapping"]
    return [*_find_field_errors(metadata), *_find_index_errors(metadata.get("model-index", []))]


def _find_field_errors(metadata: dict[str, Any]) -> list[str]:
    errors = []
    known = metadata.get("license", "apache-2.0")
    if known != "other" and known not in LICENSES:
        errors.append(f'"license" must be one of {sorted(LICENSES)} or other')
    if known == "other" and not (metadata.get("license_name") and metadata.get("license_link")):
        errors.append('"license: other" needs "license_name" and "license_link"')
    if metadata.get("pipeline_tag", "image-to-video") not in PIPELINE_TAGS:
        errors.append('"pipeline_tag" is not known')
    for key in ("base_model", "datasets"):
        values = metadata.get(key, [])
        for value in [values] if isinstance(values, str) else values:
            if not REPO_ID.fullmatch(value):
                errors.append(f'"{key}" must be ids of repositories, got {value}')
    if not all(isinstance(tag, str) for tag in metadata.get("tags", [])):
        errors.append('"tags" must be strings')
    return errors


def _find_index_errors(model_index: list[dict[str, Any]]) -> list[str]:
    errors = []
    for model in model_index:
        if not model.get("name"):
            errors.append('"model-index[].name" is required')
        for result in model.get("results", []):
            if not result.get("task", {}).get("type"):
                errors.append('"model-index[].results[].task.type" is required')
            dataset = result.get("dataset", {})
            if not (dataset.get("type") and dataset.get("name")):
                errors.append('"model-index[].results[].dataset" needs a type and a name')
            for metric in result.get("metrics", []):
                if not metric.get("type") or "value" not in metric:
                    errors.append('"model-index[].results[].metrics[]" needs a type and a value')
    return errors
