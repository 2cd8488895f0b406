//! `mx6-loadgen run`: mail from the population to a server, measured from the time each message was to start, every reply compared with
//! the one it must be.
//!
//! The server is not trusted: whatever it answers is counted, and nothing it does ends the run early.

mod cost;
mod envelope;
mod expectation;
mod hostile;
mod mail;
mod options;
mod quantity;
mod recorder;
mod sampler;
mod session;
mod socket;
mod timer;
mod tls;
mod wire;
mod worker;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};

use self::expectation::Expectation;
use self::mail::Mail;
use self::recorder::{Record, Recorder};
use self::sampler::{Sampler, Samples, Subjects};
use self::worker::{Common, Load, Setup, Worker};
use crate::machine;
use crate::measurement::{Arrivals, FORMAT_VERSION, Measurement, OwnCost, Plan, RampStep, Snapshot, StageName};
use crate::population::Population;
use crate::report::{self, Goal, Progress};
use crate::zone::Zone;

pub(crate) use self::options::Options;
pub(crate) use self::sampler::Live;

/// Sends as the options say. True if no reply was wrong.
pub(crate) fn run(options: &Options, out: &mut impl Write) -> Result<bool> {
    let plan = options.plan()?;
    options.report.check()?;
    allow_files(options)?;
    let population = Arc::new(Population::new(&options.population)?);
    if !options.proxy && !options.no_bind {
        socket::check_routes(population.prefixes())?;
    }
    let zone =
        options.with_zone.map(|listen| Zone::start(listen, population.clone(), options.faults.clone(), options.seed));
    let zone = zone.transpose()?;
    let live = Live::default();
    let setup = Arc::new(prepare(options, population, &live, out)?);
    check_target(&setup)?;
    let progress = start_progress(options, options.goal(), &live);
    let measured = measure(&setup, plan, live, zone.as_ref());
    progress.finish();
    let measurement = measured?;
    report::write_all(&measurement, &options.report, out)?;
    if let Some(zone) = &zone
        && !options.report.quiet
    {
        writeln!(out, "zone: {}", zone.counters)?;
    }
    Ok(measurement.wrong == 0)
}

/// Draws what `live` tells. It ends with what is returned.
fn start_progress(options: &Options, goal: Goal, live: &Live) -> Progress {
    let watched = live.clone();
    Progress::start(options.report.quiet, goal, move || watched.snapshot())
}

/// Makes and signs the mail.
fn prepare(options: &Options, population: Arc<Population>, live: &Live, out: &mut impl Write) -> Result<Setup> {
    let pool = options.pool as usize;
    let progress = start_progress(options, Goal::Messages(Mail::signatures(&population, pool)), live);
    let signed = |messages| live.set(Snapshot { signing: true, messages, ..Snapshot::default() });
    let mail = Mail::prepare(&population, &options.body, pool, options.seed, signed)?;
    progress.finish();
    live.set(Snapshot::default());
    writeln!(out, "{} messages signed in {:.2} s", mail.signatures, mail.signing.as_secs_f64())?;
    let expectation = Expectation::new(options, &population);
    Ok(Setup { options: options.clone(), population, mail, expectation, tls: tls::config()? })
}

/// One descriptor for each connection, and some.
fn allow_files(options: &Options) -> Result<()> {
    let wanted = u64::from(options.closed.unwrap_or(options.sessions_max)) + FILES_OF_OUR_OWN;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        let allowed = setrlimit(Resource::Nofile, raised).is_ok() && limit.maximum.is_none_or(|most| most >= wanted);
        ensure!(
            allowed,
            "{wanted} open files are needed: raise the limit (ulimit -n {wanted}), or lower --sessions-max"
        );
    }
    Ok(())
}

