"""Runs a static Linux program on the CPU of Bochs, which has AVX-512 where the machine has not: emulated.py PROGRAM [ARGUMENT...]

There is no Linux inside: the program runs in one flat page table, and the few system calls that a test program makes are answered here.
One thread; nothing can be opened but the sources of randomness, though paths resolve. The exit code is that of the program, or 99 if it did
something that is not answered here.
"""

import ctypes
import mmap
import os
import struct
import sys
import time

import bochscpu
import bochscpu.cpu
import bochscpu.memory as memory

MEMORY_OCTETS = 1 << 30
TABLES, LOAD, HEAP, MAPS, STACK = 0x10000, 0x40_0000, 0x800_0000, 0x1000_0000, 0x3FF0_0000
ENOENT, EAGAIN, ENOMEM, ENOTTY, ENOSYS = 2, 11, 12, 25, 38
RANDOM = 100  # the descriptor of /dev/random

ram = mmap.mmap(-1, MEMORY_OCTETS)
ram_address = ctypes.addressof(ctypes.c_char.from_buffer(ram))


def text(at):
    return bytes(ram[at : ram.find(b"\0", at)])


class Machine:
    def __init__(self, program, arguments):
        self.heap, self.maps, self.exit_code = HEAP, MAPS, None
        self.unknown = {}
        self.session = bochscpu.Session()
        self.session.missing_page_handler = self.insert_page
        self.tables()
        ram[TABLES - 0x1000] = 0xF4  # hlt: where SYSCALL leads to
        entry, headers, count = self.load(program)
        state = bochscpu.State()
        bochscpu.cpu.set_long_mode(state)
        state.cr0 = 0x8001_0033
        state.cr4 = 1 << 5 | 1 << 9 | 1 << 10 | 1 << 16 | 1 << 18
        state.xcr0 = 0xE7
        state.cr3 = TABLES
        state.mxcsr, state.fpcw, state.mxcsr_mask = 0x1F80, 0x37F, 0xFFFF
        state.fptw = 0xFFFF
        state.lstar = TABLES - 0x1000
        state.star = 0x0008 << 32
        state.rflags = 0x2
        for name, attributes in [("cs", 0xA09B), ("ss", 0xC093), ("ds", 0xC093), ("es", 0xC093), ("fs", 0xC093), ("gs", 0xC093)]:
            segment = bochscpu.Segment()
            segment.present, segment.selector, segment.base, segment.limit, segment.attr = True, 8 if name == "cs" else 16, 0, 0xFFFF_FFFF, attributes
            setattr(state, name, segment)
        state.rip = entry
        state.rsp = self.stack(program, arguments, entry, headers, count)
        self.session.cpu.state = state
        self.hook = bochscpu.Hook()
        self.hook.hlt = lambda session, cpu: session.stop()
        self.hook.exception = self.exception
        self.hook.reset = lambda session, cpu, kind: session.stop()
        self.faults = []

    def exception(self, session, cpu, vector, error):
        self.faults.append((vector, error, session.cpu.rip, session.cpu.cr2))
        session.stop()

    def insert_page(self, address):
        page = address & ~0xFFF
        if page >= MEMORY_OCTETS:
            print(f"emulated.py: nothing at {address:#x}", file=sys.stderr)
            os._exit(99)
        memory.page_insert(page, ram_address + page)

    def tables(self):
        """The first GiB as it is, in pages of 2 MiB."""
        flags = 0x7
        ram[TABLES : TABLES + 8] = struct.pack("<Q", TABLES + 0x1000 | flags)
        ram[TABLES + 0x1000 : TABLES + 0x1008] = struct.pack("<Q", TABLES + 0x2000 | flags)
        for entry in range(512):
            at = TABLES + 0x2000 + 8 * entry
            ram[at : at + 8] = struct.pack("<Q", entry << 21 | flags | 0x80)

    def load(self, program):
        """Loads an ELF program; its entry, where its program headers are, and their number."""
        octets = open(program, "rb").read()
        kind, _, _, entry, offset = struct.unpack_from("<HHIQQ", octets, 16)
        size, count = struct.unpack_from("<HH", octets, 54)
        base = LOAD if kind == 3 else 0
        for index in range(count):
            which, _, start, address, _, in_file, in_memory, _ = struct.unpack_from("<IIQQQQQQ", octets, offset + index * size)
            if which == 1:
                assert base + address + in_memory < HEAP
                ram[base + address : base + address + in_file] = octets[start : start + in_file]
                if start == 0:
                    headers = base + address + offset
        return base + entry, headers, count

    def stack(self, program, arguments, entry, headers, count):
        at = STACK
        def push(octets):
            nonlocal at
            at -= len(octets)
            ram[at : at + len(octets)] = octets
            return at
        strings = [push(text.encode() + b"\0") for text in [program, *arguments]]
        environment = [push(f"{name}={value}".encode() + b"\0") for name, value in os.environ.items() if name.startswith(("MX6_", "RUST_", "BOLERO_"))]
        random = push(bytes(range(16)))
        auxiliary = [3, headers, 4, 56, 5, count, 6, 4096, 7, 0, 9, entry, 11, 0, 12, 0, 13, 0, 14, 0, 17, 100, 23, 0, 25, random, 31, strings[0], 0, 0]
        words = [len(strings), *strings, 0, *environment, 0, *auxiliary]
        at = (at & ~0xF) - 8 * (len(words) + len(words) % 2)
        push(b"")
        ram[at : at + 8 * len(words)] = struct.pack(f"<{len(words)}Q", *words)
        return at

    def run(self):
        cpu = self.session.cpu
        while self.exit_code is None:
            self.session.run([self.hook])
            if self.faults:
                vector, error, rip, cr2 = self.faults[0]
                print(f"emulated.py: exception {vector} ({error:#x}) at {rip:#x}, cr2 {cr2:#x}: {ram[rip:rip + 16].hex()}", file=sys.stderr)
                return 99
            state = cpu.state
            if state.rip not in (TABLES - 0x1000, TABLES - 0xFFF):
                print(f"emulated.py: stopped at {state.rip:#x}", file=sys.stderr)
                return 99
            number = state.rax
            result = self.call(state, number, state.rdi, state.rsi, state.rdx, state.r10, state.r8, state.r9)
            state.rax = result & (1 << 64) - 1
            state.rip, state.rflags = state.rcx, state.r11
            cpu.state = state
        return self.exit_code

    def call(self, state, number, a, b, c, d, e, f):
        if number == 1:  # write
            os.write(a if a in (1, 2) else 2, ram[b : b + c])
            return c
        if number == 20:  # writev
            total = 0
            for index in range(c):
                start, length = struct.unpack_from("<QQ", ram, b + 16 * index)
                os.write(a, ram[start : start + length])
                total += length
            return total
        if number in (60, 231):  # exit
            self.exit_code = a
            return 0
        if number == 12:  # brk
            if a >= HEAP and a < MAPS:
                self.heap = a
            return self.heap
        if number == 9:  # mmap
            if d & 0x20 == 0 or self.maps + b > STACK - (16 << 20):
                return -ENOMEM
            if d & 0x10:
                ram[a : a + b] = bytes(b)
                return a
            at = self.maps
            self.maps = at + b + 0xFFF & ~0xFFF
            return at
        if number == 25:  # mremap: moves
            if c <= b:
                return a
            at = self.call(state, 9, 0, c, 3, 0x22, 0, 0)
            if at > 0:
                ram[at : at + b] = ram[a : a + b]
            return at
        if number == 158 and a == 0x1002:  # arch_prctl ARCH_SET_FS
            segment = state.fs
            segment.base = b
            state.fs = segment
            return 0
        if number == 228:  # clock_gettime
            now = time.monotonic_ns()
            ram[b : b + 16] = struct.pack("<QQ", now // 10**9, now % 10**9)
            return 0
        if number == 318:  # getrandom
            ram[a : a + b] = os.urandom(b)
            return b
        if number == 204:  # sched_getaffinity: one CPU
            ram[c : c + 8] = struct.pack("<Q", 1)
            return 8
        if number == 302:  # prlimit64
            if d:
                ram[d : d + 16] = struct.pack("<QQ", 8 << 20, 8 << 20)
            return 0
        if number in (186, 39, 218):  # gettid, getpid, set_tid_address
            return 1
        # mprotect, munmap, signals, sigaltstack, madvise, set_robust_list, futex, sched_yield, prctl, close
        if number in (10, 11, 13, 14, 131, 28, 273, 202, 24, 157, 3):
            return 0
        if number == 79:  # getcwd
            folder = os.getcwd().encode() + b"\0"
            ram[a : a + len(folder)] = folder
            return len(folder)
        if number == 89:  # readlink
            try:
                link = os.readlink(text(a))[:c]
            except OSError as error:
                return -error.errno
            ram[b : b + len(link)] = link
            return len(link)
        if number in (2, 257):  # open, openat
            return RANDOM if text(a if number == 2 else b) in (b"/dev/random", b"/dev/urandom") else -ENOENT
        if number == 0 and a == RANDOM:  # read
            ram[b : b + c] = os.urandom(c)
            return c
        if number == 7:  # poll: all are ready
            return b
        if number in (262, 267, 4, 21):  # other questions about files
            return -ENOENT
        if number == 56:  # clone: no thread for now, and the test harness does without
            return -EAGAIN
        if number == 16:
            return -ENOTTY
        if number not in self.unknown:
            self.unknown[number] = True
            if number not in (334, 435, 72, 63):
                print(f"emulated.py: system call {number} is not answered", file=sys.stderr)
        return -ENOSYS


if __name__ == "__main__":
    os._exit(Machine(sys.argv[1], sys.argv[2:]).run())
