//! What the measurement ran on, as the kernel says in `/proc` and `/sys`. Nothing here fails: a figure without its
//! machine is worth less, but it is worth something.

use std::path::Path;

use crate::measurement::Machine;

/// Hardware and kernel of this machine.
pub(crate) fn facts() -> Machine {
    Machine {
        cores: std::thread::available_parallelism().map_or(0, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX)),
        kernel: kernel(&line("/proc/sys/kernel/ostype"), &line("/proc/sys/kernel/osrelease")),
        governor: some(line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        virtualisation: virtualisation(),
        loadgen_version: env!("CARGO_PKG_VERSION").to_owned(),
        memory_octets: memory_octets(&text("/proc/meminfo")),
        ..processor(&text("/proc/cpuinfo"))
    }
}

/// Model and extensions from `/proc/cpuinfo`.
fn processor(cpuinfo: &str) -> Machine {
    let field = |names: &[&str]| {
        let fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        let mut named = fields.filter(|(name, _)| names.contains(&name.trim())).map(|(_, value)| value.trim());
        named.next().unwrap_or_default().to_owned()
    };
    let flags = field(&["flags", "Features"]);
    let has = |flag: &&&str| flags.split(' ').any(|word| word == **flag);
    Machine {
        cpu: some(field(&["model name", "Processor", "Model", "cpu model"])).unwrap_or_else(|| "unknown".to_owned()),
        cpu_flags: FLAGS.iter().filter(has).map(|flag| (*flag).to_owned()).collect(),
        ..Machine::default()
    }
}

/// `MemTotal` of `/proc/meminfo`, which the kernel counts in KiB.
fn memory_octets(meminfo: &str) -> u64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|total| total.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Name, release, architecture.
fn kernel(name: &str, release: &str) -> String {
    let words = [name, release, std::env::consts::ARCH];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The hypervisor, as far as the firmware or the kernel names it, and the container.
fn virtualisation() -> Option<String> {
    let hypervisor = ["/sys/hypervisor/type", "/sys/class/dmi/id/product_name", "/sys/class/dmi/id/sys_vendor"];
    let guest = text("/proc/cpuinfo").lines().any(|line| line.starts_with("flags") && line.contains(" hypervisor"));
    let named = hypervisor.into_iter().map(line).find(|name| !name.is_empty());
    let mut found = Vec::new();
    if guest {
        found.push(named.map_or_else(|| "virtual machine".to_owned(), |name| format!("virtual machine ({name})")));
    }
    let containers =
        [("/.dockerenv", "docker"), ("/run/.containerenv", "podman"), ("/run/systemd/container", "container")];
    found.extend(containers.into_iter().find(|(path, _)| Path::new(path).exists()).map(|(_, name)| name.to_owned()));
    some(found.join(", "))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn line(path: &str) -> String {
    text(path).trim().to_owned()
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// Extensions that decide which hash and signature code runs, on x86 and on ARM, in the kernel's words.
const FLAGS: [&str; 14] = [
    "ssse3",
    "avx2",
    "bmi2",
    "adx",
    "sha_ni",
    "vaes",
    "avx512f",
    "avx512bw",
    "avx512ifma",
    "avx512vbmi",
    "asimd",
    "sha2",
    "sha512",
    "sve",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpuinfo_of_either_kind_is_understood() {
        let inputs: [(&str, &str, &[&str]); 4] = [
            ("processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 sha_ni\n", "AMD EPYC", &["avx2", "sha_ni"]),
            (
                "processor: 0\nFeatures\t: fp asimd sha2 sha512\nCPU part: 0xd0c\n",
                "unknown",
                &["asimd", "sha2", "sha512"],
            ),
            ("model name : A\nmodel name : B\nflags : avx2x\n", "A", &[]),
            ("", "unknown", &[]),
        ];
        for (cpuinfo, cpu, flags) in inputs {
            let machine = processor(cpuinfo);
            assert_eq!(
                (machine.cpu.as_str(), machine.cpu_flags),
                (cpu, flags.iter().map(|f| (*f).to_owned()).collect())
            );
        }
    }

    #[test]
    fn memory_is_in_octets() {
        let inputs = [
            ("MemTotal:        8000000 kB\nMemFree: 1 kB\n", 8_192_000_000),
            ("MemFree: 1 kB\n", 0),
            ("MemTotal: x kB\n", 0),
            ("MemTotal: 99999999999999999999 kB\n", 0),
        ];
        for (meminfo, octets) in inputs {
            assert_eq!(memory_octets(meminfo), octets, "{meminfo}");
        }
    }

    #[test]
    fn this_machine_has_facts() {
        let machine = facts();
        assert!(machine.cores > 0 && machine.memory_octets > 0, "{machine:?}");
        assert!(machine.kernel.starts_with("Linux ") && !machine.cpu.is_empty(), "{machine:?}");
    }
}
