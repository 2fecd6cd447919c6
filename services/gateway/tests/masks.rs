//! Edits with a mask over scripted backends: what is outside comes back bit for bit, what is inside is drawn, and masks that
//! cannot be used are refused by name.

#![allow(clippy::expect_used, clippy::panic)]

mod support;

use std::sync::atomic::AtomicUsize;

use pb::edit_response::Event;
use pb::uni_pic_server::UniPic;
use support::{Script, collect, fields, gateway, noise, png_of, white_mask};
use tonic::Request;
use unipic_api::{ApiError, pb};
use unipic_imaging::{DecodeLimits, Rgb8, decode, read_png_text, resize_bicubic};

/// An edit of noise that redraws what `is_marked`.
fn edit(source: &Rgb8, is_marked: impl Fn(u32, u32) -> bool, feather: u32) -> pb::EditRequest {
    let image = white_mask(source.width, source.height, is_marked);
    let options = pb::ImageOptions { iterations: Some(4), seed: Some(250), ..Default::default() };
    pb::EditRequest {
        image: png_of(source).into(),
        instruction: "make it green".to_owned(),
        options: Some(options),
        mask: Some(pb::Mask { image: image.into(), ..Default::default() }),
        feather,
        ..Default::default()
    }
}

async fn events(script: Script, request: pb::EditRequest) -> (Vec<Event>, std::sync::Arc<Script>) {
    let (gateway, script) = gateway(script).await;
    let events = collect(gateway.edit(Request::new(request)).await).await.expect("edited");
    (events.into_iter().filter_map(|event| event.event).collect(), script)
}

/// Files of finished images and previews, in order.
fn files(events: &[Event]) -> Vec<(&'static str, Rgb8)> {
    let file = |event: &Event| match event {
        Event::Image(image) => Some(("image", image.data.clone())),
        Event::Preview(preview) => Some(("preview", preview.data.clone())),
        _ => None,
    };
    let files = events.iter().filter_map(file);
    files.map(|(kind, file)| (kind, decode(&file, &DecodeLimits::default()).expect("decodes"))).collect()
}

/// Pixels that differ from the source, of which none is drawn: the fakes draw in other colours.
fn changed(source: &Rgb8, picture: &Rgb8) -> Vec<(u32, u32)> {
    let pixels = source.data.chunks(3).zip(picture.data.chunks(3)).enumerate();
    pixels.filter(|(_, (a, b))| a != b).map(|(i, _)| (i as u32 % source.width, i as u32 / source.width)).collect()
}

#[tokio::test]
async fn outside_the_mask_images_and_previews_are_the_source_bit_for_bit() {
    let source = noise(64, 64);
    let is_marked = |x: u32, y: u32| (20..30).contains(&x) && (10..40).contains(&y);
    let mut request = edit(&source, is_marked, 0);
    if let Some(options) = &mut request.options {
        (options.n, options.preview_every) = (Some(2), Some(2));
    }
    let (events, script) = events(Script::default(), request).await;
    let files = files(&events);
    assert_eq!(files.iter().map(|(kind, _)| *kind).collect::<String>(), "previewpreviewimageimage");
    let expected: Vec<_> = (10..40).flat_map(|y| (20..30).map(move |x| (x, y))).collect();
    for (kind, picture) in &files {
        assert_eq!(changed(&source, picture), expected, "{kind}");
        assert_eq!(picture.data[(10 * 64 + 20) * 3], 250, "{kind}: inside is what was drawn");
    }
    let asked = script.synthesized.lock().expect("lock")[0].0.clone();
    assert!(asked.has_source);
    assert_eq!(asked.redrawn_places, [1, 5, 9], "every place that holds a marked pixel");
}

#[tokio::test]
async fn every_lossless_format_keeps_the_source() {
    let source = noise(64, 64);
    for format in [pb::ImageFormat::Png, pb::ImageFormat::Webp] {
        let mut request = edit(&source, |x, _| x >= 40, 0);
        if let Some(options) = &mut request.options {
            options.output_format = format as i32;
        }
        let (events, _) = events(Script::default(), request).await;
        let (_, picture) = files(&events).pop().expect("an image");
        let changed = changed(&source, &picture);
        assert!(changed.len() == 24 * 64 && changed.iter().all(|(x, _)| *x >= 40), "{format:?}");
    }
}

#[tokio::test]
async fn a_mask_is_cropped_and_resized_with_its_source() {
    let source = noise(200, 120);
    // The left half of the part that is used, and some of what is cropped away.
    let mut request = edit(&source, |x, _| x < 100, 0);
    if let Some(options) = &mut request.options {
        (options.width, options.height) = (Some(64), Some(64));
    }
    let (events, script) = events(Script::default(), request).await;
    let (_, picture) = files(&events).pop().expect("an image");
    let cropped: Vec<u8> = source.data.chunks(600).flat_map(|row| row[120..480].to_vec()).collect();
    let fitted = resize_bicubic(&Rgb8::new(120, 120, cropped).expect("fits"), 64, 64);
    let changed = changed(&fitted, &picture);
    assert!(changed.iter().all(|(x, _)| *x < 32) && changed.len() == 32 * 64, "{}", changed.len());
    assert_eq!(script.synthesized.lock().expect("lock")[0].0.redrawn_places, [0, 1, 4, 5, 8, 9, 12, 13]);
}

