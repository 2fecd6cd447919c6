//! One simulation: hosts started, faults made at their times, callers waited for, and the books closed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::Notify;
use turmoil::{Builder, Sim};
use unipic_client::{ClientTls, Endpoint, UniPicClient, connect_over};

use crate::client::Caller;
use crate::faults::Fault;
use crate::hosts::{self, Behind, Gauge, Host};
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

    fn add(&mut self, name: &str, network: &Simulated) -> Host {
        let host = Host { network: network.clone(), stop: Arc::default(), held: Gauge::default() };
        self.stops.insert(name.to_owned(), Arc::clone(&host.stop));
        self.gauges.insert(name.to_owned(), host.held.clone());
        host
    }
}

/// Runs the simulation of a seed on this thread.
#[must_use]
pub fn simulate(seed: u64) -> Run {
    // Jitter of pauses and breakers comes from this thread's generator.
    fastrand::seed(seed);
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
    let processes = start(&mut sim, &plan);
    call(&mut sim, &plan, &record);
    if let Err(error) = drive(&mut sim, &plan, &processes, &record) {
        record.violation(sim.elapsed(), &format!("the simulation ended: {error}"));
    }
    for (host, gauge) in &processes.gauges {
        if gauge.now() > 0 {
            record.violation(sim.elapsed(), &format!("{host} still holds {} calls", gauge.now()));
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

fn network(plan: &Plan) -> Simulated {
    let names = [("understanding", &plan.understanding), ("synthesis", &plan.synthesis), ("decoder", &plan.decoders)];
    Simulated(Arc::new(names.into_iter().map(|(name, hosts)| (name.to_owned(), hosts.clone())).collect()))
}

fn start(sim: &mut Sim<'_>, plan: &Plan) -> Processes {
    let (network, mut processes) = (network(plan), Processes::default());
    let decoder = endpoints(plan, "decoder", &plan.decoders);
    let understanding = endpoints(plan, "understanding", &plan.understanding);
    let behind =
        Behind { understanding, synthesis: endpoints(plan, "synthesis", &plan.synthesis), decoder: decoder.clone() };
    let patience = plan.patience;
    let mut names: Vec<&String> = plan.servers().collect();
    // Hosts run in the order in which they are added.
    Rng::with_seed(mix(plan.seed, ORDER)).shuffle(&mut names);
    for name in names {
        let (host, decoder, behind) = (processes.add(name, &network), decoder.clone(), behind.clone());
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
fn call(sim: &mut Sim<'_>, plan: &Plan, record: &Record) {
    let (network, healed) = (network(plan), plan.healed());
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
                Caller { name, client, record, healed }.ask_on(Rng::with_seed(mix(seed, lane)))
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

/// Lets time pass until every caller has ended and everything had time to settle.
fn drive(sim: &mut Sim<'_>, plan: &Plan, processes: &Processes, record: &Record) -> turmoil::Result {
    let mut turns: Vec<Turn<'_>> = plan.faults.iter().flat_map(Turn::both).collect();
    turns.sort_by_key(|turn| turn.at);
    let mut turns = turns.into_iter().peekable();
    let (mut weather, mut changes_at) = (Rng::with_seed(mix(plan.seed, WEATHER)), Duration::ZERO);
    loop {
        if sim.elapsed() >= changes_at {
            change_weather(sim, plan, &mut weather);
            changes_at += CHANGING;
        }
        while let Some(turn) = turns.next_if(|turn| turn.at <= sim.elapsed()) {
            let word = if turn.begins { "begins" } else { "ends" };
            record.event(sim.elapsed(), &format!("{} {word}", turn.fault));
            match turn.begins {
                true => {
                    turn.fault.begin(sim, processes);
                    record.with(|run| *run.faults.entry(turn.fault.name()).or_default() += 1);
                }
                false => turn.fault.end(sim, plan.delay(&mut weather)),
            }
        }
        if sim.step()? {
            break;
        }
    }
    let end = sim.elapsed() + SETTLING;
    while sim.elapsed() < end {
        sim.step()?;
    }
    Ok(())
}
