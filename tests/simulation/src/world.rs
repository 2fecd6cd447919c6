//! One simulation: hosts started, faults made at their times, callers waited for, and the books closed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::Notify;
use turmoil::{Builder, Sim};
use unipic_client::{ClientTls, Endpoint, UniPicClient, connect_over};

use crate::client::Caller;
use crate::clock::Clock;
use crate::faults::Fault;
use crate::hosts::{self, Behind, Gauge, Host};
use crate::invariant::Invariant;
use crate::mutant::Mutant;
use crate::network::{PORT, Simulated};
use crate::plan::Plan;
use crate::record::{Record, Run};
use crate::truth::mix;

/// How finely time passes.
const TICK: Duration = Duration::from_millis(4);
/// The longest simulation: callers have ended long before.
const LONGEST: Duration = Duration::from_secs(120);
/// After the last caller, until nothing may be held any more: what was cut off is noticed by keepalives within 4 s.
const SETTLING: Duration = Duration::from_secs(6);
/// How often links change, and how many at a time.
const CHANGING: Duration = Duration::from_millis(200);
const LINKS_CHANGED: usize = 4;
/// Apart from everything else that is drawn from a seed.
const WEATHER: u64 = 1 << 32;
const ORDER: u64 = 1 << 33;
/// Requests that a client has under way at once.
const AT_ONCE: u64 = 2;

/// Handles on the processes.
#[derive(Default)]
pub(crate) struct Processes {
    stops: BTreeMap<String, Arc<Notify>>,
    gauges: BTreeMap<String, Gauge>,
}

impl Processes {
    /// Tells a process to drain and end.
    pub(crate) fn stop(&self, host: &str) {
        if let Some(stop) = self.stops.get(host) {
            stop.notify_waiters();
        }
    }

    fn add(&mut self, name: &str, network: &Simulated, mutant: Option<Mutant>) -> Host {
        let held = Gauge::new(match mutant {
            Some(Mutant::KeepsPlaces) => usize::MAX,
            Some(Mutant::KeepsOnePlace) => 1,
            _ => 0,
        });
        let host = Host { network: network.clone(), stop: Arc::default(), held, starts: Arc::default(), mutant };
        self.stops.insert(name.to_owned(), Arc::clone(&host.stop));
        self.gauges.insert(name.to_owned(), host.held.clone());
        host
    }
}

/// How a seed is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setting {
    /// Real time that is lost at every change of the weather, as on a busy machine. It may change nothing.
    pub hiccup: Duration,
    /// What is wrong with the system.
    pub mutant: Option<Mutant>,
}

/// Runs the simulation of a seed.
#[must_use]
pub fn simulate(seed: u64) -> Run {
    simulate_with(seed, Setting::default())
}

