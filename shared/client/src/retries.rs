//! How a lost call is made again: after a growing pause, within a budget that all calls to a service share, and for as long
//! as its caller has patience.
//!
//! A budget, because calls that are all made twice double the load on what is left of a service. One that is used up puts
//! a retry off and does not refuse it: work that was accepted is worth a wait, and the wait is what relieves the service.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;
use unipic_api::ApiError;

/// The pause before the second attempt; it doubles with each further one, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Retries that may be saved up, in seconds of [`RetryPolicy::retries_per_second`] and at least as many.
const SAVED: f64 = 10.0;

/// How lost calls are made again; keys of a configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// How long one step of a request may find no working replica before its error is the request's, in seconds.
    pub patience_seconds: f64,
    /// Retries allowed for every hundred calls.
    pub retry_percent: f64,
    /// Retries a second that are allowed however few calls there are.
    pub retries_per_second: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { patience_seconds: 60.0, retry_percent: 20.0, retries_per_second: 5.0 }
    }
}

impl RetryPolicy {
    /// What is wrong with it, by key.
    pub fn violations(&self) -> Vec<(&'static str, String)> {
        let ranges = [
            ("patience_seconds", self.patience_seconds, 0.0, 86_400.0),
            ("retry_percent", self.retry_percent, 0.0, 1000.0),
            ("retries_per_second", self.retries_per_second, 0.01, 1e6),
        ];
        let wrong = ranges.into_iter().filter(|(_, value, least, most)| !(*least..=*most).contains(value));
        wrong.map(|(key, _, least, most)| (key, format!("must be from {least} to {most}"))).collect()
    }
}

/// The retries that calls to one service share. Clones share it.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    policy: RetryPolicy,
    // A lock for two numbers; held for their arithmetic.
    tokens: Arc<Mutex<Tokens>>,
}

#[derive(Debug)]
struct Tokens {
    left: f64,
    at: Instant,
}

impl RetryBudget {
    /// A budget that is full.
    pub fn new(policy: &RetryPolicy) -> Self {
        let tokens = Tokens { left: most(policy), at: Instant::now() };
        Self { policy: policy.clone(), tokens: Arc::new(Mutex::new(tokens)) }
    }

    /// Begins a call, which adds to the budget.
    pub fn begin(&self, deadline: Option<Instant>) -> Patience {
        self.add();
        Patience { budget: self.clone(), deadline, failures: 0, lost_at: None }
    }

    /// Notes a call.
    pub(crate) fn add(&self) {
        self.change(Instant::now(), |left| *left += self.policy.retry_percent / 100.0);
    }

    /// Takes a retry; says after which time there will be one, where there is none.
    fn take(&self, now: Instant) -> Result<(), Duration> {
        self.change(now, |left| match *left >= 1.0 {
            true => {
                *left -= 1.0;
                Ok(())
            }
            false => Err(Duration::from_secs_f64((1.0 - *left) / self.policy.retries_per_second)),
        })
    }

    /// Takes a retry, if there is one.
    pub(crate) fn try_take(&self) -> bool {
        self.take(Instant::now()).is_ok()
    }

    fn change<T>(&self, now: Instant, change: impl FnOnce(&mut f64) -> T) -> T {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_duration_since(tokens.at).as_secs_f64();
        tokens.at = tokens.at.max(now);
        tokens.left += since * self.policy.retries_per_second;
        let result = change(&mut tokens.left);
        tokens.left = tokens.left.min(most(&self.policy));
        result
    }
}

/// How many retries can be saved up.
fn most(policy: &RetryPolicy) -> f64 {
    (SAVED * policy.retries_per_second).max(SAVED)
}

/// The attempts at one step of a request.
#[derive(Debug, Clone)]
pub struct Patience {
    budget: RetryBudget,
    deadline: Option<Instant>,
    failures: u32,
    /// When the replica was lost that nothing has worked since.
    lost_at: Option<Instant>,
}

impl Patience {
    /// True for an error that another replica, or the same one later, may not have.
    pub fn is_worth_it(error: &ApiError) -> bool {
        matches!(error, ApiError::Unavailable { .. } | ApiError::Overloaded { .. })
    }

    /// The work went on: the next loss is a new one.
    pub fn worked(&mut self) {
        (self.failures, self.lost_at) = (0, None);
    }

    /// Number of the next attempt; the first one is 1.
    pub fn attempt(&self) -> u32 {
        self.failures.saturating_add(1)
    }

    /// Notes a failure. It is given back when no further attempt is worth it.
    ///
    /// # Errors
    /// The error itself, when it is of another kind or patience has ended.
    pub fn note(&mut self, error: ApiError) -> Result<Retry, ApiError> {
        self.note_at(error, Instant::now(), 0.5 + 0.5 * fastrand::f64())
    }

