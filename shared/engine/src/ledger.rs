//! What each tenant has had of the device, and whose turn it is next.
//!
//! Start-time fair queueing: the tenant that has had least goes first, and one that was away comes back level with the
//! others, so that nobody saves up a claim. What a pass took is divided among its jobs by their tokens; that is the one
//! currency in which a step of the diffusion head, a prefill and an autoencoder pass can be compared.
//!
//! Equal shares alone would make a tenant that asks one thing after the other twice as slow beside one that keeps
//! sixteen requests going, who hardly feels what it gains by that. So a tenant with at least twice as many jobs at once
//! as another one pays [`WIDE`] times for as long as that other is about. It is never kept out: shares are finite.
//!
//! A request's next job comes a moment after the answer to its last one. A device that never waited would give every one
//! of those moments to whoever has a queue, however much that one has had. So it waits [`GRACE`] for a tenant that is
//! ahead of the others in line and came back in time before, and only for such.
//!
//! A value that is told the time: its tests have no clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a tenant with many jobs pays beside one with few, times what it uses.
const WIDE: f64 = 3.0;

/// How long the device may wait for a tenant whose turn it is: an answer's way to its caller and the next job's way back,
/// with what is computed in between.
pub(crate) const GRACE: Duration = Duration::from_micros(500);

/// How long a tenant is about after its last job: the pause between two requests of somebody who waits for each.
const PRESENCE: Duration = Duration::from_millis(100);

/// What the number of jobs a tenant had at once still counts after one more look.
const WIDTH_KEPT: f64 = 0.99;

/// Jobs of a tenant that wait, of all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) jobs: usize,
    /// When the first of them was handed over.
    pub(crate) oldest: Instant,
}

/// Who waits.
pub(crate) type Tally = HashMap<Arc<str>, Waiting>;

/// What every tenant that is about has had.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    accounts: HashMap<Arc<str>, Account>,
    /// What the last tenant to have its turn had had by then: the level of those who are served.
    level: f64,
}

#[derive(Debug)]
struct Account {
    /// Seconds of the device, counted [`WIDE`] times while others had to wait for many jobs.
    had: f64,
    /// Jobs at once, of late.
    width: f64,
    waiting: Option<Waiting>,
    /// When it last had a job here.
    seen: Instant,
    /// When its last job was answered; none once that was looked at.
    answered: Option<Instant>,
    /// Whether its next job came in time after its last answer.
    returns: bool,
}

impl Ledger {
    /// Takes note of who waits, and forgets who is away.
    pub(crate) fn look(&mut self, tally: &Tally, now: Instant) {
        for (tenant, account) in &mut self.accounts {
            if !tally.contains_key(tenant) {
                account.waiting = None;
            }
        }
        for (tenant, waiting) in tally {
            let account = self.accounts.entry(tenant.clone()).or_insert_with(|| Account::new(self.level, now));
            account.look(*waiting, self.level, now);
        }
        self.accounts
            .retain(|_, account| account.waiting.is_some() || now.saturating_duration_since(account.seen) <= PRESENCE);
    }

    /// Who is next of those who wait.
    pub(crate) fn next(&self) -> Option<Arc<str>> {
        let waiting = self.accounts.iter().filter_map(|(tenant, account)| Some((tenant, account, account.waiting?)));
        let first = waiting.min_by(|(_, a, x), (_, b, y)| {
            let by_had = a.had.total_cmp(&b.had).then(a.width.total_cmp(&b.width));
            by_had.then(x.oldest.cmp(&y.oldest))
        });
        first.map(|(tenant, ..)| tenant.clone())
    }

    /// Somebody who goes before `leader`, is on the way back and may be waited for, with the time until when.
    pub(crate) fn awaited(&self, leader: &str, now: Instant) -> Option<(Arc<str>, Duration)> {
        let had = self.accounts.get(leader)?.had;
        let left = |account: &Account| {
            let since =
                account.answered.filter(|_| account.returns && account.waiting.is_none() && account.had < had)?;
            let left = (since + GRACE).saturating_duration_since(now);
            (!left.is_zero()).then_some(left)
        };
        self.accounts.iter().find_map(|(tenant, account)| Some((tenant.clone(), left(account)?)))
    }

    /// It was waited for in vain, and is not again until it has been seen to come back in time.
    pub(crate) fn missed(&mut self, tenant: &str) {
        if let Some(account) = self.accounts.get_mut(tenant) {
            account.returns = false;
        }
    }

    /// It has its turn.
    pub(crate) fn leads(&mut self, tenant: &str) {
        if let Some(account) = self.accounts.get(tenant) {
            self.level = self.level.max(account.had);
        }
    }

    /// One of its jobs was answered behind a pass of which so many seconds were its own.
    pub(crate) fn charge(&mut self, tenant: &str, seconds: f64, now: Instant) {
        let times = if self.is_wide(tenant) { WIDE } else { 1.0 };
        if let Some(account) = self.accounts.get_mut(tenant) {
            account.had += times * seconds;
            account.answered = Some(now);
            account.seen = now;
        }
    }