#[tokio::test]
async fn a_feather_stays_within_the_mask() {
    let source = Rgb8::filled(64, 64, [0; 3]);
    let (events, _) = events(Script::default(), edit(&source, |x, _| x >= 32, 4)).await;
    let (_, picture) = files(&events).pop().expect("an image");
    let row: Vec<u8> = picture.data.chunks(3).take(40).map(|pixel| pixel[0]).collect();
    assert_eq!(row[..32], [0; 32]);
    assert_eq!(row[32..], [50, 100, 150, 200, 250, 250, 250, 250]);
}

#[tokio::test]
async fn a_png_tells_that_a_part_was_redrawn() {
    let source = noise(64, 64);
    let (events, _) = events(Script::default(), edit(&source, |x, y| x < 16 && y < 17, 3)).await;
    let Some(Event::Image(image)) = events.iter().find(|event| matches!(event, Event::Image(_))) else {
        panic!("none")
    };
    let text = read_png_text(&image.data).expect("text");
    let told = text.iter().any(|(_, json)| json.contains("\"marks\":\"white\"") && json.contains("\"feather\":3"));
    assert!(told, "{text:?}");
}

#[tokio::test]
async fn without_a_mask_everything_is_redrawn() {
    let source = noise(64, 64);
    let request = pb::EditRequest { mask: None, ..edit(&source, |_, _| true, 0) };
    let (whole, script) = events(Script::default(), request).await;
    assert!(script.synthesized.lock().expect("lock")[0].0.redrawn_places.is_empty());
    let (masked, script) = events(Script::default(), edit(&source, |_, _| true, 9)).await;
    assert_eq!(script.synthesized.lock().expect("lock")[0].0.redrawn_places, (0..16).collect::<Vec<_>>());
    assert!(files(&whole) == files(&masked), "a mask of everything is none");
}

#[tokio::test]
async fn a_lost_synthesis_redraws_the_same_places_again() {
    let source = noise(64, 64);
    let is_marked = |x: u32, y: u32| x + y > 100;
    let request = || {
        let mut request = edit(&source, is_marked, 2);
        if let Some(options) = &mut request.options {
            options.n = Some(2);
        }
        request
    };
    let (expected, _) = events(Script::default(), request()).await;
    let losing = Script { lose_synthesis: AtomicUsize::new(1), lose_after_images: 1, ..Script::default() };
    let (resumed, script) = events(losing, request()).await;
    assert!(resumed.iter().any(|event| matches!(event, Event::Resumed(_))));
    assert!(files(&expected) == files(&resumed));
    let asked = script.synthesized.lock().expect("lock");
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].0.redrawn_places, asked[1].0.redrawn_places);
    assert_eq!(asked[0].1, asked[1].1, "the same source");
}

/// The fields that are refused, and why.
async fn refused(request: pb::EditRequest) -> (Vec<String>, String) {
    let (gateway, script) = gateway(Script::default()).await;
    let status = collect(gateway.edit(Request::new(request)).await).await.expect_err("refused");
    assert!(script.synthesized.lock().expect("lock").is_empty());
    (fields(&status), ApiError::from_status(&status).to_string())
}

#[tokio::test]
async fn masks_that_cannot_be_used_are_refused_by_name() {
    let source = noise(64, 48);
    let with = |change: &dyn Fn(&mut pb::Mask)| {
        let mut request = edit(&source, |x, _| x < 9, 0);
        request.mask.as_mut().into_iter().for_each(change);
        request
    };
    let other_size = white_mask(48, 64, |_, _| true);
    let black = white_mask(64, 48, |_, _| false);
    for (change, field, part) in [
        (&(|mask: &mut pb::Mask| mask.image.clear()) as &dyn Fn(&mut pb::Mask), "mask.image", "is empty"),
        (&|mask| mask.image = b"no image"[..].into(), "mask.image", "none of PNG"),
        (&|mask| mask.image.truncate(mask.image.len() / 2), "mask.image", "PNG file"),
        (&|mask| mask.image = other_size.clone().into(), "mask.image", "the mask is 48x64 pixels, the image 64x48"),
        (&|mask| mask.image = black.clone().into(), "mask.image", "must be white, the rest black"),
        (&|mask| mask.convention = 2, "mask.image", "no alpha channel"),
        (&|mask| mask.convention = 3, "mask.convention", "3"),
    ] {
        let (fields, message) = refused(with(change)).await;
        assert!(fields == [field] && message.contains(part), "{field}: {fields:?}: {message}");
    }
    // Everything at once, with the rest of the request; the size of a mask without an image is not judged.
    let mut request = with(&|mask| mask.convention = -1);
    request.feather = 257;
    request.image.clear();
    request.instruction.clear();
    let (fields, message) = refused(request).await;
    assert_eq!(fields, ["image", "mask.convention", "feather", "instruction"]);
    assert!(message.contains("between 0 and 256 pixels, not 257"), "{message}");
}

