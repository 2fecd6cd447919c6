//! What shares a pass: which of the jobs that wait go with the one whose turn it is.

use std::collections::HashMap;

use crate::ledger::Ledger;
use crate::pace::Pace;
use crate::queue::Candidate;

/// How many times as long company may make a pass as it takes without. Where a pass's time goes with its rows, that is
/// half as many again; where it does not, a device is filled as if all were one tenant.
const STRETCH: f64 = 1.5;

/// Chooses a batch.
pub(crate) struct Chooser<'a> {
    /// Whose turn it is.
    pub(crate) leader: &'a str,
    pub(crate) ledger: &'a Ledger,
    /// Tokens that a batch may hold; a single job may hold more.
    pub(crate) budget: usize,
}

impl Chooser<'_> {
    /// Positions of the leader's oldest job and of those that go with it, as long as their tokens stay within the budget:
    /// its own of the same kind first, then the others', those first who have had least.
    ///
    /// Beside a tenant of few jobs one of many brings only so many along as its first job bears; nobody's company makes
    /// anybody's pass longer than [`STRETCH`] times. A job larger than the budget runs alone. One that does not fit is
    /// passed over for a smaller one; it is not starved by that, since its tenant's oldest job goes first.
    pub(crate) fn choose(&self, waiting: &[Candidate], paces: &HashMap<u32, Pace>) -> Vec<usize> {
        let Some(first) = waiting.iter().position(|job| self.is_own(job)) else { return Vec::new() };
        let unknown = Pace::default();
        let pace = paces.get(&waiting[first].kind).unwrap_or(&unknown);
        let (mut picks, mut own, mut tokens) = (vec![first], waiting[first].tokens, waiting[first].tokens);
        let is_wide = self.ledger.is_wide(self.leader);
        for i in self.order(waiting, first) {
            let larger = tokens.saturating_add(waiting[i].tokens);
            let bears = match (self.is_own(&waiting[i]), is_wide) {
                (true, false) => true,
                (true, true) => pace.is_within(larger, STRETCH, waiting[first].tokens),
                (false, _) => pace.is_within(larger, STRETCH, own),
            };
            if larger <= self.budget && bears {
                picks.push(i);
                tokens = larger;
                own = if self.is_own(&waiting[i]) { larger } else { own };
            }
        }
        picks
    }

    /// Jobs of the first one's kind in the order in which they may join.
    fn order(&self, waiting: &[Candidate], first: usize) -> Vec<usize> {
        let others = |i: &usize| *i != first && waiting[*i].kind == waiting[first].kind;
        let mut order: Vec<usize> = (0..waiting.len()).filter(others).collect();
        // Stable: the oldest of a tenant stays in front.
        order.sort_by(|a, b| {
            let (a, b) = (&waiting[*a], &waiting[*b]);
            let own = self.is_own(b).cmp(&self.is_own(a));
            own.then(self.ledger.had(&a.tenant).total_cmp(&self.ledger.had(&b.tenant)))
        });
        order
    }

    fn is_own(&self, job: &Candidate) -> bool {
        &*job.tenant == self.leader
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::ledger::{Tally, Waiting};

    fn job(tenant: &str, tokens: usize) -> Candidate {
        Candidate { tenant: tenant.into(), kind: 0, tokens }
    }

    /// The choice for `leader` among jobs of which so many of each tenant wait.
    fn choose(leader: &str, budget: usize, jobs: &[Candidate], pace: &Pace) -> Vec<usize> {
        let (mut ledger, mut tally, now) = (Ledger::default(), Tally::new(), Instant::now());
        for job in jobs {
            tally.entry(job.tenant.clone()).or_insert(Waiting { jobs: 0, oldest: now }).jobs += 1;
        }
        ledger.look(&tally, now);
        let paces = HashMap::from([(0, pace.clone())]);
        Chooser { leader, ledger: &ledger, budget }.choose(jobs, &paces)
    }

    /// A device that takes as long for any number of tokens.
    fn vast() -> Pace {
        let mut pace = Pace::default();
        (0..100).for_each(|i| pace.learn(1 + i % 9, 1e-2));
        pace
    }

    #[test]
    fn one_tenant_fills_its_passes_whatever_they_cost() {
        let jobs: Vec<Candidate> = [6, 5, 4, 30, 5].map(|tokens| job("a", tokens)).to_vec();
        assert_eq!(choose("a", 10, &jobs, &Pace::default()), [0, 2]);
        assert_eq!(choose("a", 100, &jobs, &Pace::default()), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn company_may_cost_half_as_much_again_where_passes_take_as_long_as_their_rows() {
        let mut jobs = vec![job("n", 4), job("n", 3), job("q", 10), job("n", 2)];
        jobs.extend((0..6).map(|_| job("n", 9)));
        assert_eq!(choose("q", 1000, &jobs, &Pace::default()), [2, 0]);
        assert_eq!(choose("q", 1000, &jobs, &vast()).len(), jobs.len(), "where they do not, all go along");
        assert_eq!(choose("q", 20, &jobs, &vast()), [2, 0, 1, 3], "within the budget");
    }

    #[test]
    fn a_crowd_beside_one_that_waits_brings_few_of_its_own() {
        let jobs = [job("n", 4), job("n", 2), job("n", 2), job("q", 10), job("n", 2)];
        assert_eq!(choose("n", 1000, &jobs, &Pace::default()), [0, 1]);
        let equal = [job("a", 4), job("b", 4), job("a", 4), job("b", 4)];
        assert_eq!(choose("a", 1000, &equal, &Pace::default()), [0, 2, 1], "equals bring all of theirs");
    }

    #[test]
    fn kinds_do_not_mix_and_what_is_too_large_runs_alone() {
        let mut jobs = vec![job("a", usize::MAX), job("a", 1), job("b", usize::MAX)];
        assert_eq!(choose("a", 10, &jobs, &vast()), [0]);
        jobs[1].kind = 7;
        assert_eq!(choose("a", 10, &jobs[1..], &vast()), [0]);
        assert!(choose("nobody", 10, &jobs, &vast()).is_empty());
    }
}
