"""What going offline does to the libraries that it is meant for, each time in a process of its own."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.huggingface_files import write_directory, write_json

pytestmark = pytest.mark.slow
START = """
import sys
from pathlib import Path
from appliance.convert.offline import caches_in, go_offline
go_offline()
with caches_in(Path(sys.argv[1])):
    import transformers, optimum.exporters.onnx
"""


def run(code: str, scratch: Path, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", START + textwrap.indent(textwrap.dedent(code), "    "), str(scratch)],
        env={**os.environ, "HOME": str(home), "HF_TOKEN": "secret", "HF_HUB_OFFLINE": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_transformers_asks_no_hub_and_writes_nothing_at_home(tmp_path: Path) -> None:
    scratch, home = tmp_path / "scratch", tmp_path / "home"
    home.mkdir()

    found = run("transformers.AutoModel.from_pretrained('google/vit-base-patch16-224')", scratch, home)

    assert found.returncode == 1
    assert "offline mode" in found.stderr
    assert list(home.rglob("*")) == []


def test_a_model_saved_and_read_again_stays_in_its_directory(tmp_path: Path) -> None:
    scratch, home = tmp_path / "scratch", tmp_path / "home"
    home.mkdir()
    code = f"""
    from appliance.convert.sources.huggingface_source import read_huggingface_source
    from appliance.convert.sources.weights import check_weights
    sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=50)
    model = transformers.BertForSequenceClassification(transformers.BertConfig(**sizes))
    model.save_pretrained({str(tmp_path / "model")!r}, max_shard_size="20KB")
    source = read_huggingface_source({str(tmp_path / "model")!r}, None, allow_pickle=False)
    transformers.AutoModelForSequenceClassification.from_pretrained(source.directory, local_files_only=True)
    trained = sum(tensor.numel() for tensor in model.state_dict().values())
    assert check_weights(source.weights).parameters == trained, "a tensor was overlooked"
    print(len(source.weights) > 1, source.task.value)
    """

    found = run(code, scratch, home)

    assert (found.returncode, found.stdout) == (0, "True text-classification\n"), found.stderr
    assert list(home.rglob("*")) == []


def test_transformers_would_follow_other_weights_out_of_the_directory(tmp_path: Path) -> None:
    """Why config.json is refused if it names them: should this fail one day, the rule may go."""
    model = write_directory(
        tmp_path / "model", architectures=["BertModel"], transformers_weights="../out.safetensors"
    )
    write_json(tmp_path / "out.safetensors", {})
    (model / "model.safetensors").unlink()

    found = run(f"transformers.AutoModel.from_pretrained({str(model)!r})", tmp_path / "scratch", tmp_path)

    assert found.returncode == 1
    assert "SafetensorError" in found.stderr  # it opened the file outside
