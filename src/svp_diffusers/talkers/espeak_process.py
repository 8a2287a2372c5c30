"""One utterance by espeak-ng, in a process of its own: a script that `speech.py` runs.

espeak-ng keeps state between utterances that nothing resets (the phase of its flutter, its
noise), so only a fresh process says the same sentence with the same bytes twice. It is also GPL,
so it stays out of the process of the package. Only the standard library is used: the script
starts in 20 ms.

Standard input: a JSON object with `library`, `data`, `voice`, `rate`, `pitch`, `pitch_range` and
`text`. Standard output: one line of JSON
`{"sampling_rate": ..., "phonemes": [[sample, "ipa"], ...]}`, then signed 16-bit samples, native
byte order.
"""

import ctypes
import json
import sys

_SYNCHRONOUS = 2
_PHONEME_EVENTS_IN_IPA = 1 | 2
_UTF8 = 1
_RATE, _PITCH, _PITCH_RANGE = 1, 3, 4
_END_OF_EVENTS, _PHONEME = 0, 7


class _Identifier(ctypes.Union):
    _fields_ = (
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identifier),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


def main() -> None:
    """Read the request, speak, write the answer."""
    request = json.load(sys.stdin)
    library = ctypes.CDLL(request["library"])
    data = request["data"].encode()
    sampling_rate = library.espeak_Initialize(_SYNCHRONOUS, 200, data, _PHONEME_EVENTS_IN_IPA)
    library.espeak_ng_SetRandSeed(ctypes.c_long(0))
    samples = bytearray()
    phonemes: list[tuple[int, str]] = []

    def collect(waveform, length, events):  # type: ignore[no-untyped-def]
        if length > 0:
            samples.extend(ctypes.string_at(waveform, 2 * length))
        index = 0
        while events[index].type != _END_OF_EVENTS:
            if events[index].type == _PHONEME:
                phonemes.append((events[index].sample, events[index].id.string.decode()))
            index += 1
        return 0

    callback = _Callback(collect)
    library.espeak_SetSynthCallback(callback)
    library.espeak_SetVoiceByName(request["voice"].encode())
    for parameter, name in ((_RATE, "rate"), (_PITCH, "pitch"), (_PITCH_RANGE, "pitch_range")):
        library.espeak_SetParameter(parameter, request[name], 0)
    text = request["text"].encode() + b"\0"
    library.espeak_Synth(text, len(text), 0, 1, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    header = json.dumps({"sampling_rate": sampling_rate, "phonemes": phonemes})
    sys.stdout.buffer.write(header.encode() + b"\n" + bytes(samples))


if __name__ == "__main__":
    main()
