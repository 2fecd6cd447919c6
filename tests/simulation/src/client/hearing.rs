//! Streams held against what they are to say.

use unipic_api::pb::{self, edit_response, generate_response, understand_response};
use unipic_imaging::{DecodeLimits, decode};

use super::Hearing;
use crate::ask::RightImages;
use crate::invariant::{Invariant, Wrong};

/// An edit's event as that of a generation: they are the same.
pub(super) fn as_generated(event: edit_response::Event) -> generate_response::Event {
    use edit_response::Event as Edited;
    use generate_response::Event;
    match event {
        Edited::Queued(queued) => Event::Queued(queued),
        Edited::Progress(progress) => Event::Progress(progress),
        Edited::Preview(preview) => Event::Preview(preview),
        Edited::Image(image) => Event::Image(image),
        Edited::Done(done) => Event::Done(done),
        Edited::Resumed(resumed) => Event::Resumed(resumed),
    }
}

/// Images on their way.
pub(super) struct Drawn {
    right: RightImages,
    iterations: u32,
    /// Which images have come.
    come: Vec<bool>,
    /// The iteration told last.
    told: Option<u32>,
    /// The iteration of each image's last preview.
    previewed: Vec<u32>,
    resumed: usize,
    is_done: bool,
}

impl Drawn {
    pub(super) fn new(right: RightImages, options: &pb::ImageOptions) -> Self {
        let n = options.n.unwrap_or(1) as usize;
        let iterations = options.iterations.unwrap_or_default();
        let (come, previewed) = (vec![false; n], vec![0; n]);
        Self { right, iterations, come, told: None, previewed, resumed: 0, is_done: false }
    }

    fn check_pixels(&self, held: Invariant, file: &[u8], image: u32, iterations: u32) -> Result<(), Wrong> {
        let broken = |error| (held, format!("image {image}: {error}"));
        let pixels = decode(file, &DecodeLimits::default()).map_err(broken)?;
        match pixels.data == self.right.after(image, iterations) {
            true => Ok(()),
            false => Err((held, format!("image {image} of iteration {iterations} has other pixels"))),
        }
    }
}

impl Hearing<generate_response::Event> for Drawn {
    fn hear(&mut self, event: generate_response::Event) -> Result<(), Wrong> {
        use generate_response::Event;
        if self.is_done {
            return Err((Invariant::LastWord, "something came after the end".to_owned()));
        }
        match event {
            Event::Queued(_) => {}
            Event::Resumed(_) => self.resumed += 1,
            Event::Done(_) => self.is_done = true,
            Event::Progress(step) => {
                if self.told.is_some_and(|told| step.iteration <= told) || step.known_tokens > step.total_tokens {
                    return Err((Invariant::Forward, format!("progress went from {:?} to {step:?}", self.told)));
                }
                self.told = Some(step.iteration);
            }
            Event::Preview(preview) => {
                let nobody = || (Invariant::RightPreview, "a preview of no image".to_owned());
                let last = self.previewed.get_mut(preview.image as usize).ok_or_else(nobody)?;
                if preview.iteration <= std::mem::replace(last, preview.iteration) {
                    let text = format!("preview of iteration {} came late or twice", preview.iteration);
                    return Err((Invariant::Once, text));
                }
                self.check_pixels(Invariant::RightPreview, &preview.data, preview.image, preview.iteration)?;
            }
            Event::Image(image) => {
                let nobody = || (Invariant::RightImage, "an image that nobody asked for".to_owned());
                let come = self.come.get_mut(image.image as usize).ok_or_else(nobody)?;
                if std::mem::replace(come, true) {
                    return Err((Invariant::Once, format!("image {} came twice", image.image)));
                }
                self.check_pixels(Invariant::RightImage, &image.data, image.image, self.iterations)?;
            }
        }
        Ok(())
    }

    fn end(self) -> Result<usize, Wrong> {
        match self.is_done && self.come.iter().all(|come| *come) {
            true => Ok(self.resumed),
            false => {
                let text = format!("a good end with images {:?} and an end {}", self.come, self.is_done);
                Err((Invariant::Whole, text))
            }
        }
    }
}

/// An answer on its way.
pub(super) struct Said {
    right: String,
    said: String,
    resumed: usize,
    is_done: bool,
}

impl Said {
    pub(super) fn new(right: String) -> Self {
        Self { right, said: String::new(), resumed: 0, is_done: false }
    }
}

impl Hearing<understand_response::Event> for Said {
    fn hear(&mut self, event: understand_response::Event) -> Result<(), Wrong> {
        use understand_response::Event;
        if self.is_done {
            return Err((Invariant::LastWord, "something came after the end".to_owned()));
        }
        match event {
            Event::Queued(_) => {}
            Event::Resumed(_) => self.resumed += 1,
            Event::TextDelta(text) => {
                self.said.push_str(&text);
                if !self.right.starts_with(&self.said) {
                    return Err((Invariant::RightText, format!("said {:?} and not {:?}", self.said, self.right)));
                }
            }
            Event::Done(done) => {
                self.is_done = true;
                if done.text != self.said {
                    let text = format!("the end says {:?}, the pieces {:?}", done.text, self.said);
                    return Err((Invariant::RightText, text));
                }
            }
        }
        Ok(())
    }

    fn end(self) -> Result<usize, Wrong> {
        match self.is_done && self.said == self.right {
            true => Ok(self.resumed),
            false => Err((Invariant::Whole, format!("a good end after {:?} of {:?}", self.said, self.right))),
        }
    }
}
