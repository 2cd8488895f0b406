//! What to set: facts in, recommendations out, nothing else.

use super::facts::{Cpu, Facts};
use super::measured as m;
use crate::limits;

/// Everything that is recommended for a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Options of `serve`, without dashes, as they stand in the file too.
    pub flags: Vec<Advice>,
    /// Kernel settings.
    pub sysctls: Vec<Advice>,
    /// Settings of the systemd unit.
    pub unit: Vec<Advice>,
    /// What else is worth knowing.
    pub notes: Vec<Note>,
    /// Shards that this makes.
    pub shards: usize,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Its name.
    pub name: &'static str,
    /// What to set it to.
    pub value: String,
    /// What it is now, where that is known.
    pub now: Option<String>,
    /// Whether what it is now will do.
    pub is_met: bool,
    /// Why.
    pub reason: String,
}

/// A fact that no setting of ours changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What it is about.
    pub about: &'static str,
    /// The fact, and what to do about it.
    pub text: String,
    /// Whether something should be done.
    pub is_warning: bool,
}

/// What to set on a machine.
#[must_use]
pub fn recommend(facts: &Facts) -> Plan {
    let cores = choose_cores(facts);
    let shards = cores.cpus.len().max(1);
    let memory = Memory::divide(facts, shards as u64);
    let mut flags = vec![cores.advice];
    flags.extend(memory.flags(shards as u64));
    Plan {
        flags,
        sysctls: sysctls(facts, shards as u64),
        unit: unit(facts, shards as u64, &memory),
        notes: notes(facts, &memory),
        shards,
    }
}

struct CoreChoice {
    cpus: Vec<usize>,
    advice: Advice,
}

/// A shard on each CPU that is ours, less what resolver, log and kernel need of them.
fn choose_cores(facts: &Facts) -> CoreChoice {
    let allowed = facts.cpus.len();
    let granted = facts.cpu_quota_milli.map_or(allowed, |milli| usize::try_from(milli / 1000).unwrap_or(allowed));
    let usable = granted.clamp(1, allowed.max(1));
    let reserved = whole_cores(&facts.cpus, usable, reserved_cores(usable));
    let taken = take(&facts.cpus, usable - reserved);
    let mut reason = match (facts.cpu_quota_milli, usable < allowed) {
        (Some(milli), true) => {
            format!("the cgroup grants {}.{:02} of {allowed} CPUs", milli / 1000, milli % 1000 / 10)
        }
        _ => format!("this process may use {allowed} CPU{}", if allowed == 1 { "" } else { "s" }),
    };
    let spent = shared_cpu_us();
    if reserved > 0 {
        reason += &format!(
            "; {reserved} left to the resolver, the log and the kernel ({spent} of {} µs a message are theirs)",
            m::MESSAGE_CPU_US + spent
        );
    } else if usable < CORES_MIN_TO_RESERVE {
        reason += &format!(
            "; none is left free, because a core is more than the resolver and the log need ({spent} of {} µs a message)",
            m::MESSAGE_CPU_US + spent
        );
    }
    if facts.cpus.iter().any(|cpu| cpu.physical != cpu.number) {
        reason += "; hardware threads count as cores, and what is left free is whole physical cores";
    }
    let value = written(&taken, &facts.cpus);
    CoreChoice { cpus: taken, advice: advice("cores", value, None, false, reason) }
}

/// CPU time for each message that the shards do not spend.
fn shared_cpu_us() -> u64 {
    let resolver = m::QUERIES_OF_NEW_SENDER * m::RESOLVER_QUERY_CPU_US * m::NEW_SENDERS_PERCENT / 100;
    resolver + m::MESSAGE_CPU_US * m::RECORD_CPU_PERCENT / 100
}

/// The nearest number of cores to that share; none while one would be a third of the machine or more.
fn reserved_cores(usable: usize) -> usize {
    let shared = shared_cpu_us();
    let all = m::MESSAGE_CPU_US + shared;
    let nearest = (usable as u64 * shared + all / 2) / all;
    if usable < CORES_MIN_TO_RESERVE { 0 } else { usize::try_from(nearest).unwrap_or(0).max(1) }
}

/// `reserved` as a number of whole physical cores, where CPUs are their hardware threads. A quota grants time and no CPUs: those that
/// are left are free anyway.
fn whole_cores(cpus: &[Cpu], usable: usize, reserved: usize) -> usize {
    let lowest = cpus.iter().map(|cpu| cpu.physical).min();
    let threads = cpus.iter().filter(|cpu| Some(cpu.physical) == lowest).count().max(1);
    if reserved == 0 || usable < cpus.len() || threads >= usable {
        reserved
    } else {
        (reserved / threads).max(1) * threads
    }
}

