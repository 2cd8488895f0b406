//! What a run measured. The JSON report is this, and `compare` reads it back.
//!
//! What it is: plain data, filled by the engine and read by the reports; µs for times, octets for sizes, units last in
//! names. Latency histograms travel as HdrHistogram V2, deflated, in base64; the percentiles written beside them are for
//! people and for jq, and are computed anew when a file is read. A file is not trusted: what is too large or does not
//! decode is an error that says where.

use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// Of this format: [`FORMAT_VERSION`].
    pub version: u32,
    /// The command line.
    pub command: Vec<String>,
    /// When the clock started.
    pub started_unix_s: u64,
    /// Address and port that mail was sent to.
    pub target: String,
    /// What it ran on.
    pub machine: Machine,
    /// What was to happen.
    pub plan: Plan,
    /// Time measured, without the warm-up.
    pub elapsed_s: f64,
    /// Messages that got their final reply, whatever it was, without the warm-up.
    pub messages: u64,
    /// Connections opened, without the warm-up.
    pub connections: u64,
    /// Octets sent, before TLS.
    pub octets_sent: u64,
    /// Connections that went on under TLS.
    pub tls_connections: u64,
    /// Latencies, in the order of [`StageName::ALL`]; a stage that never happened may be absent.
    pub stages: Vec<Stage>,
    /// What the server answered, most frequent first.
    pub replies: Vec<ReplyCount>,
    /// Replies that were not the expected ones.
    pub wrong: u64,
    /// The first of them, at most [`WRONG_SAMPLES_MAX`].
    pub wrong_samples: Vec<WrongAnswer>,
    /// What failed below SMTP.
    pub errors: Vec<ErrorCount>,
    /// One a second, at most [`WINDOWS_MAX`].
    pub windows: Vec<Window>,
    /// The server's processes, when their ids were given.
    pub server: Option<ServerCost>,
    /// What the generator itself took.
    pub own: OwnCost,
    /// The steps of a ramp, slowest first; empty when there was none.
    pub ramp: Vec<RampStep>,
    /// Messages a second at the last step that the server kept up with, when a ramp found its end.
    pub saturation_per_s: Option<f64>,
}

/// Hardware and kernel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// As the processor calls itself.
    pub cpu: String,
    /// Extensions that matter to hashing and signatures, in the kernel's words.
    pub cpu_flags: Vec<String>,
    /// Processors this process may run on.
    pub cores: u32,
    /// Whole memory.
    pub memory_octets: u64,
    /// Name, release and architecture.
    pub kernel: String,
    /// Frequency governor of the first core, when there is one.
    pub governor: Option<String>,
    /// Hypervisor or container, when one can be seen.
    pub virtualisation: Option<String>,
    /// Of this program.
    pub loadgen_version: String,
}

/// What was to happen: two runs compare only when this is equal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// When messages start.
    pub arrivals: Arrivals,
    /// Messages on one connection.
    pub messages_per_connection: u32,
    /// Whether MAIL, RCPT and DATA leave in one write when the server offers it.
    pub pipelining: bool,
    /// Whether STARTTLS is used when the server offers it.
    pub tls: bool,
    /// How large messages are.
    pub body: Body,
    /// Classes of messages, and how many in a hundred.
    pub mix: Vec<ClassShare>,
    /// Source addresses.
    pub sources: u64,
    /// Sender domains.
    pub domains: u64,
    /// Of the popularity of domains; 0 is uniform.
    pub zipf_exponent: f64,
    /// Of everything that is drawn.
    pub seed: u64,
    /// Time before the clock started.
    pub warmup_s: f64,
}

/// When messages start. Rates are messages a second, however many share a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Arrivals {
    /// At their time, whether or not the server has answered those before.
    Open { rate_per_s: f64, spacing: Spacing },
    /// The next when the one before has its reply.
    Closed { connections: u32 },
    /// Open, faster with every step.
    Ramp { rates_per_s: Vec<f64>, step_s: f64, spacing: Spacing },
}

