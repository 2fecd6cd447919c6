//! Values that are not finite: wherever they come up, the request ends with its reason and without an image.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use futures::StreamExt;
use support::{Direct, picture, service_of, settings, spec};
use unipic_api::{ApiError, Reason};
use unipic_engine::JobContext;
use unipic_measures::measured;
use unipic_models::Handover;
use unipic_synthesis::{SynthesisEvent, SynthesisSpec};
use unipic_test_support::poisoned;

#[tokio::test]
async fn a_part_that_overflows_makes_no_image() {
    let parts = [
        ("vae.encoder.conv_out.weight", true),
        ("mar.encoder_norm.weight", false),
        ("proj_in.0.weight", false),
        ("proj_out.0.weight", false),
        ("mar.decoder_norm.weight", false),
        ("mar.diffloss.net.final_layer.linear.weight", false),
        ("vae.decoder.conv_out.weight", false),
    ];
    let mut n_pictures = 0;
    for (tensor, of_an_edit) in parts {
        let folder = poisoned(tensor).unwrap();
        let service = service_of(folder.path(), Direct::load(&[]).unwrap()).unwrap();
        let source = of_an_edit.then(|| picture(64, 64));
        let asked = SynthesisSpec { source, preview_every: 1, ..spec("a red circle", settings(7)) };
        let mut stream = service.synthesize(asked, JobContext::current()).unwrap();
        let mut last = None;
        while let Some(event) = stream.next().await {
            let is_picture = matches!(event, Ok(SynthesisEvent::Image(_) | SynthesisEvent::Preview(_)));
            n_pictures += usize::from(is_picture);
            assert!(!is_picture, "{tensor}: a picture was made");
            last = Some(event);
        }
        assert!(matches!(last, Some(Err(ApiError::Fault(Reason::NonFinite)))), "{tensor}: {last:?}");
        drop(stream);
        assert_eq!((service.running(), service.queued()), (0, 0));
    }
    measured!("parts made to overflow", parts.len());
    measured!("pictures made", n_pictures);
}

#[tokio::test]
async fn embeddings_that_overflow_are_not_handed_on() {
    let folder = poisoned("proj_in.0.weight").unwrap();
    let service = service_of(folder.path(), Direct::load(&[]).unwrap()).unwrap();
    let encoded = service.encode_mar(picture(64, 64), Handover::Host, &JobContext::current()).await;
    assert!(matches!(encoded, Err(ApiError::Fault(Reason::NonFinite))), "{encoded:?}");
}