/// `count` CPUs. Those left out are whole physical cores, from the one with the lowest number on: interrupts and the system's own
/// work are mostly there.
fn take(cpus: &[Cpu], count: usize) -> Vec<usize> {
    let mut sorted: Vec<&Cpu> = cpus.iter().collect();
    sorted.sort_by_key(|cpu| (cpu.physical, cpu.number));
    let mut taken: Vec<usize> = sorted.iter().rev().take(count).map(|cpu| cpu.number).collect();
    taken.sort_unstable();
    taken
}

/// As `--cores` takes it: a count where that means the same CPUs.
fn written(taken: &[usize], allowed: &[Cpu]) -> String {
    if taken.iter().eq(allowed.iter().map(|cpu| &cpu.number).take(taken.len())) {
        return taken.len().to_string();
    }
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &cpu in taken {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => parts.push((cpu, cpu)),
        }
    }
    // A single number would be a count.
    let alone = parts.len() == 1;
    let part = |(first, last): (usize, usize)| {
        if first == last && !alone { first.to_string() } else { format!("{first}-{last}") }
    };
    parts.into_iter().map(part).collect::<Vec<_>>().join(",")
}

/// How memory is divided.
struct Memory {
    usable: u64,
    system: u64,
    /// Connections a shard can hold.
    connections: u64,
    /// Octets, for each shard.
    messages: u64,
    /// MiB.
    cache_ptr: u64,
    cache_spf: u64,
    cache_dkim: u64,
    senders: u64,
}

impl Memory {
    fn divide(facts: &Facts, shards: u64) -> Memory {
        let usable = facts.usable_octets();
        let system = m::SYSTEM_OCTETS.max(usable / 8);
        let free = usable.saturating_sub(system + m::PROCESS_OCTETS + shards * m::SHARD_OCTETS);
        // A half at most for connections, a quarter at most for caches; messages take what they can use of the rest.
        let connections = (free / 2 / shards / CONNECTION_OCTETS).min(limits::CONNECTIONS_MAX as u64);
        let resident = octets_of_sender() * m::CACHE_RESIDENT_PERCENT / 100;
        let senders = (shards * m::SENDERS_PER_CORE).min(free / 4 / resident);
        let caches = senders * resident;
        let rest = free.saturating_sub(caches + shards * connections * CONNECTION_OCTETS) / shards;
        let cache = |octets: u64| octets.div_ceil(1 << 20).max(CACHE_MIB_MIN);
        // `--cache-ptr` gives a half to PTR and an eighth each to A, AAAA and MX; `--cache-spf` a quarter to results,
        // `--cache-dkim` to DMARC.
        let (ptr, address) = (senders * m::PTR_ENTRY_OCTETS * 2, senders * m::ADDRESS_ENTRY_OCTETS * 8);
        let domains = senders / SENDERS_OF_DOMAIN;
        Memory {
            usable,
            system,
            connections,
            messages: rest.min(messages_in_flight() * MESSAGE_OCTETS),
            cache_ptr: cache(ptr.max(address)),
            cache_spf: cache(domains * m::SPF_ENTRY_OCTETS * 4 / 3),
            cache_dkim: cache(domains * m::DKIM_ENTRY_OCTETS * 4 / 3),
            senders,
        }
    }

