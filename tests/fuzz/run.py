"""Fuzzes one parser with libFuzzer (atheris), or replays all that was found.

    run.py TARGET SECONDS
    run.py --replay
    run.py --names

From the project's root, as `make fuzz` does. What is found stays in build/fuzz/TARGET; an input that fails is
written to build/fuzz/TARGET.fail-* and ends the run with its traceback.
"""

import contextlib
import io
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOUND = ROOT / "build" / "fuzz"
CORPUS = Path(__file__).parent / "corpus"
sys.path.insert(0, str(ROOT / "tests"))


def dictionary(words: tuple[bytes, ...], path: Path) -> list[str]:
    """The words as libFuzzer reads them."""
    lines = ["".join(f"\\x{byte:02x}" for byte in word) for word in words if len(word) < 60]
    path.write_text("".join(f'"{line}"\n' for line in lines))
    return [f"-dict={path}"] if lines else []


def fuzz(name: str, seconds: int) -> None:
    import atheris

    FOUND.mkdir(parents=True, exist_ok=True)
    log = (FOUND / f"{name}.log").open("w")
    os.dup2(log.fileno(), 2)  # atheris and libFuzzer are talkative
    with atheris.instrument_imports(include=["wgpy", "rosenpass", "json", "tomllib", "ipaddress"]):
        from support.fuzz_targets import TARGETS
    target = TARGETS[name]
    found, seeds = FOUND / name, FOUND / f"{name}.seeds"
    for directory in (found, seeds, CORPUS / name):
        directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (seeds / f"seed-{number}").write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        "-max_len=8192",
        "-timeout=20",
        "-rss_limit_mb=1500",
        "-print_final_stats=1",
        f"-artifact_prefix={FOUND / name}.fail-",
        *dictionary(target.words, FOUND / f"{name}.dict"),
    ]
    sys.stdout.write(f"fuzz {name}: {seconds} s\n")
    sys.stdout.flush()
    atheris.Setup([sys.argv[0], *options, *map(str, (found, seeds, CORPUS / name))], target.run)
    atheris.Fuzz()


def replay() -> None:
    """Everything once, for coverage."""
    from support.fuzz_targets import TARGETS

    for name, target in TARGETS.items():
        paths = [*(FOUND / name).glob("*"), *(CORPUS / name).glob("*")]
        for data in (*target.seeds, *(path.read_bytes() for path in paths)):
            with contextlib.redirect_stdout(io.StringIO()):
                target.run(data)
        sys.stdout.write(f"{name}: {len(paths)} inputs\n")


if __name__ == "__main__":
    if sys.argv[1] == "--replay":
        replay()
    elif sys.argv[1] == "--names":
        from support.fuzz_targets import TARGETS

        sys.stdout.write("\n".join(TARGETS) + "\n")
    else:
        fuzz(sys.argv[1], int(sys.argv[2]))
