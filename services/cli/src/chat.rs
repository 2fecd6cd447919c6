//! `chat`: draw, edit and ask in one conversation. The image goes from line to line; the server keeps nothing.

mod command;
mod conversation;
mod editor;
mod files;
mod lines;

use std::path::Path;

use anyhow::Context;
use bytes::Bytes;
use serde_json::json;
use unipic_api::pb;
use unipic_client::UniPicClient;
use unipic_imaging::DecodeLimits;

use crate::args;
use crate::connect::Connection;
use crate::failure::{self, Stopped, said, wrong};
use crate::images::{self, ImageEvent, ImageRequest};
use crate::preview::Previewer;
use crate::progress::Progress;
use crate::{answer, flags, input, output};
use command::{Command, HELP};
use conversation::Conversation;
use lines::Lines;

/// A conversation under way.
struct Chat<'a> {
    args: &'a args::Chat,
    client: UniPicClient,
    previewer: Previewer,
    progress: &'a Progress,
    talk: Conversation,
    max_turns: u32,
    max_images: u32,
}

/// Whether there is more to come.
#[derive(PartialEq, Eq)]
enum Next {
    Line,
    End,
}

/// Answers line after line, until there are no more.
///
/// # Errors
/// When the model cannot be reached, ctrl-c is pressed at the prompt, or a line of a script failed; the lines after it are
/// answered all the same.
pub(crate) async fn chat(args: &args::Chat, progress: &Progress) -> anyhow::Result<()> {
    let first = args.image.as_deref().map(input::image).transpose()?.map(Bytes::from);
    let connection = Connection::open(&args.target, progress).await?;
    let client = connection.client();
    let model = client.get_model().await?;
    progress.finish();
    let pb::Limits { max_turns, max_images, .. } = model.limits.unwrap_or_default();
    let (previewer, talk) = (Previewer::new(args.preview), Conversation::default());
    let mut chat = Chat { args, client, previewer, progress, talk, max_turns, max_images };
    if let Some(image) = first {
        chat.take(image, args.image.as_deref().unwrap_or(Path::new("")))?;
    }
    let lines = Lines::begin(args.history());
    if lines.is_interactive() {
        progress.line(&format!("{} {}; /help lists what can be typed", model.name, model.server_version));
    }
    let failed = chat.run(lines).await?;
    drop(chat);
    connection.close().await?;
    anyhow::ensure!(failed == 0, "{failed} lines failed");
    Ok(())
}