/// Between two arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Spacing {
    /// Exponential: arrivals know nothing of each other.
    Poisson,
    /// Always the same.
    Fixed,
}

/// How large messages are, without header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Body {
    /// All the same.
    Fixed { octets: u64 },
    /// Log-normal, as mail is.
    LogNormal { median_octets: u64, sigma: f64, octets_max: u64 },
}

/// A class of messages, and how many in a hundred are of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClassShare {
    pub class: String,
    pub percent: f64,
}

/// A part of a session that has a latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StageName {
    /// To the end of the TCP handshake.
    Connect,
    /// From there to the greeting.
    Banner,
    /// EHLO to its reply.
    Ehlo,
    /// STARTTLS to the end of the TLS handshake.
    Tls,
    /// MAIL to its reply.
    Mail,
    /// RCPT to its reply.
    Rcpt,
    /// DATA to its reply.
    Data,
    /// The end of the message to its reply.
    Reply,
    /// The actual start of a message to its final reply.
    Service,
    /// The intended start of a message to its final reply: free of coordinated omission.
    Message,
}

/// The latencies of one stage, in µs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "StageText", try_from = "StageText")]
pub(crate) struct Stage {
    pub name: StageName,
    pub histogram: Histogram<u64>,
}

/// How often one reply came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplyCount {
    pub class: String,
    pub stage: StageName,
    /// Code and enhanced code, or the first line with addresses and names left out.
    pub reply: String,
    pub count: u64,
    pub expected: bool,
}

/// A reply that was not the expected one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WrongAnswer {
    pub class: String,
    pub stage: StageName,
    /// Address it was sent from.
    pub source: String,
    pub expected: String,
    /// The first line that came, or what came instead of a reply.
    pub got: String,
}

/// How often something failed below SMTP: connect refused, reset, timeout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorCount {
    pub kind: String,
    pub count: u64,
}

/// One second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Its end, since the clock started.
    pub at_s: f64,
    /// Final replies in it. When there is none, the percentiles below mean nothing.
    pub messages: u64,
    /// Of the message stage.
    pub p50_us: u64,
    /// Of the message stage.
    pub p99_us: u64,
    /// CPU that the server took in it, when its process ids were given.
    pub server_cpu_us: Option<u64>,
    /// Memory of the server at its end, when its process ids were given.
    pub server_rss_octets: Option<u64>,
    /// Connections open at its end.
    pub in_flight: u64,
    /// The latest start of an arrival.
    pub late_us_max: u64,
}

/// What the server took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServerCost {
    /// The sum over the processes. Its process id is 0.
    pub total: ProcessCost,
    /// One for each `--pid`.
    pub processes: Vec<ProcessCost>,
}

/// What one process took during the run, all its threads together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ProcessCost {
    pub pid: u32,
    /// As the kernel calls it.
    pub name: String,
    pub threads: u32,
    pub cpu_user_us: u64,
    pub cpu_system_us: u64,
    /// Both over all messages of the run.
    pub cpu_us_per_message: f64,
    pub rss_start_octets: u64,
    pub rss_peak_octets: u64,
    pub rss_end_octets: u64,
    pub context_switches_voluntary: u64,
    pub context_switches_involuntary: u64,
}

/// What the generator itself took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct OwnCost {
    pub cpu_us: u64,
    /// Cores that its threads could use.
    pub cores_available: u32,
    /// What was left of them.
    pub headroom_percent: f64,
    /// Messages that were to start, for the share of the late ones.
    pub arrivals: u64,
    /// Those that started more than 1 ms after their time.
    pub late_starts: u64,
    pub late_us_p99: u64,
}

/// One step of a ramp.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RampStep {
    /// Messages a second that were to start.
    pub rate_per_s: f64,
    /// Final replies a second.
    pub achieved_per_s: f64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub wrong: u64,
    /// The server did not keep up.
    pub saturated: bool,
}

