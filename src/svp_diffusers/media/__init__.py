"""Bytes in, arrays out: audio, video, faces and head keypoints."""
