"""Kill trainings with `kill -9` at random moments, resume them, and compare.

Each run is a small multi-scale training with a curriculum by tools/train.py. It is
hit once or more by one fault of --modes (one: a rank is killed at a random iteration;
all: all ranks are; save: rank 0 is killed while it saves a checkpoint; time: all ranks
are killed at a random time; disk: rank 0's disk is full; stop: a rank hangs), then
resumed with --resume until it is done. Every checkpoint on the disk is read after every
fault, and the weights at the end are compared bit by bit with those of a run that
nobody has disturbed.

    python tools/benchmarks/kill_and_resume.py --ranks 2 --runs 20
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import importlib
import io
import json
import math
import os
import os.path as osp
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from typing import Any, Dict, List, Optional

# The checkout that this file lies in, installed or not.
sys.path.insert(0, osp.dirname(osp.abspath(__file__)))
sys.path.insert(0, osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__)))))

import torch

from mms_plugin import cli
from mms_plugin.checkpoints.find_checkpoint import (
    UnreadableCheckpointError,
    checkpoint_progress,
    latest_checkpoint,
)
from mms_plugin.commands import train
from mms_plugin.utils.files import write_atomically
from mms_plugin.utils.tables import markdown_table
from tools.smoke import smoke_arguments

HERE = osp.dirname(osp.abspath(__file__))
ROOT = osp.dirname(osp.dirname(HERE))
WHAT = dict(
    one="`kill -9` of one rank, at a random iteration",
    all="`kill -9` of all ranks, at a random iteration",
    save="`kill -9` of rank 0, while it saves a checkpoint",
    time="`kill -9` of all ranks, at a random time",
    disk="rank 0's disk is full, at a random checkpoint",
    stop="one rank hangs, from a random iteration on",
)
# Of the process group, in seconds: for a rank that hangs.
TIMEOUT = 20
CONFIG = """
custom_imports = dict(
    imports=['mms_plugin', 'killed_training'], allow_failed_imports=False)
default_scope = 'mmengine'
model = dict(type='KilledModel')
train_dataloader = dict(
    batch_size=4, num_workers={workers},
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(
        type='MultiScaleVariableBatchSampler', base_size=24, sizes=[16, 24, 32]),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='MultiScaleDataset', dataset=dict(type='KilledDataset', num={images})))
custom_hooks = [dict(
    type='ResolutionCurriculumHook', start_sizes=[16], by_epoch={by_epoch})] + {kill!r}
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9))
param_scheduler = dict(
    type='CosineAnnealingLR', T_max={epochs}, convert_to_iter_based=True)
train_cfg = dict(by_epoch=True, max_epochs={epochs})
find_unused_parameters = {find_unused}
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(
        type='CheckpointHook', interval={interval}, by_epoch={by_epoch},
        max_keep_ckpts=2))