/// [`simulate`] in a setting. On a thread of its own: what is kept by thread, such as the date of answers and the order of maps,
/// would else be that of the run before.
#[must_use]
pub fn simulate_with(seed: u64, setting: Setting) -> Run {
    std::thread::scope(|scope| {
        let run = scope.spawn(|| alone(seed, setting));
        run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn alone(seed: u64, setting: Setting) -> Run {
    // Jitter of pauses and breakers comes from this thread's generator.
    fastrand::seed(seed);
    let clock = Clock::stop();
    let (plan, record) = (Plan::draw(seed), Record::of(seed));
    let mut sim = Builder::new()
        .rng_seed(seed)
        .tick_duration(TICK)
        .simulation_duration(LONGEST)
        // One latency a link and moment: what is drawn a message would be drawn in the order in which tasks happen to run,
        // which tokio decides by dice of its own.
        .min_message_latency(Duration::from_millis(plan.latency.0))
        .max_message_latency(Duration::from_millis(plan.latency.0))
        .tcp_capacity(1 << 16)
        .build();
    let processes = start(&mut sim, &plan, setting.mutant);
    call(&mut sim, &plan, &record, setting.mutant);
    if let Err(error) = (Course { plan: &plan, processes: &processes, record: &record, clock, setting }).run(&mut sim) {
        record.violation(sim.elapsed(), Invariant::Ends, &format!("the simulation ended: {error}"));
    }
    for (host, gauge) in &processes.gauges {
        if gauge.now() > 0 {
            let text = format!("{host} still holds {} calls", gauge.now());
            record.violation(sim.elapsed(), Invariant::NothingHeld, &text);
        }
    }
    record.with(|run| run.lasted = sim.elapsed());
    drop(sim);
    record.finish()
}

/// Where the replicas of a service are: each by itself, or all by one name.
fn endpoints(plan: &Plan, role: &str, hosts: &[String]) -> Vec<Endpoint> {
    let texts = match plan.by_name {
        true => vec![format!("dns:///{role}:{PORT}")],
        false => hosts.iter().map(|host| format!("http://{host}:{PORT}")).collect(),
    };
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

fn network(plan: &Plan, mutant: Option<Mutant>) -> Simulated {
    let names = [("understanding", &plan.understanding), ("synthesis", &plan.synthesis), ("decoder", &plan.decoders)];
    Simulated::new(names.into_iter().map(|(name, hosts)| (name.to_owned(), hosts.clone())).collect(), mutant)
}

fn start(sim: &mut Sim<'_>, plan: &Plan, mutant: Option<Mutant>) -> Processes {
    let (network, mut processes) = (network(plan, mutant), Processes::default());
    let decoder = endpoints(plan, "decoder", &plan.decoders);
    let understanding = endpoints(plan, "understanding", &plan.understanding);
    let behind =
        Behind { understanding, synthesis: endpoints(plan, "synthesis", &plan.synthesis), decoder: decoder.clone() };
    let patience = plan.patience;
    let mut names: Vec<&String> = plan.servers().collect();
    // Hosts run in the order in which they are added.
    Rng::with_seed(mix(plan.seed, ORDER)).shuffle(&mut names);
    for name in names {
        let (host, decoder, behind) = (processes.add(name, &network, mutant), decoder.clone(), behind.clone());
        let at = name.as_str();
        match name.split('-').next() {
            Some("understanding") => sim.host(at, move || hosts::understanding(host.clone())),
            Some("decoder") => sim.host(at, move || hosts::decoder(host.clone())),
            Some("synthesis") => sim.host(at, move || hosts::synthesis(host.clone(), decoder.clone(), patience)),
            _ => sim.host(at, move || hosts::gateway(host.clone(), behind.clone(), patience)),
        }
    }
    processes
}

/// Starts the callers.
fn call(sim: &mut Sim<'_>, plan: &Plan, record: &Record, mutant: Option<Mutant>) {
    let (network, healed) = (network(plan, mutant), plan.healed());
    for (number, name) in (0_u64..).zip(&plan.clients) {
        let (network, record, seed) = (network.clone(), record.clone(), mix(plan.seed, number));
        let texts: Vec<String> = plan.gateways.iter().map(|host| format!("http://{host}:{PORT}")).collect();
        let name = name.clone();
        sim.client(name.clone(), async move {
            let gateways: Vec<Endpoint> = texts.iter().filter_map(|text| text.parse().ok()).collect();
            let connection = connect_over(Arc::new(network), &gateways, &ClientTls::default())?;
            let client = UniPicClient::over(connection);
            let callers = (0..AT_ONCE).map(|lane| {
                let (name, client, record) = (format!("{name}.{lane}"), client.clone(), record.clone());
                Caller { name, client, record, healed, mutant }.ask_on(Rng::with_seed(mix(seed, lane)))
            });
            futures::future::join_all(callers).await;
            Ok(())
        });
    }
}

/// A fault's beginning or end.
struct Turn<'a> {
    at: Duration,
    fault: &'a Fault,
    begins: bool,
}

impl<'a> Turn<'a> {
    fn both(fault: &'a Fault) -> [Self; 2] {
        [Self { at: fault.from, fault, begins: true }, Self { at: fault.to, fault, begins: false }]
    }
}

/// Some links are slower from now on, and some faster.
fn change_weather(sim: &Sim<'_>, plan: &Plan, weather: &mut Rng) {
    for _ in 0..LINKS_CHANGED {
        let (link, delay) = (plan.link(weather), plan.delay(weather));
        if !plan.faults.iter().any(|fault| fault.slows(&link)) {
            sim.set_link_latency(link.0.as_str(), link.1.as_str(), delay);
        }
    }
}

/// What goes on around the hosts while time passes.
struct Course<'a> {
    plan: &'a Plan,
    processes: &'a Processes,
    record: &'a Record,
    clock: Clock,
    setting: Setting,
}

impl Course<'_> {
    /// Lets time pass until every caller has ended and everything had time to settle.
    fn run(&self, sim: &mut Sim<'_>) -> turmoil::Result {
        let mut turns: Vec<Turn<'_>> = self.plan.faults.iter().flat_map(Turn::both).collect();
        turns.sort_by_key(|turn| turn.at);
        let mut turns = turns.into_iter().peekable();
        let (mut weather, mut changes_at) = (Rng::with_seed(mix(self.plan.seed, WEATHER)), Duration::ZERO);
        loop {
            if sim.elapsed() >= changes_at {
                std::thread::sleep(self.setting.hiccup);
                change_weather(sim, self.plan, &mut weather);
                changes_at += CHANGING;
            }
            while let Some(turn) = turns.next_if(|turn| turn.at <= sim.elapsed()) {
                self.take(sim, &turn, &mut weather);
            }
            if self.step(sim)? {
                break;
            }
        }
        let end = sim.elapsed() + SETTLING;
        while sim.elapsed() < end {
            self.step(sim)?;
        }
        Ok(())
    }

    fn take(&self, sim: &mut Sim<'_>, turn: &Turn<'_>, weather: &mut Rng) {
        let word = if turn.begins { "begins" } else { "ends" };
        self.record.event(sim.elapsed(), &format!("{} {word}", turn.fault));
        match turn.begins {
            true => {
                turn.fault.begin(sim, self.processes);
                self.record.with(|run| *run.faults.entry(turn.fault.name()).or_default() += 1);
            }
            false => turn.fault.end(sim, self.plan.delay(weather)),
        }
    }

    /// A tick of every host. True where all callers have ended.
    fn step(&self, sim: &mut Sim<'_>) -> turmoil::Result<bool> {
        self.clock.set(sim.elapsed());
        sim.step()
    }
}
