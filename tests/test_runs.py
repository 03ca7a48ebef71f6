import json
import subprocess
import sys

import pytest

from ich.cli import run_command
from ich.files import write_json

HISTORY = "stage,phase,epoch,val_loss,val_auc,images_per_s\n"


@pytest.fixture
def workspace(tmp_path):
    """Six runs made by hand, one of each state."""
    root = tmp_path / "workspace"

    def run(name, history=HISTORY, **files):
        folder = root / "runs" / name
        write_json(folder / "config.json", {"train": {"model": "cascade"}})
        (folder / "history.csv").write_text(history)
        for file, content in files.items():
            write_json(folder / f"{file.replace('__', '/')}.json", content)

    done = HISTORY + "gate,warm-up,1,0.5,0.7,100\ngate,warm-up,2,0.4,0.8,300\ngate,fine-tune,3,0.45,,200\n"
    auroc = {"splits": {"test": {"levels": {"slice": {"figures": {"any": {"auroc": {"value": 0.912}}}}}}}}
    run("a_done", done + "subtypes,warm-up,1,0.3,0.6,50\n", report__metrics=auroc)
    run("b_replaced", done)
    at = {"stage": "gate", "epoch": 3, "history": [{"phase": "warm-up"}, {"phase": "fine-tune"}]}
    run("c_begun", done, checkpoints__2={"progress": at | {"epoch": 2}}, checkpoints__3={"progress": at})
    run("d_between", done, finished_stages={"stages": {"gate": {}}})
    run("e_stopped", done, not_finite={"stage": "gate", "phase": "fine-tune", "epoch": 4})
    run("f_new")
    (root / "runs" / "f_new" / "config.json").write_bytes(b"{damaged")
    write_json(root / "models" / "cascade_final.json", {"training": {"run": "a_done"}})
    return root


def test_runs_are_told_from_their_files(workspace, config_file, capfd):
    assert run_command(["runs", "-c", str(config_file()), "--json"]) == 0
    runs = {run["name"]: run for run in json.loads(capfd.readouterr().out)}
    assert {name: run["state"] for name, run in runs.items()} == {
        "a_done": "finished",
        "b_replaced": "finished; its model was replaced or moved",
        "c_begun": "in progress: gate, fine-tune, epoch 3 done",
        "d_between": "in progress: gate finished",
        "e_stopped": "stopped on a non-finite loss: gate, fine-tune, epoch 4",
        "f_new": "no epoch finished",
    }
    assert runs["a_done"]["stages"] == [
        {"stage": "gate", "epochs": 3, "val_loss": 0.4, "val_auc": 0.8, "images_per_s": 200},
        {"stage": "subtypes", "epochs": 1, "val_loss": 0.3, "val_auc": 0.6, "images_per_s": 50},
    ]
    assert (runs["a_done"]["test_auroc_any"], runs["b_replaced"]["test_auroc_any"]) == (0.912, None)
    assert (runs["f_new"]["model"], runs["f_new"]["time"], runs["a_done"]["model"]) == (None, None, "cascade")


def test_runs_for_people(workspace, config_file, tmp_path, capfd):
    assert run_command(["runs", "-c", str(config_file())]) == 0
    told = capfd.readouterr().out
    assert "a_done (cascade, " in told
    assert "finished, test AUROC of any 0.912" in told
    assert "gate: epochs 3, best validation loss 0.4000 (AUC 0.800), 200 images/s" in told
    assert run_command(["runs", "-c", str(config_file()), "--workspace", str(tmp_path / "none")]) == 0
    assert "no runs in" in capfd.readouterr().out


def test_runs_needs_no_keras(workspace, config_file):
    code = (
        "import sys; from ich.cli import run_command; assert run_command(sys.argv[1:]) == 0\n"
        "assert not {'keras', 'jax'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, "runs", "-c", str(config_file())]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