/// Where a run stands. The engine fills it, the terminal draws it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Snapshot {
    /// Final replies so far, with the warm-up; while `signing`, messages signed.
    pub messages: u64,
    /// Final replies in the last whole second.
    pub rate_per_s: f64,
    /// Connections open.
    pub in_flight: u64,
    /// Wrong answers and failures so far.
    pub wrong: u64,
    /// Of the message stage in the last whole second.
    pub p99_us: u64,
    /// Before the clock starts, while messages are signed: `messages` are.
    pub signing: bool,
}

/// Version of the format that this program writes, and the only one that it reads.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// Wrong answers that are kept.
pub(crate) const WRONG_SAMPLES_MAX: usize = 20;
/// Windows that are kept: a day.
pub(crate) const WINDOWS_MAX: usize = 86_400;
/// Latencies above this count as this: an hour.
const LATENCY_US_MAX: u64 = 3_600_000_000;
/// An histogram of 5 digits over 64 bits has less, inflated.
const HISTOGRAM_OCTETS_MAX: u64 = 64 * 1024 * 1024;

impl Measurement {
    /// The stage, if it ever happened.
    pub(crate) fn stage(&self, name: StageName) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == name && !stage.histogram.is_empty())
    }

    /// Whether it is of this format and within its bounds.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.version == FORMAT_VERSION, "format {} where {FORMAT_VERSION} is known", self.version);
        ensure!(self.windows.len() <= WINDOWS_MAX, "{} windows, at most {WINDOWS_MAX} are read", self.windows.len());
        ensure!(self.elapsed_s.is_finite() && self.elapsed_s >= 0.0, "elapsed_s is {}", self.elapsed_s);
        Ok(())
    }
}

impl StageName {
    /// In the order of a session, the whole message last.
    pub(crate) const ALL: [StageName; 10] = [
        StageName::Connect,
        StageName::Banner,
        StageName::Ehlo,
        StageName::Tls,
        StageName::Mail,
        StageName::Rcpt,
        StageName::Data,
        StageName::Reply,
        StageName::Service,
        StageName::Message,
    ];

    /// As in the reports.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            StageName::Connect => "connect",
            StageName::Banner => "banner",
            StageName::Ehlo => "ehlo",
            StageName::Tls => "tls",
            StageName::Mail => "mail",
            StageName::Rcpt => "rcpt",
            StageName::Data => "data",
            StageName::Reply => "reply",
            StageName::Service => "service",
            StageName::Message => "message",
        }
    }
}

impl Stage {
    /// A stage without latencies.
    pub(crate) fn new(name: StageName) -> Stage {
        Stage { name, histogram: latencies_us() }
    }

    /// The latency below which so many in a hundred are.
    pub(crate) fn percentile_us(&self, percent: f64) -> u64 {
        self.histogram.value_at_percentile(percent)
    }
}

/// An empty histogram of latencies: 1 µs to an hour, three significant digits. Record with `saturating_record`.
pub(crate) fn latencies_us() -> Histogram<u64> {
    let bounded = Histogram::new_with_bounds(1, LATENCY_US_MAX, SIGNIFICANT_DIGITS);
    bounded.unwrap_or_else(|_| unreachable!("constant bounds, tested"))
}

/// Of a latency.
const SIGNIFICANT_DIGITS: u8 = 3;

/// A stage as it is written.
#[derive(Serialize, Deserialize)]
struct StageText {
    name: StageName,
    #[serde(default)]
    count: u64,
    #[serde(default)]
    mean_us: f64,
    #[serde(default)]
    p50_us: u64,
    #[serde(default)]
    p90_us: u64,
    #[serde(default)]
    p95_us: u64,
    #[serde(default)]
    p99_us: u64,
    #[serde(default)]
    p999_us: u64,
    #[serde(default)]
    max_us: u64,
    /// HdrHistogram V2, deflated, base64.
    histogram: String,
}

