"""The cards of converted checkpoints: what they are made of, and what was never trained."""

from dataclasses import replace

from svp_diffusers.hub.cards import CardDescription, render_card

USE_RESTRICTIONS = (
    "the use restrictions of CreativeML OpenRAIL-M (its Attachment A) travel with weights that "
    "grew out of Stable Diffusion 1.5: among others, not to defame, harass or deceive people, not "
    "to exploit minors, not to break the law"
)
_UNTRAINED = (
    "The style attention and the style encoder are new and untrained: until they are trained, "
    "style changes nothing."
)
_NEVER_SEEN = "The conversion is proven by numbers on small networks of the same code."

CONVERTED = {
    "echomimic": CardDescription(
        "local/echomimic",
        limits=f"converted from EchoMimic v1, and not trained any further. {_UNTRAINED}",
        base_model="BadToBest/EchoMimic",
        license="other",
        license_name="apache-2.0-with-openrail-m-use-restrictions",
        license_link="https://huggingface.co/BadToBest/EchoMimic/blob/main/LICENSE",
        licenses={
            "unet, reference_unet, head_guider (EchoMimic)": "Apache-2.0; its README adds academic "
            f"research; {USE_RESTRICTIONS}",
            "audio_encoder (Whisper tiny)": "MIT",
            "vae (sd-vae-ft-mse)": "MIT",
            "style_encoder": "untrained",
        },
        training="by EchoMimic's authors (arXiv 2407.08136); `svp convert echomimic` only renamed "
        f"the weights. {_NEVER_SEEN}",
        bias="EchoMimic's authors trained on HDTF, CelebV-HQ and clips of their own. It works less "
        "well for people and languages that these lack.",
    ),
    "animate-anyone": CardDescription(
        "local/animate-anyone",
        limits="converted from Moore-AnimateAnyone, and not trained any further. It is driven by "
        "pictures of poses (DWPose's drawings), one a frame in the portrait's framing, which you "
        "bring: `head_keypoints` of a call, `svp generate --pose-video`. It hears nothing: speech "
        "is only the sound of the video, and lips move as the pictures say. "
        f"{_UNTRAINED}",
        base_model="patrolli/AnimateAnyone",
        license="other",
        license_name="apache-2.0-with-openrail-m-use-restrictions",
        license_link="https://huggingface.co/patrolli/AnimateAnyone",
        licenses={
            "unet, reference_unet, head_guider (Moore-AnimateAnyone)": "Apache-2.0, as its page "
            f"says; {USE_RESTRICTIONS}",
            "image_encoder (CLIP, of sd-image-variations-diffusers)": "CreativeML OpenRAIL-M",
            "audio_encoder (wav2vec 2.0)": "Apache-2.0",
            "vae (sd-vae-ft-mse)": "MIT",
            "audio_projector, style_encoder": "untrained",
        },
        training="by Moore Threads; `svp convert animate-anyone` only renamed the weights. "
        f"{_NEVER_SEEN}",
        bias="Nothing is known here of whom its training data shows.",
    ),
    "latentsync": CardDescription(
        "local/latentsync",
        kind="lip-sync",
        limits="converted from LatentSync, and not trained any further. It is given a video of a "
        "person, not a portrait, and paints the lower face anew: `svp lip-sync`. What it paints "
        "is bounded by a mask of our own shape, and faces are aligned by our own landmarks: "
        "LatentSync's mask picture and landmarks are not in its checkpoint, and masks other than "
        "the one of its training may cost quality. It has no speaking style.",
        base_model="ByteDance/LatentSync-1.6",
        license="other",
        license_name="openrail++",
        license_link="https://huggingface.co/ByteDance/LatentSync-1.6",
        licenses={
            "unet (LatentSync)": f"openrail++; {USE_RESTRICTIONS}",
            "audio_encoder (Whisper tiny)": "MIT",
            "vae (sd-vae-ft-mse)": "MIT",
            "style attention of the unet": "untrained, and never used",
        },
        training="by LatentSync's authors (arXiv 2412.09262); `svp convert latentsync` only "
        f"renamed the weights. {_NEVER_SEEN}",
        bias="LatentSync's authors trained on VoxCeleb2 and HDTF. It works less well for people "
        "and languages that these lack.",
    ),
    "aniportrait": CardDescription(
        "local/aniportrait",
        limits="a start for training, and no talking head yet: AniPortrait's UNets hear nothing, "
        "and head guider and audio projector are new and untrained. Until `svp train image` and "
        "`svp train video` have trained it, its videos are of no use. "
        f"{_UNTRAINED}",
        base_model="ZJYang/AniPortrait",
        license="other",
        license_name="apache-2.0-with-openrail-m-use-restrictions",
        license_link="https://huggingface.co/ZJYang/AniPortrait",
        licenses={
            "unet, reference_unet (AniPortrait)": f"Apache-2.0; {USE_RESTRICTIONS}",
            "audio_encoder (wav2vec 2.0)": "Apache-2.0",
            "vae (sd-vae-ft-mse)": "MIT",
            "head_guider, audio_projector, style_encoder": "untrained",
        },
        training="by AniPortrait's authors (arXiv 2403.17694); `svp convert aniportrait` only "
        "renamed the weights of the UNets. Its face mesh guider and its own audio model, which "
        "drives that mesh, are left out. "
        f"{_NEVER_SEEN}",
        bias="AniPortrait's authors trained on VFHQ and CelebV-HQ: interviews and celebrities. It "
        "works less well for people that these lack.",
    ),
    "v-express": CardDescription(
        "local/v-express",
        limits=f"converted from V-Express, and not trained any further. {_UNTRAINED}",
        base_model="tk93/V-Express",
        license="other",
        license_name="v-express-research-only",
        license_link="https://huggingface.co/tk93/V-Express",
        licenses={
            "unet, reference_unet, head_guider, audio_projector (V-Express)": "its own, for "
            f"research only; {USE_RESTRICTIONS}",
            "audio_encoder (wav2vec 2.0)": "Apache-2.0",
            "vae (sd-vae-ft-mse)": "MIT",
            "style_encoder": "untrained",
        },
        training="by V-Express's authors (arXiv 2406.02511); `svp convert v-express` only renamed "
        f"the weights. {_NEVER_SEEN}",
        bias="Nothing is known here of whom its training data shows.",
    ),
    "hallo": CardDescription(
        "local/hallo",
        limits="converted from Hallo (or Hallo2), and not trained any further. "
        "Without a face embedding (`face_embedding`, of a non-commercial net that is not in here) "
        "the net is told of nobody's face, which it saw in a share of its training: expect the "
        "person of the portrait to be met less well. The lips' place is estimated from the "
        f"face's. {_UNTRAINED}",
        base_model="fudan-generative-ai/hallo",
        license="other",
        license_name="mit-with-openrail-m-use-restrictions",
        license_link="https://huggingface.co/fudan-generative-ai/hallo",
        licenses={
            "unet, reference_unet, head_guider, face_projector, audio_projector (Hallo)": "MIT; "
            f"{USE_RESTRICTIONS}",
            "audio_encoder (wav2vec 2.0 base, 960 h)": "Apache-2.0",
            "vae (sd-vae-ft-mse)": "MIT",
            "style_encoder": "untrained",
        },
        training="by Hallo's authors (arXiv 2406.08801); `svp convert hallo` only renamed the "
        f"weights. {_NEVER_SEEN}",
        bias="Hallo's authors trained on HDTF and clips from the internet. It works less well for "
        "people and languages that these lack.",
    ),
}


def render_converted_card(family: str, name: str, source: str) -> str:
    """Render the card of a converted checkpoint.

    Args:
        family: a name of `CONVERTED`.
        name: of the checkpoint.
        source: where its files came from.
    """
    description = CONVERTED[family]
    training = f"{description.training} Files: {source}."
    return str(render_card(replace(description, repo_id=f"local/{name}", training=training)))
