//! The shipped network code on a simulated network, thousands of times, with everything that breaks drawn from a seed.
//!
//! Real clients, gateways and servers (balancing, health watches, breakers, retry budgets, deadlines, queues, replays, the
//! resumption of decoder sessions) run over turmoil's TCP and its clock, each process on a host of its own: a minute of
//! latency, partitions, crashes and drains takes a second, and comes out the same every time. What computes is scripted and
//! pure, so that every answer can be held against the right one.
//!
//! Invariants: a request has exactly one end, within its deadline; a good end is the right answer, whichever replicas it
//! took; a bad one has a status that tells the caller what to do; once everything is whole again a new request succeeds in
//! bounded time; and after the last caller nothing is held anywhere.
//!
//! [`Mutant`]s show that the invariants notice: each is a defect that some invariant finds within a few seeds.
//!
//! A seed comes out the same every time, however slow its run is: the machine's clocks are simulated too. One die is left that
//! nothing outside tokio can seed, the order in which it wakes those that wait for one `watch` channel; shipped code lets
//! nothing that is seen hang on it where that was found, and orders its `select!`s.
//!
//! Left out, as no simulated clock holds them: the device's threads, TLS, and Unix sockets.

mod ask;
mod client;
mod clock;
mod faults;
mod hosts;
mod invariant;
mod mutant;
mod network;
mod plan;
mod record;
mod truth;
mod world;

pub use invariant::{Invariant, Violation};
pub use mutant::{Caught, Mutant};
pub use record::Run;
pub use world::{Setting, simulate, simulate_with};

/// The command that makes a seed's simulation again and shows its trace.
#[must_use]
pub fn replay(seed: u64) -> String {
    format!("cargo run -p unipic-chaos -- simulate --first {seed} --seeds 1 --trace")
}
