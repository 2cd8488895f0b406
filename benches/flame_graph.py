#!/usr/bin/env python3
"""A flame graph of samples that relay_cost.py --perf recorded.

    benches/relay_cost.py --only mx6 --perf FOLDER
    benches/flame_graph.py FOLDER/mx6-4000x100.perf > benches/flame-graph.svg

Frames that only hand on to the next one (of the standard library, of futures, of system call entries) are left out. Needs linux-perf, and
inferno (cargo install inferno) in PATH.
"""

import collections
import re
import subprocess
import sys

GLUE = re.compile(r"""^(
    std|core|alloc|<core|<alloc|<std|futures|<futures|call_once|do_call|catch_unwind|caught|\{closure|\{async|\{impl|poll$|poll<|
    from_iter|spec_|extend|fold|for_each|map$|map<|map_or|collect|contains|le<|not_blocked|ret_usize|try_decode|is_in_range|unwrap_or|or_else|
    and_then|then|next$|next<|new$|set$|set<|get$|run<|run_one|run_task|with|init|branch|from$|into|deref|pin|start_thread|clone3|\[unknown\]|
    __x64|__sys|_*do_sys|entry_SYSCALL|glommio::task::raw::RawTask|glommio::executor::LocalExecutor::run_task_queues|\w+<.*closure_env
)""", re.VERBOSE)


def short(frame):
    frame = re.sub(r"::\{\{closure\}\}|<impl [^>]*>|aws_lc_\d+_\d+_\d+_", "", frame)
    return (frame.split("<")[0] if "<" in frame[1:] and frame[0] != "<" else frame)[:70]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    script = subprocess.run(["perf", "script", "-i", sys.argv[1]], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    folded = subprocess.run(["inferno-collapse-perf"], input=script.stdout, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    stacks = collections.Counter()
    for line in folded.stdout.decode().splitlines():
        stack, count = line.rsplit(" ", 1)
        frames = [short(frame) for frame in stack.split(";") if not GLUE.match(short(frame))]
        stacks[";".join(frame for frame, before in zip(frames, [None, *frames]) if frame != before)] += int(count)
    title = "CPU clock of mx6, one shard; frames of the standard library left out"
    graph = ["inferno-flamegraph", "--title", title, "--minwidth", "0.25", "--width", "1200", "--colors", "rust"]
    subprocess.run(graph, input="".join(f"{stack} {count}\n" for stack, count in sorted(stacks.items())).encode(), check=True)


if __name__ == "__main__":
    main()