impl From<Stage> for StageText {
    fn from(stage: Stage) -> StageText {
        StageText {
            name: stage.name,
            count: stage.histogram.len(),
            mean_us: stage.histogram.mean(),
            p50_us: stage.percentile_us(50.0),
            p90_us: stage.percentile_us(90.0),
            p95_us: stage.percentile_us(95.0),
            p99_us: stage.percentile_us(99.0),
            p999_us: stage.percentile_us(99.9),
            max_us: stage.histogram.max(),
            histogram: encode(&stage.histogram),
        }
    }
}

impl TryFrom<StageText> for Stage {
    type Error = String;

    fn try_from(text: StageText) -> Result<Stage, String> {
        let histogram = decode(&text.histogram);
        let histogram = histogram.map_err(|error| format!("histogram of stage {}: {error:#}", text.name.as_str()))?;
        Ok(Stage { name: text.name, histogram })
    }
}

/// V2, deflated, base64. Writing to memory does not fail; if it did, the text would be empty and would not be read again.
fn encode(histogram: &Histogram<u64>) -> String {
    let mut octets = Vec::new();
    let written = V2DeflateSerializer::new().serialize(histogram, &mut octets);
    written.map(|_| BASE64_STANDARD.encode(&octets)).unwrap_or_default()
}

/// Reads what [`encode`] wrote. Inflated here and not by the library, which would believe any length.
fn decode(text: &str) -> Result<Histogram<u64>> {
    let octets = BASE64_STANDARD.decode(text).context("not base64")?;
    let (Some(cookie), Some(deflated)) = (octets.get(..4), octets.get(8..)) else { bail!("too short") };
    ensure!(cookie == V2_DEFLATED, "not HdrHistogram V2, deflated");
    let mut plain = Vec::new();
    ZlibDecoder::new(deflated).take(HISTOGRAM_OCTETS_MAX).read_to_end(&mut plain).context("does not inflate")?;
    let Some(length) = plain.get(4..8) else { bail!("too short") };
    let length = length.iter().fold(0, |sum: usize, octet| sum << 8 | usize::from(*octet));
    ensure!(length <= plain.len(), "says it has {length} octets and has {}", plain.len());
    let histogram = Deserializer::new().deserialize(&mut plain.as_slice());
    histogram.map_err(|error| anyhow::anyhow!("does not decode: {error}"))
}

/// First octets of HdrHistogram V2, deflated.
const V2_DEFLATED: &[u8] = &0x1c84_9314_u32.to_be_bytes();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_survives_its_json() {
        for latencies in [&[][..], &[1], &[0, 1, 999, 1000, 1001, 123_456_789], &[u64::MAX]] {
            let mut stage = Stage::new(StageName::Reply);
            for latency_us in latencies {
                stage.histogram.saturating_record(*latency_us);
            }
            let text = serde_json::to_string(&stage).unwrap();
            let read: Stage = serde_json::from_str(&text).unwrap();
            assert_eq!(read, stage, "{text}");
        }
    }

    #[test]
    fn what_is_no_histogram_is_refused() {
        let bomb = {
            let mut header = V2_DEFLATED.to_vec();
            header.extend([0, 0, 0, 9]);
            let mut inner = 0x1c84_9313_u32.to_be_bytes().to_vec();
            inner.extend(u32::MAX.to_be_bytes());
            inner.extend([0; 40]);
            let mut deflated = flate2::write::ZlibEncoder::new(header, flate2::Compression::fast());
            std::io::Write::write_all(&mut deflated, &inner).unwrap();
            BASE64_STANDARD.encode(deflated.finish().unwrap())
        };
        let inputs = [
            ("", "too short"),
            ("%", "not base64"),
            ("AAAA", "too short"),
            ("AAAAAAAAAAAAAAAA", "not HdrHistogram V2"),
            ("HISTFAAAAAAAAAAA", "does not inflate"),
            (bomb.as_str(), "says it has 4294967295 octets"),
        ];
        for (text, says) in inputs {
            let json = format!(r#"{{"name":"reply","histogram":"{text}"}}"#);
            let error = serde_json::from_str::<Stage>(&json).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("stage reply"), "{text}: {error}");
        }
    }
}
