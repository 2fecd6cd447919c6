//! What holds for every simulation, whatever the network and the processes do.

use std::fmt;
use std::time::Duration;

/// Something that always holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// Every request ends.
    Ends,
    /// A request ends within its deadline.
    OnTime,
    /// None is called late that is not.
    NotEarly,
    /// A bad end has a status that tells the caller what to do.
    Typed,
    /// A refusal for lack of room says when to come back.
    SaysWhen,
    /// An image has the pixels that its request makes.
    RightImage,
    /// So has a preview, after its iteration.
    RightPreview,
    /// An answer has the words that its question makes.
    RightText,
    /// Embeddings are those of the image.
    RightEmbeddings,
    /// What is served is described.
    Described,
    /// A good end has all that was asked for.
    Whole,
    /// Nothing is delivered twice.
    Once,
    /// Progress only grows.
    Forward,
    /// Nothing comes after the end.
    LastWord,
    /// Once everything is whole again, a new request succeeds in bounded time.
    Heals,
    /// After the last caller nothing is held anywhere.
    NothingHeld,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Ends,
        Self::OnTime,
        Self::NotEarly,
        Self::Typed,
        Self::SaysWhen,
        Self::RightImage,
        Self::RightPreview,
        Self::RightText,
        Self::RightEmbeddings,
        Self::Described,
        Self::Whole,
        Self::Once,
        Self::Forward,
        Self::LastWord,
        Self::Heals,
        Self::NothingHeld,
    ];
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ends => "every request ends",
            Self::OnTime => "within its deadline",
            Self::NotEarly => "late only when late",
            Self::Typed => "a status that says what to do",
            Self::SaysWhen => "a refusal says when to come back",
            Self::RightImage => "the right image",
            Self::RightPreview => "the right preview",
            Self::RightText => "the right words",
            Self::RightEmbeddings => "the right embeddings",
            Self::Described => "what is served is described",
            Self::Whole => "a good end has everything",
            Self::Once => "nothing twice",
            Self::Forward => "progress only grows",
            Self::LastWord => "nothing after the end",
            Self::Heals => "it heals in bounded time",
            Self::NothingHeld => "nothing is held at the end",
        })
    }
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// In simulated time.
    pub at: Duration,
    /// Which.
    pub invariant: Invariant,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8.3} {} (not {:?})", self.at.as_secs_f64(), self.what, self.invariant)
    }
}

/// What is wrong with something that was heard.
pub(crate) type Wrong = (Invariant, String);
