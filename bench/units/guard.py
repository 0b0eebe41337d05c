"""Instructions per packet in our own C, held against those recorded in instructions.json.

    python bench/units/guard.py [--record]

callgrind counts what bench/units/count.c does: the same number in every run, on a busy machine too. Only code
of tun/csrc counts. Of libraries, the kernel and the C library just the number of calls does: how long those
take is not ours, and differs from machine to machine; that we call them more often would be.

Instruction counts belong to a compiler: they are recorded by its name and major version, and by what of the
processor valgrind lets be seen. With another compiler nothing is compared, and it says so.
A figure that grew by more than 5 % fails. Ten thousand peers may cost a packet 1.2 times what one costs.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
RECORD = HERE / "instructions.json"
PROGRAM = HERE.parent / "out" / "count"
GROWTH = 1.05
SLACK = 0.3  # of an instruction a packet: rounding
PEERS_RATIO = 1.2

Counts = dict[str, dict[str, float]]  # unit -> instructions and calls a packet


@dataclass
class Machine:
    compiler: str
    processor: str

    @property
    def key(self) -> str:
        return f"{self.compiler}, {self.processor}"


def compiler() -> str:
    """For instance "gcc 12"."""
    macros = subprocess.run(
        [os.environ.get("CC", "cc"), "-dM", "-E", "-x", "c", "/dev/null"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    defined = {words[1]: words[-1] for line in macros.splitlines() if (words := line.split())}
    if "__clang_major__" in defined:
        return f"clang {defined['__clang_major__']}"
    return f"gcc {defined['__GNUC__']}"


def run() -> tuple[Machine, Counts]:
    subprocess.run(["make", "-s", "-C", str(HERE), str(PROGRAM)], check=True)
    with tempfile.TemporaryDirectory() as directory:
        argv = ["valgrind", "--tool=callgrind", "--collect-atstart=no", "--compress-strings=no"]
        argv += ["--compress-pos=no", f"--callgrind-out-file={directory}/out", str(PROGRAM)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"guard: callgrind failed:\n{done.stdout}{done.stderr[-2000:]}")
        processor = f"{os.uname().machine} {done.stdout.split()[0]}"
        counts: Counts = {}
        for path in sorted(Path(directory).glob("out.*"), key=lambda path: int(path.suffix[1:])):
            counts.update(read(path.read_text()))
    return Machine(compiler(), processor), counts


def read(text: str) -> Iterator[tuple[str, dict[str, float]]]:
    """One dump: the unit's name, and instructions and calls a packet of our own object."""
    label = next((line for line in text.splitlines() if "Client Request: " in line), None)
    if label is None:
        return  # the dump at the end of the program
    name, packets = label.partition("Client Request: ")[2].rsplit("|", 1)
    instructions = calls = 0
    is_ours = leaves_us = skips = False
    for line in text.splitlines():
        if line.startswith("ob="):
            is_ours = line.endswith(f"/{PROGRAM.name}")
        elif line.startswith("fn="):
            leaves_us = False
        elif line.startswith("cob="):
            leaves_us = not line.endswith(f"/{PROGRAM.name}")
        elif line.startswith("calls="):
            if is_ours and leaves_us:
                calls += int(line.removeprefix("calls=").split()[0])
            skips, leaves_us = True, False  # the next line is the inclusive cost of the call
        elif line[:1].isdigit() or line[:2] == "0x":
            if is_ours and not skips:
                instructions += int(line.split()[-1])
            skips = False
    yield name, {"instructions": instructions / int(packets), "calls": calls / int(packets)}


def compare(now: Counts, before: Counts) -> list[str]:
    """Prints the table; returns what is wrong."""
    wrong = []
    for name, figures in now.items():
        for what, value in figures.items():
            was = before.get(name, {}).get(what)
            shown = f"{name:40} {value:10.2f} {what:13}"
            if was is None:
                print(f"{shown} (not recorded)")
                continue
            print(f"{shown} recorded {was:10.2f}")
            if value > was * GROWTH + SLACK:
                wrong.append(f"{name}: {value:.2f} {what} a packet, {value / was - 1:+.1%}" if was else name)
    for name in before.keys() - now.keys():
        wrong.append(f"{name}: recorded, and no longer counted")
    return wrong


def flat_in_peers(now: Counts) -> list[str]:
    """What ten thousand peers cost, beside one."""
    wrong = []
    for name, figures in now.items():
        if name.endswith(", 1 peer"):
            many = now[name.replace(", 1 peer", ", 10000 peers")]
            ratio = many["instructions"] / figures["instructions"]
            print(f"{name.removesuffix(', 1 peer'):40} {ratio:10.2f} x what one peer costs, with 10,000")
            if ratio > PEERS_RATIO:
                wrong.append(f"{name}: {ratio:.2f} x with 10,000 peers, at most {PEERS_RATIO}")
    return wrong


def main() -> int:
    machine, now = run()
    recorded = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if "--record" in sys.argv[1:]:
        rounded = {
            name: {what: round(value, 2) for what, value in figures.items()} for name, figures in now.items()
        }
        recorded[machine.key] = rounded
        RECORD.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
        print(f"guard: recorded for {machine.key}")
    before = recorded.get(machine.key)
    wrong = compare(now, before or {}) + flat_in_peers(now)
    if before is None:
        known = "; ".join(recorded) or "nothing"
        print(f"guard: growth not compared: recorded is {known}, here is {machine.key} (`--record` adds it)")
    for complaint in wrong:
        print(f"guard: {complaint}", file=sys.stderr)
    if wrong:
        print("guard: if that is worth it: bench/units/guard.py --record, and say why", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