    fn note_at(&mut self, error: ApiError, now: Instant, share: f64) -> Result<Retry, ApiError> {
        let lost_at = *self.lost_at.get_or_insert(now);
        let backoff = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST_PAUSE);
        let asked = match &error {
            ApiError::Overloaded { retry_after, .. } => *retry_after,
            ApiError::Unavailable { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let at = now + backoff.mul_f64(share).max(asked.min(LONGEST_PAUSE));
        let end = lost_at + Duration::from_secs_f64(self.budget.policy.patience_seconds);
        if !Self::is_worth_it(&error) || at > end {
            return Err(error);
        }
        self.failures = self.failures.saturating_add(1);
        Ok(Retry { budget: self.budget.clone(), at, end, deadline: self.deadline, error })
    }
}

/// A retry that is due after a pause.
#[derive(Debug)]
#[must_use = "a retry waits for its turn"]
pub struct Retry {
    budget: RetryBudget,
    at: Instant,
    end: Instant,
    deadline: Option<Instant>,
    error: ApiError,
}

impl Retry {
    /// Waits for the pause and for the budget.
    ///
    /// # Errors
    /// DEADLINE_EXCEEDED when the call's deadline comes first; the error that is to be made good when the budget allows
    /// no retry for as long as patience lasts.
    pub async fn wait(self) -> Result<(), ApiError> {
        let mut at = self.at;
        loop {
            if let Some(deadline) = self.deadline.filter(|deadline| *deadline <= at) {
                tokio::time::sleep_until(deadline).await;
                return Err(ApiError::DeadlineExceeded);
            }
            tokio::time::sleep_until(at).await;
            match self.budget.take(Instant::now()) {
                Ok(()) => return Ok(()),
                Err(wait) => at = Instant::now() + wait,
            }
            if at > self.end {
                return Err(self.error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use unipic_api::Reason;

    use super::*;

    fn lost() -> ApiError {
        ApiError::unavailable(Reason::BackendUnavailable)
    }

    fn policy(patience_seconds: f64, retries_per_second: f64) -> RetryPolicy {
        RetryPolicy { patience_seconds, retries_per_second, ..RetryPolicy::default() }
    }

    #[test]
    fn retries_are_a_share_of_the_calls_and_a_floor() {
        let (budget, now) = (RetryBudget::new(&policy(1.0, 1.0)), Instant::now());
        let saved = (0..100).take_while(|_| budget.take(now).is_ok()).count();
        assert_eq!(saved, 10);
        for _ in 0..20 {
            budget.begin(None);
        }
        let earned = (0..100).take_while(|_| budget.take(now).is_ok()).count();
        assert!((4..=5).contains(&earned), "a fifth of 20 calls, and what the moment brings: {earned}");
        let wait = budget.take(now).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert!(budget.take(now + Duration::from_secs(2)).is_ok(), "the floor refills with time");
    }

    #[test]
    fn pauses_grow_up_to_a_limit_and_listen_to_the_server() {
        let budget = RetryBudget::new(&policy(3600.0, 5.0));
        let (mut patience, now) = (budget.begin(None), Instant::now());
        let mut pause = |error| patience.note_at(error, now, 1.0).unwrap().at - now;
        let pauses: Vec<_> = (0..8).map(|_| pause(lost()).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
        patience.worked();
        let asked = ApiError::Overloaded { reason: Reason::QueueFull, retry_after: Duration::from_millis(700) };
        assert_eq!(patience.note_at(asked, now, 1.0).unwrap().at - now, Duration::from_millis(700));
        assert_eq!(patience.attempt(), 2);
    }

    #[test]
    fn patience_ends_and_starts_anew_with_work_that_went_on() {
        let budget = RetryBudget::new(&policy(10.0, 5.0));
        let (mut patience, now) = (budget.begin(None), Instant::now());
        let second = Duration::from_secs(1);
        assert!(patience.note_at(lost(), now, 1.0).is_ok());
        assert!(patience.note_at(lost(), now + 9 * second, 1.0).is_ok());
        assert!(matches!(patience.note_at(lost(), now + 10 * second, 1.0), Err(ApiError::Unavailable { .. })));
        patience.worked();
        assert!(patience.note_at(lost(), now + 11 * second, 1.0).is_ok());
        assert!(patience.note_at(ApiError::Fault(Reason::Bug), now, 1.0).is_err(), "a fault is not lost work");
    }

    #[tokio::test]
    async fn a_deadline_that_comes_before_the_retry_is_what_is_told() {
        let budget = RetryBudget::new(&policy(10.0, 5.0));
        let mut patience = budget.begin(Some(Instant::now() + Duration::from_millis(1)));
        let retry = patience.note(lost()).unwrap();
        assert!(matches!(retry.wait().await, Err(ApiError::DeadlineExceeded)));
    }

    #[test]
    fn wrong_values_are_named() {
        let wrong = RetryPolicy { patience_seconds: -1.0, retry_percent: f64::NAN, retries_per_second: 0.0 };
        let keys: Vec<_> = wrong.violations().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["patience_seconds", "retry_percent", "retries_per_second"]);
        assert!(RetryPolicy::default().violations().is_empty());
    }
}
