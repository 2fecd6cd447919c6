//! `describe`: images and a question in, text out as it comes.

use unipic_api::pb;

use crate::answer;
use crate::args::{Describe, Encoder};
use crate::connect::Connection;
use crate::progress::Progress;
use crate::{flags, input};

/// Describes an image, or answers a question about one or several.
///
/// # Errors
/// When an image cannot be read, or the request is refused or fails.
pub(crate) async fn describe(args: &Describe, progress: &Progress) -> anyhow::Result<()> {
    let paths = args.images();
    let files = input::images(&paths)?;
    let connection = Connection::open(&args.target, progress).await?;
    let shown = answer::show(request(args, files), &connection.client(), progress).await;
    shown.map_err(|error| flags::named(error, &paths))?;
    connection.close().await
}

/// One turn: the images in their order, and the question behind them.
fn request(args: &Describe, images: Vec<Vec<u8>>) -> pb::UnderstandRequest {
    let images = images.into_iter().map(|file| pb::part::Content::Image(file.into()));
    let contents = images.chain([pb::part::Content::Text(args.question.clone())]);
    let parts = contents.map(|content| pb::Part { content: Some(content) }).collect();
    let encoder_path = match args.encoder {
        None => pb::EncoderPath::Unspecified,
        Some(Encoder::Siglip2) => pb::EncoderPath::Siglip2,
        Some(Encoder::Mar) => pb::EncoderPath::Mar,
    };
    pb::UnderstandRequest {
        turns: vec![pb::Turn { role: pb::Role::User.into(), parts }],
        max_tokens: args.max_tokens,
        temperature: args.temperature,
        top_p: args.top_p,
        stop: Vec::new(),
        seed: args.seed,
        encoder_path: encoder_path.into(),
        candidates: Vec::new(),
    }
}
