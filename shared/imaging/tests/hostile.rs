//! Hundreds of broken, lying and odd image files: no panic, a typed error or the stated rule, and bounded memory.

#![allow(clippy::expect_used, clippy::panic)]

#[path = "hostile/crafted.rs"]
mod crafted;
#[path = "hostile/seeds.rs"]
mod seeds;

use std::sync::Mutex;

use unipic_imaging::{DecodeLimits, ImageError, decode};

const LIMITS: DecodeLimits = DecodeLimits { max_bytes: 4 << 20, max_pixels: 16_000_000, max_alloc_bytes: 64 << 20 };

/// Memory is measured for the whole process, so the tests of this file take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Peak resident memory of this process in KiB since the last `reset_peak`.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}

fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// A small generator of our own: the files must be the same on every machine.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// Every seed file cut off in twelve places and with bits flipped in thirty ways, and all lying files.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let mut files = crafted::liars();
    let mut random = Lcg(7);
    for (name, file) in seeds::valid() {
        for cut in 0..12 {
            files.push((format!("{name} cut {cut}/12"), file[..file.len() * cut / 12].to_vec()));
        }
        for round in 0..30 {
            let mut broken = file.clone();
            for _ in 0..=round % 5 {
                // Half of the damage goes to the headers, where it hurts most.
                let bound = if round % 2 == 0 { file.len().min(96) } else { file.len() };
                broken[random.below(bound)] ^= 1 << random.below(8);
            }
            files.push((format!("{name} flipped {round}"), broken));
        }
    }
    files
}

#[test]
fn no_file_panics_or_takes_more_memory_than_allowed() {
    let _turn = TURN.lock();
    let corpus = corpus();
    assert!(corpus.len() >= 500, "only {} files", corpus.len());
    let mut refused = 0;
    for (name, file) in &corpus {
        reset_peak();
        let before = peak_kib();
        let result = decode(file, &LIMITS);
        let grown = peak_kib().saturating_sub(before);
        assert!(grown <= 66 << 10, "{name}: memory grew by {grown} KiB");
        match result {
            Ok(image) => assert_eq!(image.data.len(), image.width as usize * image.height as usize * 3, "{name}"),
            Err(error) => {
                refused += 1;
                assert!(!matches!(error, ImageError::CodecFault { .. }), "{name}: a decoder panicked");
                assert!(!error.to_string().is_empty());
            }
        }
    }
    println!("{} files, {refused} refused", corpus.len());
}

#[test]
fn every_lying_file_is_refused() {
    let _turn = TURN.lock();
    for (name, file) in crafted::liars() {
        let error = decode(&file, &LIMITS).expect_err(&name);
        println!("{name}: {error}");
    }
}

#[test]
fn every_seed_decodes_and_every_half_of_one_is_refused() {
    let _turn = TURN.lock();
    for (name, file) in seeds::valid() {
        let image = decode(&file, &LIMITS).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(image.width > 0, "{name}");
        let error = decode(&file[..file.len() / 2], &LIMITS);
        assert!(error.is_err(), "{name}: half a file was accepted");
    }
}

#[test]
fn refusals_say_which_rule_was_broken() {
    let _turn = TURN.lock();
    let png = seeds::png_rgb();
    let tight = |limits: DecodeLimits| decode(&png, &limits).expect_err("beyond the limit");
    assert_eq!(decode(&[], &LIMITS), Err(ImageError::Empty));
    assert_eq!(decode(b"hello, world, this is text", &LIMITS), Err(ImageError::UnknownFormat));
    assert!(matches!(tight(DecodeLimits { max_bytes: 10, ..LIMITS }), ImageError::TooManyBytes { limit: 10, .. }));
    assert!(matches!(tight(DecodeLimits { max_pixels: 10, ..LIMITS }), ImageError::TooManyPixels { limit: 10, .. }));
    let starved = tight(DecodeLimits { max_alloc_bytes: 100, ..LIMITS });
    assert!(matches!(starved, ImageError::TooMuchMemory { limit: 100, .. }), "{starved}");
    assert!(matches!(decode(&crafted::cmyk_jpeg(false), &LIMITS), Err(ImageError::Unsupported { .. })));
}

#[test]
fn stated_rules_hold() {
    let _turn = TURN.lock();
    let pixel = |file: Vec<u8>, at: usize| {
        let image = decode(&file, &LIMITS).expect("decodes");
        [image.data[at * 3], image.data[at * 3 + 1], image.data[at * 3 + 2]]
    };
    // A fully transparent red over white is white; half of it is pink; 16 bits round to 8.
    assert_eq!(pixel(seeds::png_rgba(&[255, 0, 0, 0]), 0), [255, 255, 255]);
    assert_eq!(pixel(seeds::png_rgba(&[255, 0, 0, 128]), 0), [255, 127, 127]);
    assert_eq!(pixel(seeds::png_16(0x00FF), 0), [1; 3]);
    assert_eq!(pixel(seeds::png_palette(), 1), [0, 0, 255]);
    // The first frame of an animation is red, the second blue.
    assert_eq!(pixel(seeds::gif_animated(), 0), [255, 0, 0]);
    assert_eq!(pixel(seeds::webp_animated(), 0), [255, 0, 0]);
    assert_eq!(pixel(seeds::png_animated(), 0), [255, 0, 0]);
    // Adobe's CMYK: all inks at the middle, (1 − ½)·(1 − ½) of white.
    let grey = pixel(crafted::cmyk_jpeg(true), 0);
    assert!(grey.iter().all(|sample| sample.abs_diff(64) <= 1), "{grey:?}");
}

#[test]
fn exif_rotation_is_applied_in_every_format_that_has_it() {
    let _turn = TURN.lock();
    for (name, file) in seeds::rotated() {
        let image = decode(&file, &LIMITS).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((image.width, image.height), (8, 16), "{name}");
        // The red left end of the lying picture is the top of the upright one.
        assert!(image.data[0] > 200 && image.data[2] < 60, "{name}: {:?}", &image.data[..3]);
    }
}
