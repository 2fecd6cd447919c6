//! What was already delivered of a synthesis, so that a lost one can be made again without the client seeing it.
//!
//! The same request with the same seed makes the same images on every replica, so a replay only has to leave out what
//! was sent: finished images, and progress that the client has already seen.

use unipic_api::{ApiError, Reason, pb};
use unipic_client::Patience;

/// Waits until lost work may be done again, and tells `resumed`. What was only refused, because a replica is full, is no
/// loss and is tried again in silence.
///
/// # Errors
/// The error itself when it is of another kind or patience has ended; DEADLINE_EXCEEDED.
pub(super) async fn make_good(
    patience: &mut Patience,
    error: ApiError,
    what: pb::Backend,
    resumed: impl Fn(pb::Resumed),
) -> Result<(), ApiError> {
    let is_loss = matches!(error, ApiError::Unavailable { .. });
    if Patience::is_worth_it(&error) {
        tracing::warn!(%error, service = what.as_str_name(), attempt = patience.attempt(), "work was lost");
    }
    let retry = patience.note(error)?;
    if is_loss {
        resumed(pb::Resumed { what: what.into(), attempt: patience.attempt() });
    }
    retry.wait().await
}

/// The state of a delivery.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Which images the client has.
    delivered: Vec<bool>,
    /// The furthest iteration the client was told of, in the current set of images.
    told: Option<u32>,
    /// The iteration that the current attempt has reached: a replay is behind what the client was told.
    now: u32,
    /// The iteration of each image's last preview; 0 before the first.
    previewed: Vec<u32>,
}

impl Delivery {
    pub(super) fn new(n_images: u32) -> Self {
        let n_images = n_images as usize;
        Self { delivered: vec![false; n_images], told: None, now: 0, previewed: vec![0; n_images] }
    }

    /// Narrows a request to the images that are not delivered yet.
    pub(super) fn rest(&self, parameters: &pb::SynthesisParameters) -> pb::SynthesisParameters {
        let first = self.delivered.iter().position(|done| !done).unwrap_or(0) as u32;
        let mut rest = parameters.clone();
        rest.first_image = parameters.first_image + first;
        rest.n_images = parameters.n_images - first;
        rest
    }

    /// Progress as the client should see it: over all images, and never backwards. None when it brings nothing new.
    pub(super) fn progress(&mut self, progress: pb::SynthesisProgress) -> Option<pb::SynthesisProgress> {
        self.now = progress.iteration;
        if self.told.is_some_and(|told| progress.iteration <= told) {
            return None;
        }
        self.told = Some(progress.iteration);
        let images = self.delivered.len() as u32;
        // A replay of the last images counts only its own places; those delivered are known.
        let running = self.delivered.iter().filter(|done| !**done).count().max(1) as u32;
        let all = (progress.total_tokens / running).saturating_mul(images);
        let known = all.saturating_sub(progress.total_tokens).saturating_add(progress.known_tokens);
        Some(pb::SynthesisProgress { known_tokens: known, total_tokens: all, ..progress })
    }

    /// The iteration of a preview about to be sent. None when the client has seen one as late.
    ///
    /// # Errors
    /// A fault, when nobody asked for an image of that number.
    pub(super) fn preview(&mut self, image: u32) -> Result<Option<u32>, ApiError> {
        let seen = self.previewed.get_mut(image as usize).ok_or(ApiError::Fault(Reason::Bug))?;
        let is_new = self.now > *seen;
        *seen = self.now.max(*seen);
        Ok(is_new.then_some(self.now))
    }

    /// Notes an image about to be sent. False when the client has it already.
    ///
    /// # Errors
    /// A fault, when nobody asked for an image of that number.
    pub(super) fn take(&mut self, image: u32) -> Result<bool, ApiError> {
        let slot = self.delivered.get_mut(image as usize).ok_or(ApiError::Fault(Reason::Bug))?;
        Ok(!std::mem::replace(slot, true))
    }

    /// Checks that nothing is missing at the end.
    ///
    /// # Errors
    /// A fault, when the synthesis ended well without all images.
    pub(super) fn complete(&self) -> Result<(), ApiError> {
        if self.delivered.iter().all(|done| *done) { Ok(()) } else { Err(ApiError::Fault(Reason::Bug)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_repeats_neither_progress_nor_previews() {
        let at = |iteration| pb::SynthesisProgress { iteration, iterations: 9, known_tokens: 0, total_tokens: 8 };
        let mut delivery = Delivery::new(2);
        let mut seen = Vec::new();
        // The first attempt is lost between the two previews of iteration 4.
        for (iteration, images) in [(0, 0), (2, 2), (4, 1), (0, 0), (2, 2), (4, 2), (6, 2)] {
            let told = delivery.progress(at(iteration)).is_some();
            let previews: Vec<_> = (0..images).filter_map(|image| delivery.preview(image).ok()?).collect();
            seen.push((told, previews));
        }
        let first = [(true, vec![]), (true, vec![2, 2]), (true, vec![4])];
        let replay = [(false, vec![]), (false, vec![]), (false, vec![4]), (true, vec![6, 6])];
        assert_eq!(seen, [&first[..], &replay[..]].concat());
        assert!(delivery.preview(2).is_err());
    }
}