    fn flags(&self, shards: u64) -> Vec<Advice> {
        let mib = (self.messages >> 20).max(MEMORY_MIB_MIN);
        let (wanted, octets) = (messages_in_flight(), MESSAGE_OCTETS >> 10);
        let mut memory = format!(
            "for each core: {wanted} messages in flight ({} a second at {} µs, each for {} ms) of {octets} KiB (buffers and the first \
             step of its body)",
            1_000_000 / m::MESSAGE_CPU_US,
            m::MESSAGE_CPU_US,
            m::MESSAGE_IN_FLIGHT_MS,
        );
        if self.messages < wanted * MESSAGE_OCTETS {
            memory += &format!(
                " would take {} MiB; this is what {} MiB of memory leave on {shards} core{}, beyond it mail is deferred (452)",
                (wanted * MESSAGE_OCTETS) >> 20,
                self.usable >> 20,
                if shards == 1 { "" } else { "s" },
            );
        }
        let (senders, domains) = (self.senders, self.senders / SENDERS_OF_DOMAIN);
        vec![
            advice("memory", mib.to_string(), None, false, memory),
            advice(
                "cache-ptr",
                self.cache_ptr.to_string(),
                None,
                false,
                format!(
                    "PTR ({} octets an entry, half of it) and addresses ({} octets, an eighth for each kind) of {senders} senders",
                    m::PTR_ENTRY_OCTETS,
                    m::ADDRESS_ENTRY_OCTETS
                ),
            ),
            advice(
                "cache-spf",
                self.cache_spf.to_string(),
                None,
                false,
                format!(
                    "records of {domains} domains, {} octets each in three quarters of it, the rest for results",
                    m::SPF_ENTRY_OCTETS
                ),
            ),
            advice(
                "cache-dkim",
                self.cache_dkim.to_string(),
                None,
                false,
                format!(
                    "keys of {domains} domains, {} octets each in three quarters of it, the rest for DMARC",
                    m::DKIM_ENTRY_OCTETS
                ),
            ),
        ]
    }
}

/// Octets that the caches count for one sender: its PTR and address as they divide their room, and its part of a domain's records.
fn octets_of_sender() -> u64 {
    let names = (m::PTR_ENTRY_OCTETS * 2).max(m::ADDRESS_ENTRY_OCTETS * 8);
    names + ((m::SPF_ENTRY_OCTETS + m::DKIM_ENTRY_OCTETS) * 4 / 3).div_ceil(SENDERS_OF_DOMAIN)
}

/// Of one core that does nothing but take messages.
fn messages_in_flight() -> u64 {
    1000 * m::MESSAGE_IN_FLIGHT_MS / m::MESSAGE_CPU_US
}

/// Descriptors that the process can come to hold.
fn descriptors(shards: u64, connections: u64, messages: u64) -> u64 {
    let next_hops = m::NEXT_HOPS * NEXT_HOP_CONNECTIONS;
    // A message above 256 KiB has a file and holds two blocks of 128 KiB.
    let spilled = messages / (2 * mx6_delivery::SPILL_BLOCK_OCTETS as u64);
    let shard = connections + next_hops + spilled + DNS_SOCKETS + SHARD_DESCRIPTORS;
    (shards * shard).div_ceil(DESCRIPTORS_STEP) * DESCRIPTORS_STEP
}

fn unit(facts: &Facts, shards: u64, memory: &Memory) -> Vec<Advice> {
    let files = descriptors(shards, memory.connections, memory.messages);
    let locked_kib = shards * MEMLOCK_KIB;
    let now = |octets: u64| if octets == u64::MAX { "infinity".to_owned() } else { format!("{}K", octets >> 10) };
    let files_now =
        facts.open_files.map(|files| if files == u64::MAX { "infinity".to_owned() } else { files.to_string() });
    vec![
        advice(
            "LimitNOFILE",
            files.to_string(),
            files_now,
            facts.open_files.is_some_and(|now| now >= files),
            format!(
                "for each core {} connections, {NEXT_HOP_CONNECTIONS} to each of {} next hops, {DNS_SOCKETS} DNS queries, and the spill \
                 files that fit --memory",
                memory.connections,
                m::NEXT_HOPS,
            ),
        ),
        advice(
            "LimitMEMLOCK",
            format!("{locked_kib}K"),
            facts.locked_octets.map(now),
            facts.locked_octets.is_some_and(|now| now >= locked_kib << 10),
            format!("{MEMLOCK_KIB} KiB for the io_uring of each core; less and serve refuses to start (exit code 77)"),
        ),
    ]
}

