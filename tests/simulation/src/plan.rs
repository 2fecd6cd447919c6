//! What a seed stands for: how many replicas there are, how slow the network is, what breaks when, and how patient clients
//! and services are. Drawn once, before anything runs.

use std::time::Duration;

use fastrand::Rng;

use crate::faults::Fault;

/// When the first fault may begin; by then everything is up.
const FIRST_FAULT_MS: u64 = 800;
/// When the last fault may begin.
const LAST_FAULT_MS: u64 = 9000;
/// The longest fault.
const LONGEST_MS: u64 = 6000;

/// Everything drawn from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) clients: Vec<String>,
    pub(crate) gateways: Vec<String>,
    pub(crate) understanding: Vec<String>,
    pub(crate) synthesis: Vec<String>,
    pub(crate) decoders: Vec<String>,
    /// Gateways find the services by a name that stands for all replicas, not by one address each.
    pub(crate) by_name: bool,
    /// Of a message, in milliseconds, at least and at most: each link has its own, which changes now and then.
    pub(crate) latency: (u64, u64),
    /// How long a step of a request may find no working replica.
    pub(crate) patience: Duration,
    pub(crate) faults: Vec<Fault>,
}

fn named(role: &str, n: usize) -> Vec<String> {
    (0..n).map(|i| format!("{role}-{i}")).collect()
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn draw(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let least = rng.u64(1..4);
        let mut plan = Self {
            seed,
            clients: named("client", rng.usize(1..=3)),
            gateways: named("gateway", rng.usize(1..=2)),
            understanding: named("understanding", rng.usize(1..=2)),
            synthesis: named("synthesis", rng.usize(1..=2)),
            decoders: named("decoder", rng.usize(1..=3)),
            by_name: rng.bool(),
            latency: (least, least + rng.u64(1..25)),
            patience: Duration::from_secs(*rng.choice(&[2, 10, 60]).unwrap_or(&10)),
            faults: Vec::new(),
        };
        for _ in 0..rng.usize(0..=14) {
            let fault = plan.fault(&mut rng);
            // What is broken already is not broken again; both ends of a fault would otherwise mend the other's.
            if !plan.faults.iter().any(|other| other.meets(&fault)) {
                plan.faults.push(fault);
            }
        }
        plan
    }

    fn fault(&self, rng: &mut Rng) -> Fault {
        let from = Duration::from_millis(rng.u64(FIRST_FAULT_MS..LAST_FAULT_MS));
        // Most are short; some outlast every keepalive.
        let longest = if rng.bool() { LONGEST_MS / 10 } else { LONGEST_MS };
        let to = from + Duration::from_millis(rng.u64(20..longest));
        let (host, link) = (self.server(rng), self.link(rng));
        Fault::draw(rng, (from, to), host, link)
    }

    /// All that can be killed.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &String> {
        self.gateways.iter().chain(&self.understanding).chain(&self.synthesis).chain(&self.decoders)
    }

    fn server(&self, rng: &mut Rng) -> String {
        let servers: Vec<_> = self.servers().cloned().collect();
        servers[rng.usize(..servers.len())].clone()
    }

    /// What a link's messages take from now on.
    pub(crate) fn delay(&self, rng: &mut Rng) -> Duration {
        Duration::from_millis(rng.u64(self.latency.0..=self.latency.1))
    }

    /// Two hosts that talk to each other.
    pub(crate) fn link(&self, rng: &mut Rng) -> (String, String) {
        let kinds = [
            (&self.clients, &self.gateways),
            (&self.gateways, &self.understanding),
            (&self.gateways, &self.synthesis),
            (&self.gateways, &self.decoders),
            (&self.synthesis, &self.decoders),
        ];
        let (from, to) = kinds[rng.usize(..kinds.len())];
        (from[rng.usize(..from.len())].clone(), to[rng.usize(..to.len())].clone())
    }

    /// When everything is whole again.
    pub(crate) fn healed(&self) -> Duration {
        let last = self.faults.iter().map(|fault| fault.to).max().unwrap_or_default();
        last.max(Duration::from_millis(LAST_FAULT_MS))
    }
}