    /// Whether others are about who have far fewer jobs at once.
    pub(crate) fn is_wide(&self, tenant: &str) -> bool {
        let Some(width) = self.accounts.get(tenant).map(|account| account.width) else { return false };
        self.accounts.values().any(|other| 2.0 * other.width <= width)
    }

    /// Whether anybody is.
    pub(crate) fn is_uneven(&self) -> bool {
        self.accounts.keys().any(|tenant| self.is_wide(tenant))
    }

    /// What a tenant has had, for an order among several.
    pub(crate) fn had(&self, tenant: &str) -> f64 {
        self.accounts.get(tenant).map_or(self.level, |account| account.had)
    }
}

impl Account {
    fn new(level: f64, now: Instant) -> Self {
        Self { had: level, width: 1.0, waiting: None, seen: now, answered: None, returns: false }
    }

    fn look(&mut self, waiting: Waiting, level: f64, now: Instant) {
        let answered = self.answered.take();
        // One that waited already, and was not served, is neither early nor late.
        if answered.is_some() || self.waiting.is_none() {
            let in_time = |at| waiting.oldest.saturating_duration_since(at) <= GRACE;
            self.returns = answered.is_some_and(in_time);
            self.had = if self.returns { self.had } else { self.had.max(level) };
        }
        self.width = (WIDTH_KEPT * self.width).max(waiting.jobs as f64);
        self.seen = now;
        self.waiting = Some(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ledger, its clock, and what everybody has waiting.
    struct Desk {
        ledger: Ledger,
        now: Instant,
    }

    impl Desk {
        fn new() -> Self {
            Self { ledger: Ledger::default(), now: Instant::now() }
        }

        /// Looks at so many jobs of each tenant, all handed over now.
        fn look(&mut self, waiting: &[(&str, usize)]) {
            let oldest = self.now;
            let tally = waiting.iter().map(|(tenant, jobs)| ((*tenant).into(), Waiting { jobs: *jobs, oldest }));
            self.ledger.look(&tally.collect(), self.now);
        }

        /// Lets the next one have the device for a millisecond; returns who that was.
        fn serve(&mut self, waiting: &[(&str, usize)]) -> String {
            self.look(waiting);
            let tenant = self.ledger.next().unwrap();
            self.ledger.leads(&tenant);
            self.now += Duration::from_millis(1);
            self.ledger.charge(&tenant, 1e-3, self.now);
            tenant.to_string()
        }

        fn served(&mut self, n: usize, waiting: &[(&str, usize)]) -> String {
            (0..n).map(|_| self.serve(waiting)).collect()
        }
    }

    #[test]
    fn equals_take_turns_and_a_crowd_goes_behind_without_starving() {
        let mut desk = Desk::new();
        let order = desk.served(12, &[("a", 3), ("b", 4), ("c", 3)]);
        assert!(["a", "b", "c"].iter().all(|t| order.matches(t).count() == 4), "{order}");
        let mut desk = Desk::new();
        let order = desk.served(40, &[("q", 1), ("n", 8)]);
        let crowd = order.matches('n').count();
        assert!((9..=11).contains(&crowd), "one of many jobs has a quarter beside one of few: {order}");
        assert!(!order.contains("nn"), "{order}");
    }

    #[test]
    fn nobody_saves_up_a_claim_while_away() {
        let mut desk = Desk::new();
        desk.served(2, &[("a", 1), ("b", 1)]);
        desk.served(50, &[("b", 1)]);
        let order = desk.served(10, &[("a", 1), ("b", 1)]);
        assert!((5..=6).contains(&order.matches('a').count()), "{order}");
        desk.now += 2 * PRESENCE;
        desk.look(&[("b", 1)]);
        assert_eq!(desk.ledger.accounts.len(), 1, "who is away for long is forgotten");
        assert!(!desk.ledger.is_uneven());
    }

    #[test]
    fn only_who_goes_first_and_comes_back_in_time_is_waited_for() {
        let mut desk = Desk::new();
        let both = [("q", 1), ("n", 8)];
        desk.served(8, &both);
        // Long enough for all that follows, the crowd has had more.
        desk.ledger.charge("n", 1.0, desk.now);
        let awaited = |desk: &Desk, leader: &str| desk.ledger.awaited(leader, desk.now).map(|(who, _)| who.to_string());
        assert_eq!(desk.served(2, &both), "qq");
        desk.look(&[("n", 8)]);
        assert_eq!(awaited(&desk, "n").as_deref(), Some("q"));
        desk.now += 2 * GRACE;
        assert_eq!(awaited(&desk, "n"), None, "long enough");
        assert_eq!(desk.serve(&both), "q");
        desk.look(&[("n", 8)]);
        assert_eq!(awaited(&desk, "n"), None, "it came late the last time");
        assert_eq!(desk.served(2, &both), "qq");
        desk.look(&[("n", 8)]);
        assert_eq!(awaited(&desk, "n").as_deref(), Some("q"), "and in time again");
        desk.ledger.missed("q");
        assert_eq!(awaited(&desk, "n"), None);
        desk.look(&[("q", 1)]);
        assert_eq!(awaited(&desk, "q"), None, "nobody waits for one that has had more");
    }
}