fn sysctls(facts: &Facts, shards: u64) -> Vec<Advice> {
    let backlog = u64::from(limits::BACKLOG);
    let at_least = |name: &'static str, value: u64, reason: String| {
        let is_met = facts.number(name).is_some_and(|now| now >= value);
        advice(name, value.to_string(), facts.setting(name).map(str::to_owned), is_met, reason)
    };
    let mut all = vec![
        advice(
            "kernel.io_uring_disabled",
            "0".to_owned(),
            facts.setting("kernel.io_uring_disabled").map(str::to_owned),
            // A kernel before 6.6 has no such switch.
            facts.number("kernel.io_uring_disabled").map_or(!facts.is_described, |now| now == 0),
            "every shard runs on an io_uring; 1 would do for a user in kernel.io_uring_group".to_owned(),
        ),
        at_least("net.core.somaxconn", backlog, format!("cuts the backlog of {backlog} that each listener asks for")),
    ];
    if facts.number("net.ipv4.tcp_syncookies") == Some(0) {
        let reason = "without SYN cookies (net.ipv4.tcp_syncookies=0) it bounds the half-open connections".to_owned();
        all.push(at_least("net.ipv4.tcp_max_syn_backlog", backlog, reason));
    }
    all.extend(ports(facts, shards));
    let files = descriptors(shards, limits::CONNECTIONS_MAX as u64, messages_in_flight() * MESSAGE_OCTETS);
    if files > NR_OPEN_DEFAULT || facts.number("fs.nr_open").is_some_and(|now| now < files) {
        all.push(at_least("fs.nr_open", files, "LimitNOFILE cannot be above it".to_owned()));
    }
    if facts.setting("net.netfilter.nf_conntrack_max").is_some() {
        let tracked = shards * (limits::CONNECTIONS_MAX as u64 + m::NEXT_HOPS * NEXT_HOP_CONNECTIONS);
        let reason = "connection tracking is loaded and drops what it has no room for; or exempt the mail ports from it (NOTRACK)";
        all.push(at_least("net.netfilter.nf_conntrack_max", 2 * tracked, reason.to_owned()));
    }
    all
}

/// Local ports for one next hop: those in use, and those in TIME-WAIT, which are ours because we close first.
fn ports(facts: &Facts, shards: u64) -> Vec<Advice> {
    let closed_a_second = 1_000_000 / m::MESSAGE_CPU_US / MESSAGES_OF_CONNECTION;
    let needed = shards * (NEXT_HOP_CONNECTIONS + (closed_a_second + 1) * TIME_WAIT_S);
    let now = facts.setting("net.ipv4.ip_local_port_range");
    let have = now.and_then(|range| {
        let (first, last) = range.split_once(' ')?;
        last.parse::<u64>().ok()?.checked_sub(first.parse().ok()?).map(|more| more + 1)
    });
    let reason = format!(
        "to one next hop {needed} ports at most: {NEXT_HOP_CONNECTIONS} open for each core, and {} a second closed that wait {TIME_WAIT_S} s",
        shards * (closed_a_second + 1)
    );
    let is_met = have.is_some_and(|ports| ports >= needed.min(PORTS_MAX)) || (now.is_none() && needed <= PORTS_DEFAULT);
    let mut all =
        vec![advice("net.ipv4.ip_local_port_range", WIDE_PORTS.to_owned(), now.map(str::to_owned), is_met, reason)];
    if is_met {
        // What is there will do.
        all[0].value = now.unwrap_or("32768 60999").to_owned();
    }
    if needed > PORTS_MAX {
        let is_met = facts.number("net.ipv4.tcp_tw_reuse") == Some(1);
        let reason = "more ports than there are would wait after closing: let new connections take them (or name more next hops)";
        let now = facts.setting("net.ipv4.tcp_tw_reuse").map(str::to_owned);
        all.push(advice("net.ipv4.tcp_tw_reuse", "1".to_owned(), now, is_met, reason.to_owned()));
    }
    all
}

fn notes(facts: &Facts, memory: &Memory) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note = |about, is_warning, text: String| notes.push(Note { about, text, is_warning });
    note(
        "memory",
        memory.connections < limits::CONNECTIONS_MAX as u64,
        format!(
            "{} MiB usable: {} MiB for the system, {} connections for each core at {} KiB (user space and kernel){}",
            memory.usable >> 20,
            memory.system >> 20,
            memory.connections,
            CONNECTION_OCTETS >> 10,
            if memory.connections < limits::CONNECTIONS_MAX as u64 { "; LimitNOFILE keeps it to that" } else { "" }
        ),
    );
    match &facts.io_uring {
        Some(Ok(())) => note("io_uring", false, "can be set up by this process".to_owned()),
        Some(Err(why)) => note("io_uring", true, why.clone()),
        None => {}
    }
    if let Some(kernel) = &facts.kernel {
        let old = older_than(kernel, KERNEL_MIN);
        let text = if old { "; Linux 5.8 or newer is needed" } else { "" };
        note("kernel", old, format!("Linux {kernel}{text}"));
    }
    if !facts.is_described {
        let features = if facts.cpu_features.is_empty() { "none".to_owned() } else { facts.cpu_features.join(" ") };
        note("processor", false, format!("of the features a hash or signature kernel can use: {features}"));
        resolver(facts, &mut note);
    }
    if facts.cpu_quota_milli.is_some_and(|milli| milli < 1000) {
        note(
            "cpu",
            true,
            "the cgroup grants less than one CPU: the shard will be stopped again and again (CPUQuota=, cpu.max)"
                .to_owned(),
        );
    }
    let nodes = facts.cpus.iter().map(|cpu| cpu.node).max().unwrap_or(0) + 1;
    if nodes > 1 {
        note(
            "numa",
            false,
            format!(
                "{nodes} nodes: the caches are shared by all shards; one mx6 for each node (its CPUs in --cores, same --listen) keeps them near"
            ),
        );
    }
    if facts.setting("net.ipv4.tcp_migrate_req") == Some("0") {
        let text = "net.ipv4.tcp_migrate_req=0 will do: a gate that ends empties its backlog first; should it die, what waits there is reset, \
                    where with 1 the kernel hands it to another gate on the same port";
        note("restart", false, text.to_owned());
    }
    notes
}

