//! How long a pass takes for so many tokens, learnt from the passes that ran.
//!
//! A pass costs something at all and something for each token: on a CPU nearly all of it goes with the tokens, on a GPU
//! hardly any does until the chip is full. Whether company slows a job down is a question of that, so it is measured
//! rather than configured. A line through the passes of late answers it well enough: the engine only asks how much
//! longer a larger pass takes, as a ratio.

/// What the past still counts after one more pass: it is forgotten over some hundred.
const KEPT: f64 = 63.0 / 64.0;

/// How many times the expected a pass may count as: a stall of the machine says nothing about tokens.
const STALL: f64 = 8.0;

/// The pace of one kind of pass: decayed sums of a line's fit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    passes: f64,
    tokens: f64,
    seconds: f64,
    tokens_squared: f64,
    product: f64,
}

impl Pace {
    /// Takes note of a pass.
    pub(crate) fn learn(&mut self, tokens: usize, seconds: f64) {
        let tokens = tokens as f64;
        let seconds = if self.passes > 4.0 { seconds.min(STALL * self.seconds(tokens)) } else { seconds };
        for sum in [&mut self.passes, &mut self.tokens, &mut self.seconds, &mut self.tokens_squared, &mut self.product]
        {
            *sum *= KEPT;
        }
        self.passes += 1.0;
        self.tokens += tokens;
        self.seconds += seconds;
        self.tokens_squared += tokens * tokens;
        self.product += tokens * seconds;
    }

    /// Whether a pass of `tokens` takes at most `times` as long as one of `of` tokens.
    pub(crate) fn is_within(&self, tokens: usize, times: f64, of: usize) -> bool {
        self.seconds(tokens as f64) <= times * self.seconds(of as f64)
    }

    /// Expected seconds of a pass: proportional to its tokens until passes of several sizes have shown better.
    fn seconds(&self, tokens: f64) -> f64 {
        let spread = self.passes * self.tokens_squared - self.tokens * self.tokens;
        if self.seconds <= 0.0 || self.tokens <= 0.0 {
            return tokens;
        }
        let proportional = self.seconds / self.tokens;
        if spread <= 1e-6 * self.passes * self.tokens_squared {
            return proportional * tokens;
        }
        // A slope below none, or so steep that a pass of no tokens took less than nothing, is noise.
        let slope = (self.passes * self.product - self.tokens * self.seconds) / spread;
        let slope = slope.clamp(0.0, proportional);
        (self.seconds - slope * self.tokens) / self.passes + slope * tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learnt(passes: impl IntoIterator<Item = (usize, f64)>) -> Pace {
        let mut pace = Pace::default();
        passes.into_iter().for_each(|(tokens, seconds)| pace.learn(tokens, seconds));
        pace
    }

    #[test]
    fn what_is_not_known_is_taken_to_grow_with_the_tokens() {
        for pace in [Pace::default(), learnt([(10, 0.5); 9])] {
            assert!(pace.is_within(15, 1.5, 10) && !pace.is_within(16, 1.5, 10), "{pace:?}");
        }
    }

    #[test]
    fn a_device_that_does_not_feel_tokens_has_room_for_company() {
        let pace = learnt((1..200).map(|i| (i % 7 * 10 + 10, 1e-2)));
        assert!(pace.is_within(5000, 1.1, 10));
        let pace = learnt((1..200).map(|i| (i % 7 * 10 + 10, 1e-3 * (i % 7 * 10 + 10) as f64)));
        assert!(pace.is_within(14, 1.5, 10) && !pace.is_within(17, 1.5, 10));
        // Half of ten tokens' pass is there without any.
        let pace = learnt((1..200).map(|i| (i % 7 * 10 + 10, 1e-3 * ((i % 7 * 10 + 10) as f64 + 10.0))));
        assert!(pace.is_within(19, 1.5, 10) && !pace.is_within(22, 1.5, 10));
    }

    #[test]
    fn a_stall_is_no_lesson() {
        let mut pace = learnt((1..200).map(|i| (i % 7 * 10 + 10, 1e-3 * (i % 7 * 10 + 10) as f64)));
        pace.learn(10, 60.0);
        assert!(!pace.is_within(25, 1.5, 10), "{pace:?}");
    }
}