/// Whether anybody listens, before the clock starts.
fn check_target(setup: &Setup) -> Result<()> {
    let options = &setup.options;
    let source = setup
        .population
        .mix()
        .classes()
        .next()
        .map(|class| setup.population.draw_source(class, &mut fastrand::Rng::with_seed(0)));
    let address = source.filter(|_| !options.proxy && !options.no_bind).map(|source| setup.population.address(source));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let connecting = async { tokio::time::timeout(CHECK_TIMEOUT, socket::connect(options.target, address)).await };
    match runtime.block_on(connecting) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error).with_context(|| format!("connecting to {}", options.target)),
        Err(_) => bail!("connecting to {} takes longer than {} s", options.target, CHECK_TIMEOUT.as_secs()),
    }
}

/// Sends, from the warm-up to the last reply.
fn measure(setup: &Arc<Setup>, plan: Plan, live: Live, zone: Option<&Zone>) -> Result<Measurement> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The first asks for an end, the second does not ask.
        signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let options = &setup.options;
    let recorders: Vec<Arc<Recorder>> = (0..options.threads).map(|_| Arc::new(Recorder::new())).collect();
    let common = Arc::new(Common::new(options.messages, stop));
    let started_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let from = Instant::now() + options.warmup;
    recorders.iter().for_each(|recorder| recorder.lock().begin(from));
    let subjects =
        Subjects { recorders: recorders.clone(), common: common.clone(), pids: options.pid.clone(), live, from };
    let sampler = Sampler::start(subjects)?;
    let run = Run { setup, recorders: &recorders, common: &common };
    let sent = run.send(&plan.arrivals, from);
    let samples = sampler.finish()?;
    let sent = sent?;
    Ok(measurement(setup, plan, started_unix_s, sent, &samples, zone))
}

/// What the workers saw, all together.
struct Sent {
    record: Record,
    ramp: Vec<RampStep>,
}

/// What a run goes on with.
struct Run<'r> {
    setup: &'r Arc<Setup>,
    recorders: &'r [Arc<Recorder>],
    common: &'r Arc<Common>,
}

impl Run<'_> {
    fn send(&self, arrivals: &Arrivals, from: Instant) -> Result<Sent> {
        let until = |start: Instant| self.setup.options.time().map(|time| start + time);
        match arrivals {
            Arrivals::Open { rate_per_s, spacing } => {
                let load = Load::Open { rate_per_s: *rate_per_s, spacing: *spacing };
                Ok(Sent { record: self.phase(load, Instant::now(), until(from), 0)?, ramp: Vec::new() })
            }
            Arrivals::Closed { connections } => {
                let load = Load::Closed { connections: *connections };
                Ok(Sent { record: self.phase(load, Instant::now(), until(from), 0)?, ramp: Vec::new() })
            }
            Arrivals::Ramp { rates_per_s, step_s, spacing } => {
                let mut sent = Sent { record: Recorder::new().lock().take(), ramp: Vec::new() };
                for (number, rate_per_s) in rates_per_s.iter().enumerate() {
                    // The first step begins with the warm-up, each further one when the one before has its last reply.
                    let begin = Instant::now();
                    let counted = if number == 0 { from } else { begin };
                    let load = Load::Open { rate_per_s: *rate_per_s, spacing: *spacing };
                    let end = counted + Duration::from_secs_f64(*step_s);
                    let record = self.phase(load, begin, Some(end), number as u64)?;
                    let step = self.judge(*rate_per_s, &record, *step_s, counted.elapsed());
                    let over = step.saturated || self.common.stop.load(std::sync::atomic::Ordering::Relaxed);
                    sent.ramp.push(step);
                    sent.record.merge(record);
                    if over {
                        break;
                    }
                    self.recorders.iter().for_each(|recorder| recorder.lock().begin(Instant::now()));
                }
                Ok(sent)
            }
        }
    }

    /// Whether the server kept up: with what did arrive, which by the lots is more or less than the rate.
    fn judge(&self, rate_per_s: f64, record: &Record, step_s: f64, took: Duration) -> RampStep {
        let took_s = took.as_secs_f64();
        let failed: u64 = record.error_counts().iter().map(|error| error.count).sum();
        let answered = record.messages as f64 / (record.messages + failed).max(1) as f64;
        let p99_us = record.percentile_us(StageName::Message, 99.0);
        let too_late = p99_us as f64 > self.setup.options.ramp_p99_ms * 1_000.0;
        RampStep {
            rate_per_s,
            achieved_per_s: record.messages as f64 / took_s,
            p50_us: record.percentile_us(StageName::Message, 50.0),
            p99_us,
            wrong: record.wrong,
            saturated: too_late || answered * step_s / took_s < KEEPS_UP,
        }
    }

    /// Runs all workers to their end and takes out what they recorded.
    fn phase(&self, load: Load, start: Instant, until: Option<Instant>, number: u64) -> Result<Record> {
        let workers = u32::try_from(self.recorders.len())?;
        let mut threads = Vec::new();
        for (at, recorder) in (0..workers).zip(self.recorders) {
            let load = share(load, at, workers);
            let sessions_max = match load {
                Load::Closed { connections } => connections.max(1),
                Load::Open { .. } => self.setup.options.sessions_max.div_ceil(workers),
            };
            let worker = Worker {
                setup: self.setup.clone(),
                recorder: recorder.clone(),
                common: self.common.clone(),
                load,
                sessions_max,
                start,
                until,
                seed: self.setup.options.seed ^ (u64::from(at) << 32 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            };
            threads.push(std::thread::Builder::new().name(format!("worker-{at}")).spawn(move || worker.run())?);
        }
        let mut all = Recorder::new().lock().take();
        for (thread, recorder) in threads.into_iter().zip(self.recorders) {
            thread.join().map_err(|_| anyhow!("a worker died"))??;
            all.merge(recorder.lock().take());
        }
        Ok(all)
    }
}