fn resolver(facts: &Facts, note: &mut impl FnMut(&'static str, bool, String)) {
    let loopback = facts.resolvers.iter().find(|server| server.is_loopback());
    match loopback {
        // Without a line it is 127.0.0.1, as for every program.
        None if facts.resolvers.is_empty() => note("resolver", false, "/etc/resolv.conf names none: 127.0.0.1 is asked".to_owned()),
        Some(server) if server.to_string() == "127.0.0.53" => note(
            "resolver",
            true,
            "127.0.0.53 is the stub of systemd-resolved, which is made for a desk: run unbound here and give --dns-server '[::1]:53'".to_owned(),
        ),
        Some(server) => note("resolver", false, format!("{server}, on this machine")),
        None => note(
            "resolver",
            true,
            format!(
                "{} is not on this machine: {} questions about each new sender cross the network unprotected; run unbound here and give \
                 --dns-server '[::1]:53'",
                facts.resolvers[0],
                m::QUERIES_OF_NEW_SENDER
            ),
        ),
    }
}

/// Whether `release` (`6.18.44-x`) is older than a version.
fn older_than(release: &str, (major, minor): (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(this_major), Some(this_minor)) => (this_major, this_minor) < (major, minor),
        _ => false,
    }
}

fn advice(name: &'static str, value: String, now: Option<String>, is_met: bool, reason: String) -> Advice {
    Advice { name, value, now, is_met, reason }
}

/// Both sides of the system call.
const CONNECTION_OCTETS: u64 = m::CONNECTION_OCTETS + m::KERNEL_CONNECTION_OCTETS;
/// What a message reserves: its buffers, and the first step of its body.
const MESSAGE_OCTETS: u64 = limits::MESSAGE_OVERHEAD_OCTETS as u64 + limits::MEMORY_RESERVATION_STEP_OCTETS;
/// Senders of one domain, as [`m::SENDERS_PER_CORE`] assumes.
const SENDERS_OF_DOMAIN: u64 = 4;
/// On fewer, one core would be a third of the machine or more.
const CORES_MIN_TO_RESERVE: usize = 4;
/// Of each next hop, for each core (`DeliveryConfig::connections_max`).
const NEXT_HOP_CONNECTIONS: u64 = 1_000;
/// Messages over one of them (`DeliveryConfig::messages_per_connection_max`).
const MESSAGES_OF_CONNECTION: u64 = 100;
/// Lookups of one shard under way at once, each with a socket of its own (`dns`'s limit).
const DNS_SOCKETS: u64 = 10_000;
/// Listeners, rings, logs.
const SHARD_DESCRIPTORS: u64 = 64;
const DESCRIPTORS_STEP: u64 = 1_024;
/// `fs.nr_open` of a kernel that was not told otherwise.
const NR_OPEN_DEFAULT: u64 = 1 << 20;
/// For each executor (`runtime`'s preflight).
const MEMLOCK_KIB: u64 = 512;
/// `TCP_TIMEWAIT_LEN` of Linux.
const TIME_WAIT_S: u64 = 60;
/// Ports in the range that Linux begins with.
const PORTS_DEFAULT: u64 = 28_232;
const PORTS_MAX: u64 = 64_512;
const WIDE_PORTS: &str = "1024 65535";
const KERNEL_MIN: (u32, u32) = (5, 8);
const CACHE_MIB_MIN: u64 = 4;
/// A core with less could not hold a handful of messages.
const MEMORY_MIB_MIN: u64 = 8;

#[cfg(test)]
mod tests;