impl Chat<'_> {
    /// Works through the lines; returns how many of a script's failed.
    async fn run(&mut self, mut lines: Lines) -> anyhow::Result<usize> {
        let mut failed = 0;
        loop {
            let line = tokio::select! {
                line = lines.next() => line?,
                _ = tokio::signal::ctrl_c() => return Err(Stopped.into()),
            };
            let Some(line) = line else { return Ok(failed) };
            let outcome = tokio::select! {
                outcome = self.line(line) => outcome,
                // Dropping the request stops the work.
                _ = tokio::signal::ctrl_c() => Err(Stopped.into()),
            };
            self.progress.finish();
            match outcome.map_err(|error| flags::named(error, &[])) {
                Ok(Next::Line) => {}
                Ok(Next::End) => return Ok(failed),
                Err(error) if error.is::<Stopped>() && !lines.is_interactive() => return Err(error),
                Err(error) => {
                    self.tell_failure(&error);
                    failed += usize::from(!lines.is_interactive());
                }
            }
        }
    }

    /// Does what a line asks for.
    async fn line(&mut self, line: Result<String, String>) -> anyhow::Result<Next> {
        match line.and_then(|line| Command::parse(&line)).map_err(wrong)? {
            Command::Draw(prompt) => self.draw(prompt).await?,
            Command::Edit(instruction) => self.edit(instruction).await?,
            Command::Images(paths) => {
                for path in paths {
                    self.take(input::image(&path)?.into(), &path)?;
                }
            }
            Command::Save(path) => self.save(&path)?,
            Command::New => self.talk.forget(),
            Command::Help => self.progress.line(HELP),
            Command::Ask(question) => self.ask(question).await?,
            Command::Quit => return Ok(Next::End),
            Command::Nothing => {}
        }
        Ok(Next::Line)
    }

    async fn draw(&mut self, prompt: String) -> anyhow::Result<()> {
        let (negative_prompt, options) = self.sampling();
        self.make(ImageRequest::Draw(pb::GenerateRequest { prompt, negative_prompt, options })).await
    }

    async fn edit(&mut self, instruction: String) -> anyhow::Result<()> {
        let image = self.image()?.clone();
        let (negative_prompt, options) = self.sampling();
        self.make(ImageRequest::Edit(pb::EditRequest {
            image,
            instruction,
            negative_prompt,
            options,
            ..Default::default()
        }))
        .await
    }

    fn sampling(&self) -> (String, Option<pb::ImageOptions>) {
        let sampling = &self.args.sampling;
        let options = pb::ImageOptions { n: Some(1), ..images::options(sampling) };
        (sampling.negative.clone(), Some(options))
    }

    /// Makes an image and goes on with it.
    async fn make(&mut self, request: ImageRequest) -> anyhow::Result<()> {
        let images = request.make(&self.client, |event| self.tell(event)).await?;
        let image = images.into_iter().next().context("the server sent no image")?;
        self.progress.finish();
        let about =
            json!({ "width": image.width, "height": image.height, "seed": image.seed, "bytes": image.data.len() });
        self.progress.event("image", about);
        self.progress.line(&format!("{}×{}, seed {}", image.width, image.height, image.seed));
        self.previewer.files(&[&image.data], self.progress);
        self.talk.show(image.data);
        Ok(())
    }

    fn tell(&self, event: &ImageEvent) {
        match event {
            ImageEvent::Queued(queued) => self.progress.queued(queued),
            ImageEvent::Progress(step) => self.progress.step(step),
            ImageEvent::Resumed(resumed) => self.progress.resumed(resumed),
            ImageEvent::Preview(_) | ImageEvent::Image(_) | ImageEvent::Done(_) => {}
        }
    }

    /// Takes an image of the person's own.
    fn take(&mut self, image: Bytes, path: &Path) -> anyhow::Result<()> {
        let path = path.display();
        if !self.talk.has_room(self.max_images) {
            let most = self.max_images;
            return Err(wrong(format!("{path}: a question can be about {most} images at most; /new forgets them")));
        }
        let pixels = unipic_imaging::decode(&image, &DecodeLimits::default());
        let pixels = pixels.map_err(|error| wrong(format!("{path}: {error}")))?;
        let about = json!({ "path": path.to_string(), "width": pixels.width, "height": pixels.height });
        self.progress.event("image", about);
        self.talk.join(image.clone());
        let together = match self.talk.n_images() {
            1 => String::new(),
            n => format!("; {n} images are asked about together"),
        };
        self.progress.line(&format!("{path}: {}×{}{together}", pixels.width, pixels.height));
        self.previewer.files(&[&image], self.progress);
        Ok(())
    }

    fn image(&self) -> anyhow::Result<&Bytes> {
        self.talk.image().ok_or_else(|| wrong("there is no image yet: /draw one, or take one with /image FILE"))
    }

    fn save(&self, path: &Path) -> anyhow::Result<()> {
        output::write_as(path, self.image()?)?;
        self.progress.event("saved", json!({ "path": path }));
        self.progress.line(&format!("written to {}", path.display()));
        Ok(())
    }

    async fn ask(&mut self, question: String) -> anyhow::Result<()> {
        let request = pb::UnderstandRequest {
            turns: self.talk.turns(&question, self.max_turns),
            max_tokens: self.args.max_tokens,
            ..pb::UnderstandRequest::default()
        };
        let done = answer::show(request, &self.client, self.progress).await?;
        self.talk.add(question, done.text);
        Ok(())
    }

    fn tell_failure(&self, error: &anyhow::Error) {
        self.progress.event("error", failure::event(error));
        self.progress.line(&format!("error: {}", said(error)));
    }
}
