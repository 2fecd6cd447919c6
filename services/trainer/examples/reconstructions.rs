//! What an autoencoder alone loses of the shapes world: held-out pictures encoded, decoded and judged by their own prompts.
//!
//! No drawing can be better than that, so it is the first thing to look at where drawings miss:
//! `cargo run --release -p unipic-trainer --example reconstructions -- MODEL [BACKGROUND_SHARE]`.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device};
use unipic_imaging::Rgb8;
use unipic_models::vae;
use unipic_nn::{Build, Ops};
use unipic_weights::Part;
use unipic_world::{Category, Difficulty, GenerationSample, Sampler, Split, judge};

/// Prompts of each category.
const PROMPTS: u64 = 60;

/// Side of the pictures, in pixels.
const SIDE: usize = 128;

type Failed = Box<dyn std::error::Error>;

/// Right ones, and all.
type Counts = BTreeMap<&'static str, (usize, usize)>;

fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().ok_or("name a model: a checkpoint's folder, or nano")?;
    let background_share = arguments.next().map_or(Ok(0.3), |share| share.parse())?;
    let autoencoder = Autoencoder::load(Path::new(&model))?;
    let difficulty = Difficulty { background_share, ..Difficulty::nano() };
    let sampler = Sampler::new(0, difficulty, Split::HeldOut);
    let (mut counts, mut error, mut n) = (Counts::new(), 0.0, 0.0);
    for category in Category::ALL {
        for index in 0..PROMPTS {
            let sample = sampler.generation_in(*category, index);
            let (picture, lost) = autoencoder.reconstruct(&sample.scene.draw(SIDE))?;
            let count = counts.entry(kind(&sample)).or_default();
            *count = (count.0 + usize::from(judge(&picture, &sample.claim).right), count.1 + 1);
            (error, n) = (error + lost, n + 1.0);
        }
    }
    for (kind, (right, all)) in &counts {
        println!("{kind}: {right} of {all} right");
    }
    println!("mean absolute error {:.4} of [-1, 1]", error / n);
    Ok(())
}

/// What makes a picture hard: a coloured background, and thin points.
fn kind(sample: &GenerationSample) -> &'static str {
    match (sample.claim.background.is_some(), sample.prompt.contains("star")) {
        (false, false) => "on white",
        (false, true) => "on white, with a star",
        (true, false) => "on a colour",
        (true, true) => "on a colour, with a star",
    }
}

struct Autoencoder {
    encoder: vae::Encoder,
    decoder: vae::Decoder,
    channels: usize,
}

impl Autoencoder {
    fn load(model: &Path) -> Result<Self, Failed> {
        let checkpoint = unipic_models::load::open(model)?;
        let config = &checkpoint.config().vae;
        let tensors = checkpoint.load(&[Part::Vae], DType::F32, &Device::Cpu)?;
        let build = Build::new(tensors.var_builder(), Ops::Inference);
        let (encoder, decoder) = (vae::Encoder::load(&build, config)?, vae::Decoder::load(&build, config)?);
        Ok(Self { encoder, decoder, channels: config.z_channels })
    }

    /// The picture that comes back, and the mean absolute error.
    fn reconstruct(&self, picture: &Rgb8) -> Result<(Rgb8, f64), Failed> {
        let x = vae::pixels_from_u8(&picture.data, SIDE, SIDE, &Device::Cpu)?;
        let mean = self.encoder.moments(&x)?.narrow(1, 0, self.channels)?;
        let y = self.decoder.render(&mean)?;
        let lost = (&y - &x)?.abs()?.mean_all()?.to_scalar::<f32>()?;
        let data = vae::pixels_to_u8(&y.squeeze(0)?)?;
        Ok((Rgb8 { data, ..picture.clone() }, f64::from(lost)))
    }
}