randomness = dict(seed=0, deterministic=True)
env_cfg = dict(dist_cfg=dict(backend='gloo', timeout={timeout}))
"""


class Training:
    """One work dir, and the processes that train in it.

    Args:
        work_dir: The work dir.
        args: The command's arguments.
    """

    def __init__(self, work_dir: str, args: argparse.Namespace) -> None:
        self.work_dir, self.args = work_dir, args
        self.note = osp.join(work_dir, "killed")
        self.starts = 0
        os.makedirs(work_dir)

    def start(
        self, kill: Optional[Dict[str, Any]], resume: bool, fork: bool = False
    ) -> List[int]:
        """Start the ranks; process ids, of the launcher alone with --torchrun."""
        self.starts += 1
        config = osp.join(self.work_dir, "killed_training.py")
        hooks = [] if kill is None else [dict(type="KillHook", note=self.note, **kill)]
        with open(config, "w") as stream:
            stream.write(
                CONFIG.format(
                    kill=hooks,
                    workers=self.args.workers,
                    images=self.args.images,
                    epochs=self.args.epochs,
                    by_epoch=self.args.by_iteration is None,
                    interval=self.args.by_iteration or 1,
                    timeout=TIMEOUT,
                    find_unused=not self.args.rebuild_buckets,
                )
            )
        argv = [config, "--work-dir", osp.join(self.work_dir, "run")]
        argv += ["--resume"] if resume else []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        if self.args.torchrun and not fork:
            return [self._torchrun(argv, port)]
        return [self._fork(rank, argv, port) for rank in range(self.args.ranks)]

    def log(self, rank: int) -> str:
        """Return the path of a rank's log."""
        return osp.join(self.work_dir, f"start{self.starts}_rank{rank}.log")

    def _torchrun(self, argv: List[str], port: str) -> int:
        script = osp.join(ROOT, "tools", "dist_train.sh")
        command = ["bash", script, argv[0], str(self.args.ranks), *argv[1:]]
        paths = [ROOT, HERE, os.environ.get("PYTHONPATH", "")]
        environment = dict(
            os.environ,
            PORT=port,
            PYTHON=sys.executable,
            OMP_NUM_THREADS="1",
            PYTHONPATH=os.pathsep.join(filter(None, paths)),
        )
        with open(self.log(0), "w") as stream:
            process = subprocess.Popen(
                command,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        return process.pid

    def _fork(self, rank: int, argv: List[str], port: str) -> int:
        """Start a rank as a launcher does, without the time of the imports."""
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            os.setsid()
            output = os.open(self.log(rank), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            if self.args.ranks > 1:
                os.environ.update(
                    RANK=str(rank),
                    LOCAL_RANK=str(rank),
                    WORLD_SIZE=str(self.args.ranks),
                    MASTER_ADDR="127.0.0.1",
                    MASTER_PORT=port,
                )
                argv = [*argv, "--launcher", "pytorch"]
            sys.argv = ["train.py", *argv]
            cli.run_command(train.main)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def wait(
        self,
        pids: List[int],
        kill_after: Optional[float] = None,
        stopped: Optional[int] = None,
    ) -> List[int]:
        """Exit codes, -9 of what was killed.

        Args:
            pids: Of :meth:`start`.
            kill_after: All are killed after so many seconds.
            stopped: The rank that hangs; killed when all others have ended.

        Raises:
            RuntimeError: A rank has not ended in time.
        """
        begun = time.time()
        codes: Dict[int, int] = {}
        while len(codes) < len(pids):
            for pid in set(pids) - codes.keys():
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    signalled = os.WIFSIGNALED(status)
                    codes[pid] = (
                        -os.WTERMSIG(status) if signalled else os.WEXITSTATUS(status)
                    )
            passed = time.time() - begun
            if kill_after is not None and passed > kill_after:
                _kill(set(pids) - codes.keys())
                kill_after = None
            left = set(pids) - codes.keys()
            if stopped is not None and left == {pids[stopped]} and len(pids) > 1:
                _kill(left)
            if passed > 180 + TIMEOUT:
                _kill(set(pids) - codes.keys())
                raise RuntimeError(f"not ended in {passed:.0f} s: see {self.log(0)}")
            time.sleep(0.01)
        return [codes[pid] for pid in pids]

    def files(self) -> Dict[str, Any]:
        """Return what is on the disk: checkpoints that are whole and not, leftovers."""
        run = osp.join(self.work_dir, "run")
        broken, whole = [], []
        for path in sorted(glob.glob(osp.join(run, "*.pth"))):
            try:
                checkpoint_progress(path)
                torch.load(path, map_location="cpu")
                whole.append(osp.basename(path))
            except (UnreadableCheckpointError, RuntimeError) as error:
                broken.append(f"{path}: {error}")
        latest = latest_checkpoint(run)
        if latest.passed_over:
            broken.append(str(latest.passed_over))
        saved = checkpoint_progress(latest.path)[0] if latest.path else 0
        parts = glob.glob(osp.join(glob.escape(run), ".*.part"))
        return dict(whole=whole, broken=broken, saved=saved, parts=len(parts))

    def weights(self) -> Dict[str, torch.Tensor]:
        """Return the weights of the latest checkpoint."""
        latest = latest_checkpoint(osp.join(self.work_dir, "run"))
        return torch.load(str(latest.path), map_location="cpu")["state_dict"]

    def iterations(self) -> int:
        """Return the iterations done by the latest checkpoint."""
        latest = latest_checkpoint(osp.join(self.work_dir, "run"))
        return checkpoint_progress(str(latest.path))[0]


def _kill(pids: Any) -> None:
    for pid in pids:
        for each in _family(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)


def _family(pid: int) -> List[int]:
    """Return a process and all below it, itself first."""
    found = [pid]
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children") as file:
        for child in file.read().split():
            found += _family(int(child))
    return found


def seconds_of_save(folder: str, weights: Dict[str, torch.Tensor]) -> float:
    """Return how long these weights take to be saved, the median of five times."""
    taken = []
    for _ in range(5):
        begun = time.perf_counter()
        buffer = io.BytesIO()
        torch.save(weights, buffer)
        write_atomically(buffer.getvalue(), osp.join(folder, "timed.pth"))
        taken.append(time.perf_counter() - begun)
    os.remove(osp.join(folder, "timed.pth"))
    return statistics.median(taken)


def choose_kill(
    mode: str, rng: random.Random, args: argparse.Namespace, whole: Dict[str, float]
) -> Optional[Dict[str, Any]]:
    """Arguments of ``KillHook``; ``None``: killed from outside."""
    iteration = rng.randrange(int(whole["iterations"]))
    if mode == "one":
        return dict(ranks=[rng.randrange(args.ranks)], iteration=iteration)
    if mode == "all":
        return dict(ranks=list(range(args.ranks)), iteration=iteration)
    if mode == "save":
        delay = rng.uniform(0, whole["seconds_of_save"])
        # Not the last one: the training might be over before the kill.
        save = rng.randrange(int(whole["saves"]) - 1)
        return dict(ranks=[0], save=save, delay=delay)
    if mode == "disk":
        return dict(ranks=[0], save=rng.randrange(int(whole["saves"])), by="disk")
    if mode == "stop":
        ranks = [rng.randrange(args.ranks)]
        return dict(ranks=ranks, iteration=iteration, by="SIGSTOP")
    return None


def run_one(
    seed: int, folder: str, args: argparse.Namespace, whole: Dict[str, Any]
) -> Dict[str, Any]:
    """Kill a training, resume it, and say what was found."""
    rng = random.Random(seed)
    mode = args.modes[seed % len(args.modes)]
    training = Training(osp.join(folder, f"seed{seed}"), args)
    result: Dict[str, Any] = dict(seed=seed, mode=mode, kills=0, lost=0, parts=0)
    result.update(broken=[], seconds_to_end=0.0, told=True)
    for _ in range(rng.randint(1, args.kills)):
        kill = choose_kill(mode, rng, args, whole)
        if osp.exists(training.note):
            os.remove(training.note)
        pids = training.start(kill, resume=True)
        wait = None if kill else rng.uniform(0, whole["seconds"])
        stopped = kill["ranks"][0] if kill and mode == "stop" else None
        codes = training.wait(pids, wait, stopped)
        files = training.files()
        result["broken"] += files["broken"]
        result["parts"] += files["parts"]
        if not any(codes):  # it had passed that moment already
            continue
        result["kills"] += 1
        if osp.exists(training.note):
            with open(training.note) as stream:
                moment, iteration = map(float, stream.read().split())
            result["seconds_to_end"] = max(
                result["seconds_to_end"], time.time() - moment
            )
            result["lost"] = max(result["lost"], int(iteration) - files["saved"])
            result["told"] &= told(mode, training, codes)
    codes = training.wait(training.start(None, resume=True))
    files = training.files()
    result["broken"] += files["broken"]
    result["parts_left"] = files["parts"]
    result["done"] = not any(codes)
    weights = training.weights() if result["done"] else {}
    result["difference"] = max(
        float((value.double() - weights[key].double()).abs().max())
        if key in weights
        else math.inf
        for key, value in whole["weights"].items()
    )
    result["equal"] = result["difference"] == 0
    if result["equal"] and result["told"] and not result["broken"]:
        shutil.rmtree(training.work_dir)
    return result


def told(mode: str, training: Training, codes: List[int]) -> bool:
    """Return whether each rank that was not killed has said why it ended."""
    if training.args.torchrun:
        with open(training.log(0)) as stream:
            text = stream.read()
        reasons = dict(disk="cannot be written", stop="another rank has ended")
        return reasons.get(mode, "Signal 9 (SIGKILL)") in text
    said = []
    for rank, code in enumerate(codes):
        if code == -signal.SIGKILL:
            continue
        with open(training.log(rank)) as stream:
            last = stream.read().strip().splitlines()[-1]
        sought = "another rank has ended"
        if mode == "disk":
            sought = "cannot be written" if rank == 0 else "rank 0 could not save"
        said.append(code == 1 and sought in last)
    return all(said)


def summarize(results: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Summarize the results by fault."""
    rows = []
    for mode in WHAT:
        runs = [result for result in results if result["mode"] == mode]
        if not runs:
            continue
        rows.append(
            dict(
                what=WHAT[mode],
                runs=len(runs),
                kills=sum(run["kills"] for run in runs),
                broken=sum(len(run["broken"]) for run in runs),
                parts=sum(run["parts"] for run in runs),
                parts_left=sum(run["parts_left"] for run in runs),
                lost=max(run["lost"] for run in runs),
                seconds_to_end=max(run["seconds_to_end"] for run in runs),
                told=all(run["told"] for run in runs),
                done=sum(run["done"] for run in runs),
                equal=sum(run["equal"] for run in runs),
                difference=max(run["difference"] for run in runs),
            )
        )
    return rows


def to_table(rows: List[Dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    cells = [
        [
            "fault",
            "runs",
            "faults",
            "broken checkpoints",
            "half files beside, then / at the end",
            "iterations lost, at most",
            "others ended within",
            "resumed to the end",
            "weights equal",
            "largest difference",
        ]
    ]
    for row in rows:
        ended = f"{row['seconds_to_end']:.1f} s" if row["seconds_to_end"] else "-"
        parts = f"{row['parts']} / {row['parts_left']}"
        cells.append([row["what"], *(f"{row[k]}" for k in ("runs", "kills", "broken"))])
        cells[-1] += [parts, f"{row['lost'] or '-'}", ended]
        cells[-1] += [f"{row['done']}", f"{row['equal']}", f"{row['difference']:.1g}"]
    return markdown_table(cells)


def parse_args(argv: List[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    number = cli.whole_number
    parser.add_argument("--runs", type=number(1), default=20, help="one seed each")
    parser.add_argument("--first-seed", type=number(0), default=0)
    parser.add_argument("--ranks", type=number(1), default=2)
    parser.add_argument(
        "--kills", type=number(1), default=3, help="1 to this many a run, at random"
    )
    parser.add_argument(
        "--by-iteration",
        type=number(1),
        metavar="N",
        help="a checkpoint every N iterations, and a curriculum that grows within the "
        "epoch (default: both by epoch)",
    )
    parser.add_argument("--epochs", type=number(2), default=3)
    parser.add_argument("--images", type=number(8), default=100)
    parser.add_argument("--workers", type=number(0), default=0, help="of each rank")
    parser.add_argument(
        "--modes", nargs="+", choices=list(WHAT), default=list(WHAT), help="in turn"
    )
    parser.add_argument(
        "--torchrun", action="store_true", help="start with tools/dist_train.sh"
    )
    parser.add_argument(
        "--rebuild-buckets",
        action="store_true",
        help="let DDP sort its buckets anew after a start's first iteration, as it "
        "does by default: sums over three and more ranks then differ in their last "
        "bits between a run and a resumed one",
    )
    parser.add_argument("--keep", metavar="FOLDER", help="keep failed runs there")
    parser.add_argument("--json", action="store_true", help="print only JSON")
    return parser.parse_args(
        smoke_arguments(
            parser,
            argv,
            lambda _: [
                "--runs",
                "2",
                "--kills",
                "1",
                "--images",
                "24",
                "--modes",
                "one",
                "save",
            ],
        )
    )


def _import_ahead() -> None:
    """Return what each start would import anew, some seconds each: ranks are forked."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    with contextlib.suppress(ImportError):
        importlib.import_module("matplotlib.pyplot")


def main(argv: List[str]) -> None:
    """Run the command."""
    args = parse_args(argv)
    _import_ahead()
    folder = args.keep or tempfile.mkdtemp(prefix="kill_and_resume_")
    os.makedirs(folder, exist_ok=True)
    with cli.json_on_stdout(args.json) as emit:
        reference = Training(tempfile.mkdtemp(dir=folder) + "/whole", args)
        begun = time.time()
        # Forked, with --torchrun, too: the same weights are expected of both.
        if any(reference.wait(reference.start(None, resume=False, fork=True))):
            raise cli.RunError(f"the undisturbed run fails: see {reference.log(0)}")
        whole = dict(
            seconds=time.time() - begun,
            # Half as long again: some kills come just after it.
            seconds_of_save=1.5 * seconds_of_save(folder, reference.weights()),
            iterations=reference.iterations(),
            saves=max(
                2,
                reference.iterations() // args.by_iteration
                if args.by_iteration
                else args.epochs,
            ),
            weights=reference.weights(),
        )
        results = []
        for seed in range(args.first_seed, args.first_seed + args.runs):
            results.append(run_one(seed, folder, args, whole))
            print(json.dumps(results[-1]), file=sys.stderr, flush=True)
        rows = summarize(results)
        emit(dict(ranks=args.ranks, rows=rows, runs=results))
    if not args.json:
        print(f"{args.ranks} ranks, {whole['iterations']} iterations\n")
        print(to_table(rows))
    largest = 1e-5 if args.rebuild_buckets else 0
    failed = [
        result["seed"]
        for result in results
        if result["broken"] or not result["done"] or result["difference"] > largest
    ]
    untold = [result["seed"] for result in results if not result["told"]]
    if failed or untold:
        raise cli.RunError(
            f"seeds {failed} did not end as they should, seeds {untold} gave no "
            f"message; their logs are in {folder}"
        )
    if not args.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    cli.run_command(main)
