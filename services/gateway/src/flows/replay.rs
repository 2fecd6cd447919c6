//! What was already delivered of a synthesis, so that a lost one can be made again without the client seeing it.
//!
//! The same request with the same seed makes the same images on every replica, so a replay only has to leave out what
//! was sent: finished images, and progress that the client has already seen.

use unipic_api::{ApiError, Reason, pb};

/// True for a backend that went away or is going: another replica may do the work.
pub(super) fn is_loss(error: &ApiError) -> bool {
    matches!(error, ApiError::Unavailable { .. })
}

/// The state of a delivery.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Which images the client has.
    delivered: Vec<bool>,
    /// The furthest iteration the client was told of, in the current set of images.
    told: Option<u32>,
}

impl Delivery {
    pub(super) fn new(n_images: u32) -> Self {
        Self { delivered: vec![false; n_images as usize], told: None }
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

    /// The furthest iteration the client was told of.
    pub(super) fn iteration(&self) -> u32 {
        self.told.unwrap_or(0)
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
