//! `describe`: an image and a question in, text out as it comes.

use unipic_api::pb;

use crate::answer;
use crate::args::{Describe, Encoder};
use crate::connect::Connection;
use crate::input;
use crate::progress::Progress;

/// Describes an image, or answers a question about it.
///
/// # Errors
/// When the image cannot be read, or the request is refused or fails.
pub(crate) async fn describe(args: &Describe, progress: &Progress) -> anyhow::Result<()> {
    let image = input::image(&args.image)?;
    let connection = Connection::open(&args.target, progress).await?;
    answer::show(request(args, image), &connection.client(), progress).await?;
    connection.close().await
}

fn request(args: &Describe, image: Vec<u8>) -> pb::UnderstandRequest {
    let contents = [pb::part::Content::Image(image.into()), pb::part::Content::Text(args.question.clone())];
    let parts = contents.into_iter().map(|c| pb::Part { content: Some(c) }).collect();
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
