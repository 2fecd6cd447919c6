//! Stop strings in a text that comes in pieces.

/// Lets text through up to the first stop string, holding back what may be the beginning of one.
#[derive(Clone, Debug)]
pub struct StopFilter {
    stops: Vec<String>,
    held: String,
    stopped: bool,
}

impl StopFilter {
    /// A filter for these strings; empty ones are ignored.
    pub fn new(stops: Vec<String>) -> Self {
        let stops = stops.into_iter().filter(|stop| !stop.is_empty()).collect();
        Self { stops, held: String::new(), stopped: false }
    }

    /// Whether a stop string has appeared.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Takes more text and returns what can be let out. After a stop string, nothing.
    ///
    /// The first stop string to be complete counts, of several complete at once the longest, so that the outcome does
    /// not depend on how the text is cut into pieces.
    pub fn push(&mut self, text: &str) -> String {
        if self.stopped {
            return String::new();
        }
        self.held.push_str(text);
        let matches = self.stops.iter().filter_map(|stop| self.held.find(stop).map(|at| (at + stop.len(), at)));
        if let Some((_, at)) = matches.min() {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let open = self.held.char_indices().map(|(at, _)| at).find(|at| self.may_begin_at(*at));
        let rest = self.held.split_off(open.unwrap_or(self.held.len()));
        std::mem::replace(&mut self.held, rest)
    }

    /// What was held back, at the end of the text.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    fn may_begin_at(&self, at: usize) -> bool {
        self.stops.iter().any(|stop| stop.starts_with(&self.held[at..]))
    }
}