/// One worker's part.
fn share(load: Load, worker: u32, workers: u32) -> Load {
    match load {
        Load::Open { rate_per_s, spacing } => Load::Open { rate_per_s: rate_per_s / f64::from(workers), spacing },
        Load::Closed { connections } => {
            Load::Closed { connections: connections / workers + u32::from(worker < connections % workers) }
        }
    }
}

fn measurement(
    setup: &Setup,
    plan: Plan,
    started_unix_s: u64,
    sent: Sent,
    samples: &Samples,
    zone: Option<&Zone>,
) -> Measurement {
    let Sent { record, ramp } = sent;
    let elapsed_s = samples.elapsed.as_secs_f64();
    let cores = setup.options.threads.min(available_cores());
    let cpu_us = samples.own_cpu_us(zone.map(|zone| zone.thread_id));
    let own = OwnCost {
        cpu_us,
        cores_available: cores,
        headroom_percent: (100.0 - cpu_us as f64 / (elapsed_s * 10_000.0 * f64::from(cores))).max(0.0),
        arrivals: record.arrivals,
        late_starts: record.late_starts,
        late_us_p99: record.late_us.value_at_percentile(99.0),
    };
    let kept_up = ramp.iter().take_while(|step| !step.saturated).last().map(|step| step.achieved_per_s);
    Measurement {
        version: FORMAT_VERSION,
        command: std::env::args().collect(),
        started_unix_s,
        target: setup.options.target.to_string(),
        machine: machine::facts(),
        plan,
        elapsed_s,
        messages: record.messages,
        connections: record.connections,
        octets_sent: record.octets_sent,
        tls_connections: record.tls_connections,
        replies: record.reply_counts(),
        wrong: record.wrong,
        wrong_samples: record.wrong_samples.clone(),
        errors: record.error_counts(),
        windows: samples.windows.clone(),
        server: samples.server_cost(record.messages),
        own,
        saturation_per_s: kept_up.filter(|_| ramp.last().is_some_and(|step| step.saturated)),
        ramp,
        stages: record.into_stages(),
    }
}

fn available_cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

/// A step of the ramp is too fast when less than this share is answered, or answered at this share of the rate.
const KEEPS_UP: f64 = 0.97;

/// Before the clock starts.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// Descriptors that are no connections.
const FILES_OF_OUR_OWN: u64 = 64;