#[tokio::test]
async fn a_mask_of_what_is_cropped_away_is_refused_with_what_is_used() {
    let (fields, message) = refused(edit(&noise(100, 40), |x, _| x < 30, 0)).await;
    assert_eq!(fields, ["mask.image"]);
    assert!(message.contains("40x40 pixels from 30,0"), "{message}");
    let (events, _) = events(Script::default(), edit(&noise(100, 40), |x, _| x < 31, 0)).await;
    assert_eq!(files(&events).len(), 1);
}

#[tokio::test]
async fn transparent_masks_are_read_by_their_alpha() {
    let source = noise(64, 64);
    let mut request = edit(&source, |_, _| true, 0);
    let image = support::transparent_mask(64, 64, |x, y| x < 16 && y < 16);
    let convention = pb::MaskConvention::Transparent as i32;
    request.mask = Some(pb::Mask { image: image.into(), convention });
    let (events, script) = events(Script::default(), request).await;
    assert_eq!(script.synthesized.lock().expect("lock")[0].0.redrawn_places, [0]);
    assert_eq!(changed(&source, &files(&events)[0].1).len(), 256);
}

/// An edit that draws margins around noise, and nothing else.
fn extend(source: &Rgb8, margins: pb::Margins) -> pb::EditRequest {
    pb::EditRequest { mask: None, extend: Some(margins), ..edit(source, |_, _| false, 0) }
}

#[tokio::test]
async fn margins_are_drawn_around_the_source() {
    let source = noise(48, 32);
    let margins = pb::Margins { left: 16, bottom: 16, ..Default::default() };
    let (told, script) = events(Script::default(), extend(&source, margins)).await;
    let (_, picture) = files(&told).pop().expect("an image");
    assert_eq!((picture.width, picture.height), (64, 48), "the size of both, where it can be drawn");
    for (i, pixel) in picture.data.chunks(3).enumerate() {
        let (x, y) = (i % 64, i / 64);
        let kept = x.checked_sub(16).filter(|_| y < 32).map(|x| &source.data[(y * 48 + x) * 3..][..3]);
        assert_eq!(pixel, kept.unwrap_or(&[250, 0, 0]), "pixel {x},{y}");
    }
    let asked = script.synthesized.lock().expect("lock");
    assert_eq!(asked[0].0.redrawn_places, [0, 4, 8, 9, 10, 11]);
    let seen = asked[0].1.as_ref().expect("a source");
    assert_eq!(seen.data[..3], source.data[..3], "margins repeat the edge");
    let Some(Event::Image(image)) = told.iter().find(|event| matches!(event, Event::Image(_))) else { panic!("none") };
    let crop = image.crop.expect("a crop");
    assert_eq!(
        (crop.x, crop.y, crop.width, crop.height, crop.source_width, crop.source_height),
        (0, 0, 64, 48, 64, 48)
    );
}

#[tokio::test]
async fn margins_and_a_mask_are_redrawn_together_at_the_aspect_of_both() {
    // 100x100 in all, which is no multiple of the stride: drawn at the default's area.
    let mut request = edit(&noise(100, 50), |x, y| x < 25 && y >= 40, 0);
    request.extend = Some(pb::Margins { top: 50, ..Default::default() });
    let (told, script) = events(Script::default(), request).await;
    let (_, picture) = files(&told).pop().expect("an image");
    assert_eq!((picture.width, picture.height), (64, 64));
    assert_eq!(script.synthesized.lock().expect("lock")[0].0.redrawn_places, [0, 1, 2, 3, 4, 5, 6, 7, 12]);
}

#[tokio::test]
async fn margins_that_cannot_be_drawn_are_refused_by_name() {
    let source = noise(64, 64);
    let sides = |left, right| pb::Margins { left, right, ..Default::default() };
    for (margins, part) in [
        (sides(u32::MAX, u32::MAX), "makes 8589934654x64 pixels of the image's 64x64"),
        (sides(32_768, 0), "32768 on a side"),
        (pb::Margins { left: 32_000, bottom: 32_000, ..Default::default() }, "at most 64000000 in all"),
    ] {
        let (fields, message) = refused(extend(&source, margins)).await;
        assert!(fields == ["extend"] && message.contains(part), "{fields:?}: {message}");
    }
    let mut cropped = extend(&source, sides(16, 16));
    if let Some(options) = &mut cropped.options {
        (options.width, options.height) = (Some(64), Some(64));
    }
    let (fields, message) = refused(cropped).await;
    assert!(fields == ["extend"] && message.contains("64x64 pixels from 16,0"), "{fields:?}: {message}");
    let (fields, message) = refused(pb::EditRequest { mask: None, ..edit(&source, |_, _| true, 3) }).await;
    assert!(fields == ["feather"] && message.contains("needs a mask or margins"), "{fields:?}: {message}");
}
